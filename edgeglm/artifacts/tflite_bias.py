"""Biases of a static INT8 TFLite file, corrected: rounding shifts the mean of a channel, and a bias takes that back.

Rounded weights are a little too large or too small in sum, and ranges cut off one end: each channel of a layer's
output lies above or below that of the float network on average; later layers add to it. Layer by layer from the front,
the difference of the means on calibration samples goes into the bias, which costs the board neither bytes nor time.

Source: Nagel et al. 2019, arXiv:1906.04721, appendix D (empirical bias correction).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from edgeglm.artifacts import flatbuffer
from edgeglm.artifacts.calibration import in_batches_of
from edgeglm.artifacts.quiet import silenced
from edgeglm.artifacts.tflite_layout import fitted, to_file_layout

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from edgeglm.data.splits import Arrays

SAMPLES = 96  # calibration samples: two in three correct, the others judge
_RUNS = 2048  # of all layers together: a deep network gets fewer samples for each
_FEWEST = 8
_Z = 1.645  # the normal distribution's 95 % point: beyond it a rise of the error is no chance
_LAYERS = {"CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED"}
_BIAS = 2  # its position among their inputs
_LEAST_SHARE = 0.25  # of outputs that follow a bias: of fewer a step would be too large
_ACTIVATIONS = {1: (0.0, np.inf), 2: (-1.0, 1.0), 3: (0.0, 6.0)}  # RELU, RELU_N1_TO_1, RELU6


class Kept:
    """Batches as they are; the first rows are kept."""

    def __init__(self, batches: Iterable[Arrays], limit: int) -> None:
        self._batches, self._limit = batches, limit
        self._kept: list[Arrays] = []  # batches

    def __iter__(self) -> Iterator[Arrays]:
        left = self._limit
        for batch in self._batches:
            if left > 0:
                self._kept.append({name: values[:left] for name, values in batch.items()})
                left -= len(next(iter(batch.values())))
            yield batch

    def rows(self, channels_last: list[str], shapes: Mapping[str, tuple[int, ...]]) -> list[Arrays]:
        """Return what was kept as a signature takes it: as many rows at a time as its batch axis says."""
        size = next((shape[0] for shape in shapes.values() if shape), 1)
        return [fitted(to_file_layout(part, channels_last), shapes) for part in in_batches_of(size, self._kept)]


def corrected(source: bytes, data: bytes, rows: Sequence[Arrays]) -> bytes:
    """Return the quantized file with its biases corrected, or as it was where that takes it away from float.

    Args:
        source: The float file that it was made from.
        data: The quantized file; one of several signatures stays as it is.
        rows: Calibration samples as a file takes them, by input name. Two in three correct, the others judge: the error
            of the outputs on those must not rise beyond chance. Fewer than 24 correct nothing.
    """
    before, after = flatbuffer.parse(source), flatbuffer.parse(data)
    layers = _static_layers(before, after)
    judges = rows[2::3]
    learnt = [row for number, row in enumerate(rows) if number % 3 != 2][: max(_FEWEST, _RUNS // max(1, len(layers)))]
    if not layers or len(judges) < _FEWEST:  # a trial before the run has no more either
        return data
    try:
        moved = _moved(before, after, layers, learnt)
        old, new = (_errors(before, model, judges) for model in (flatbuffer.parse(data), moved))
    except (RuntimeError, ValueError):  # the runtime refuses the file: the check of what was written says why
        return data
    more = new - old  # (N,); of a classifier's answers one sample in doubt outweighs all that are certain
    farther = more.mean() > _Z * more.std() / np.sqrt(len(more))
    return data if farther else flatbuffer.to_bytes(moved)


def _moved(before: Any, after: Any, layers: list[tuple[Any, Any]], rows: Sequence[Arrays]) -> Any:
    """Return the quantized model with the bias of each layer moved, first to last. Raises: RuntimeError, ValueError."""
    floats = [float_layer for float_layer, _ in layers]
    seen = [
        [(values.mean(axis=0), _share(layer, values)) for layer, values in zip(floats, run, strict=True)]
        for run in _runs(before, [layer.outputs[0] for layer in floats], rows)
    ]
    graph = after.subgraphs[0]
    operators = list(graph.operators)
    for number, (_, layer) in enumerate(layers):
        graph.operators = operators[: operators.index(layer) + 1]  # what comes later need not run
        found = [values.mean(axis=0) for (values,) in _runs(after, [layer.outputs[0]], rows)]
        wanted, share = (np.mean([run[number][part] for run in seen], axis=0) for part in (0, 1))
        _add(after, layer, (wanted - np.mean(found, axis=0)) / np.maximum(share, _LEAST_SHARE))
    graph.operators = operators
    return after


def _errors(before: Any, after: Any, rows: Sequence[Arrays]) -> np.ndarray:
    """Return the squared error of the outputs in each run, (N,), as a share of each output's variance."""
    answers, found = (
        [np.stack(values) for values in zip(*_runs(model, list(model.subgraphs[0].outputs), rows), strict=True)]
        for model in (before, after)
    )
    shares = [np.mean((a - b) ** 2, axis=(1, 2)) / (np.var(a) or 1.0) for a, b in zip(answers, found, strict=True)]
    return np.asarray(np.sum(shares, axis=0))


def _static_layers(before: Any, after: Any) -> list[tuple[Any, Any]]:
    """Return operators with a bias, as the float file has them and the quantized one, where they are static INT8."""
    ours, theirs = _biased(before), _biased(after)
    if len(after.subgraphs) > 1 or len(ours) != len(theirs):
        return []
    tensors = after.subgraphs[0].tensors
    return [
        (float_layer, layer)
        for float_layer, layer in zip(ours, theirs, strict=True)
        if flatbuffer.type_name(tensors[layer.inputs[_BIAS]]) == "INT32"
        and flatbuffer.type_name(tensors[layer.outputs[0]]) == "INT8"
    ]


def _biased(model: Any) -> list[Any]:
    graph = model.subgraphs[0]
    return [
        operator
        for operator in graph.operators
        if flatbuffer.operator_name(model, operator) in _LAYERS
        and len(operator.inputs) > _BIAS
        and operator.inputs[_BIAS] != -1
        and flatbuffer.data_of(model, graph.tensors[operator.inputs[_BIAS]]) is not None
    ]


def _runs(model: Any, indices: list[int], rows: Sequence[Arrays]) -> Iterator[list[np.ndarray]]:
    """Yield what the tensors hold in each run, (values of a channel, C), as real numbers."""
    from ai_edge_litert.interpreter import Interpreter

    graph = model.subgraphs[0]
    (signature,) = model.signatureDefs
    places = {entry.name.decode(): int(entry.tensorIndex) for entry in signature.inputs}
    outputs = graph.outputs
    graph.outputs, model.signatureDefs = indices, []
    content = flatbuffer.to_bytes(model)
    graph.outputs, model.signatureDefs = outputs, [signature]
    with silenced():
        interpreter = Interpreter(model_content=content, num_threads=1)
        interpreter.allocate_tensors()
    for row in rows:
        for name, place in places.items():
            interpreter.set_tensor(place, row[name])
        interpreter.invoke()
        got = [interpreter.get_tensor(index) for index in indices]
        yield [
            _real(values.reshape(-1, values.shape[-1] if values.ndim else 1), graph.tensors[index])
            for values, index in zip(got, indices, strict=True)
        ]


def _real(values: np.ndarray, tensor: Any) -> np.ndarray:
    quantization = tensor.quantization
    if values.dtype.kind == "f" or quantization is None or quantization.scale is None:
        return values.astype(np.float64)
    return (values.astype(np.float64) - float(quantization.zeroPoint[0])) * float(quantization.scale[0])


def _share(layer: Any, values: np.ndarray) -> np.ndarray:
    """Return, for each channel, the share of outputs (M, C) that the fused activation lets through as they are."""
    low, high = _ACTIVATIONS.get(getattr(layer.builtinOptions, "fusedActivationFunction", 0), (-np.inf, np.inf))
    return np.asarray(((values > low) & (values < high)).mean(axis=0))


def _add(model: Any, layer: Any, more: np.ndarray) -> None:
    """Add real numbers (C,) to an operator's bias."""
    tensor = model.subgraphs[0].tensors[layer.inputs[_BIAS]]
    buffer = model.buffers[tensor.buffer]
    bias = np.frombuffer(bytes(buffer.data), np.int32).astype(np.float64)
    limits = np.iinfo(np.int32)
    moved = np.clip(bias + np.rint(more / np.asarray(tensor.quantization.scale)), limits.min, limits.max)
    buffer.data = np.frombuffer(moved.astype(np.int32).tobytes(), np.uint8)
