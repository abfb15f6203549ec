"""A package as someone else would write it: it adds a step, a task, sources, a scheme and an engine."""

from copy import deepcopy
from typing import Literal

import numpy as np
from edgeglm_agent.engines import EngineError
from edgeglm_agent.wire import TensorSpec

from edgeglm.report.types import Metric, SplitResult
from edgeglm.schemes import SchemeConfig
from edgeglm.sources import DataSource, ModelSource, data_from_objects
from edgeglm.steps import StepConfig
from edgeglm.tasks import TaskConfig


class Halve(StepConfig, tag="halve", frozen=True, kw_only=True):
    """Halve the last layer's weights."""

    factor: float = 0.5  # of every weight

    def apply(self, model, ctx):
        module = deepcopy(model.module)
        module[-1].weight.data.mul_(self.factor)
        ctx.notes.append(f"multiplied by {self.factor}")
        return model.with_module(module)


class Closeness(TaskConfig, tag="closeness", frozen=True, kw_only=True):
    """How far outputs lie from the targets, (N, K) both."""

    norm: Literal["mean", "max"] = "mean"  # of the differences

    def evaluate(self, outputs, targets, labels, baseline=None):
        far = np.abs(outputs[self.output or next(iter(outputs))] - targets)
        value = float(getattr(far, self.norm)())
        name = f"{self.norm}_error"
        return SplitResult(
            metric=Metric(name=name, value=value, n=len(far), ci95=(value, value), higher_is_better=False)
        )


class Zoo(ModelSource, tag="zoo", frozen=True, kw_only=True):
    """A network by its name."""

    name: Literal["small", "large"]  # of the network

    def load(self, entries, sample):
        from torch import manual_seed, nn

        from edgeglm.nn.loading import build_python_model

        manual_seed(0)
        width = {"small": 8, "large": 64}[self.name]
        network = nn.Sequential(nn.Linear(4, width), nn.ReLU(), nn.Linear(width, 3))
        return build_python_model(network, None, sample, where="model")


class Noise(DataSource, tag="noise", frozen=True, kw_only=True):
    """Noise, and three sums of it."""

    samples: int = 200  # of each split

    def load(self, entries, *, preprocess, task, labels, seed):
        rng = np.random.default_rng(seed)
        splits = {}
        for name in ("train", "calibration", "eval"):
            inputs = rng.normal(size=(self.samples, 4)).astype(np.float32)
            splits[name] = (inputs, np.cumsum(inputs, axis=1)[:, :3])
        return data_from_objects(splits, preprocess=preprocess, task=task, labels=labels, seed=seed)


class Bfloat16(SchemeConfig, tag="bfloat16", frozen=True, kw_only=True):
    """Weights as bfloat16: half the bytes, and the range of float32."""

    least_values: int = 16  # smaller weights stay as they are
    fault: Literal["none", "raises", "writes-nothing", "changes-nothing"] = "none"  # what it does wrong

    def quantize(self, source, path, calibration, board):
        import onnx

        if self.fault == "raises":
            raise KeyError("scale")
        if self.fault == "writes-nothing":
            return []
        if self.fault == "changes-nothing":
            path.write_bytes(source.read_bytes())
            return []
        model = onnx.load(str(source))
        weights = [w for w in model.graph.initializer if w.data_type == onnx.TensorProto.FLOAT]
        large = [w for w in weights if np.prod(w.dims) >= self.least_values]
        for weight in large:
            values = onnx.numpy_helper.to_array(weight).astype("<f4")
            name = weight.name
            bits = (values.view("<u4") + 0x8000 >> 16).astype("<u2")  # the upper half, rounded
            weight.CopyFrom(
                onnx.helper.make_tensor(f"{name}.bf16", onnx.TensorProto.BFLOAT16, values.shape, bits, raw=True)
            )
            cast = onnx.helper.make_node("Cast", [weight.name], [name], to=onnx.TensorProto.FLOAT)
            model.graph.node.insert(0, cast)
        onnx.save(model, str(path))
        return [f"{sum(len(batch['input']) for batch in calibration)} samples, {len(large)} tensors"]


class MatrixEngine:
    """A file that is one matrix."""

    batch = None
    runtime = "matrix 1.0"

    def __init__(self, path, *, threads):
        try:
            self.matrix = np.load(path)
        except Exception as error:
            raise EngineError(f"no matrix: {error}", fault="bad-file") from error
        self.inputs = (TensorSpec("x", "float32", (self.matrix.shape[0],), "NC"),)
        self.outputs = (TensorSpec("y", "float32", (self.matrix.shape[1],), "NC"),)

    def run(self, inputs):
        return {"y": inputs["x"] @ self.matrix}
