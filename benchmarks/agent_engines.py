"""What does the agent's way to a model add to the runtime's own call? Microseconds, interleaved, medians of rounds."""

from __future__ import annotations

import statistics
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from common import write_result
from edgeglm_agent.settings.types import InputConfig, Slot
from edgeglm_agent.worker.model import load_model
from torch import nn

from edgeglm import compress
from edgeglm.cache import Cache

if TYPE_CHECKING:
    from collections.abc import Callable

ROUNDS, CALLS = 600, 10
SHAPE = (1, 32, 32)


ARTIFACTS = [{"format": "onnx"}, {"format": "tflite"}, {"format": "openvino"}]


def written(folder: Path, artifacts: list[dict[str, str]] = ARTIFACTS) -> Path:
    """Compress a CNN of some 0.1 ms, and return the folder."""
    torch.manual_seed(0)
    rng = np.random.default_rng(0)
    data = {
        name: (rng.normal(size=(64, *SHAPE)).astype(np.float32), np.arange(64) % 10)
        for name in ("train", "calibration", "eval")
    }
    network = nn.Sequential(
        nn.Conv2d(1, 16, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(16, 32, 3, padding=1), nn.ReLU(),
        nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(32, 10),
    )  # fmt: skip
    recipe = {
        "name": "cnn",
        "task": {"kind": "classification"},
        "postprocess": ["softmax", "argmax"],
        "artifacts": artifacts,
    }
    return compress(recipe, model=network, data=data, output=folder / "out", cache=Cache(folder / "cache")).folder


def bare(format: str, path: Path, sample: np.ndarray) -> Callable[[], Any]:  # noqa: A002 - the manifest's word
    """Return the runtime's own call on one sample, as its documentation writes it, on one thread."""
    if format == "onnx":
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
        feed = {session.get_inputs()[0].name: sample}
        return lambda: session.run(None, feed)
    if format == "tflite":
        from ai_edge_litert.interpreter import Interpreter

        interpreter = Interpreter(model_path=str(path), num_threads=1)
        interpreter.allocate_tensors()
        takes, gives = interpreter.get_input_details()[0], interpreter.get_output_details()[0]
        moved = np.ascontiguousarray(sample.reshape(takes["shape"]))

        def call() -> Any:
            interpreter.set_tensor(takes["index"], moved)
            interpreter.invoke()
            return interpreter.get_tensor(gives["index"])

        return call
    from edgeglm_agent.engines.openvino import settings, silenced_openvino

    core = silenced_openvino().Core()
    model = core.read_model(str(path))
    model.reshape(sample.shape)  # with a free batch axis it takes twice as long
    request = core.compile_model(model, "CPU", settings(1)).create_infer_request()
    return lambda: request.infer([sample])


def main() -> None:
    """Measure, print, and write the figures."""
    folder = written(Path(tempfile.mkdtemp()))
    figures: dict[str, Any] = {}
    for path in ("model.onnx", "model.tflite", "model.xml"):
        slot = Slot(model=str(folder), input=InputConfig(), artifacts=[path])
        model = load_model(folder, slot=slot, state_dir=folder / "state")
        sample = np.random.default_rng(1).normal(size=SHAPE).astype(np.float32)
        inputs = model.prepare(sample)
        outputs = model.run(inputs)
        calls: dict[str, Callable[[], Any]] = {
            "bare": bare(model.artifact.format, folder / path, inputs[model.input_names[0]]),
            "run": lambda: model.run(inputs),  # noqa: B023 - called before the next turn
            "prepare and run": lambda: model.infer(sample),  # noqa: B023
            "judge": lambda: model.judge(outputs, inputs, sample),  # noqa: B023
        }
        times: dict[str, list[float]] = {name: [] for name in calls}
        for _ in range(ROUNDS):
            for name, call in calls.items():
                began = time.perf_counter_ns()
                for _ in range(CALLS):
                    call()
                times[name].append((time.perf_counter_ns() - began) / CALLS / 1000)
        figures[model.artifact.format] = {
            "runtime": model.runtime,
            "bare_us": round(statistics.median(times["bare"]), 2),
            **{
                f"{name} adds_us": round(
                    statistics.median(mine - its for mine, its in zip(times[name], times["bare"], strict=True)), 2
                )
                for name in ("run", "prepare and run")
            },
            "judge_us": round(statistics.median(times["judge"]), 2),
        }
        print(model.artifact.format, figures[model.artifact.format])
    write_result("agent_engines", rounds=ROUNDS, calls=CALLS, formats=figures)


if __name__ == "__main__":
    main()
