"""Biases of a static INT8 TFLite file, corrected (see ``bias_correction``).

LiteRT tells of a layer what its activation function and the rounding of its outputs left, so a bias is moved by more
than the difference of the means where only a part of the outputs follows it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from edgeglm.artifacts import flatbuffer
from edgeglm.artifacts.bias_correction import FEWEST, divide, farther, moved
from edgeglm.artifacts.calibration import in_batches_of
from edgeglm.artifacts.quiet import silenced
from edgeglm.artifacts.tflite_layout import fitted, to_file_layout

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from edgeglm.artifacts.calibration import Kept
    from edgeglm.data.splits import Arrays

_RUNS = 2048  # of all layers together: a deep network gets fewer samples for each
_LAYERS = {"CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED"}
_BIAS = 2  # its position among their inputs
_LEAST_SHARE = 0.25  # of outputs that follow a bias: of fewer a step would be too large
_ACTIVATIONS = {1: (0.0, np.inf), 2: (-1.0, 1.0), 3: (0.0, 6.0)}  # RELU, RELU_N1_TO_1, RELU6


def rows_of(kept: Kept, channels_last: list[str], shapes: Mapping[str, tuple[int, ...]]) -> list[Arrays]:
    """Return what was kept as a signature takes it: as many rows at a time as its batch axis says."""
    size = next((shape[0] for shape in shapes.values() if shape), 1)
    return [fitted(to_file_layout(part, channels_last), shapes) for part in in_batches_of(size, kept.batches)]


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
    learnt, judges = divide(rows)
    if not layers or not judges:
        return data
    try:
        _move(before, after, layers, learnt[: max(FEWEST, _RUNS // len(layers))])
        answers = (_runs(m, list(m.subgraphs[0].outputs), judges) for m in (before, flatbuffer.parse(data), after))
        if farther(*answers):
            return data
    except (RuntimeError, ValueError):  # the runtime refuses the file: the check of what was written says why
        return data
    return flatbuffer.to_bytes(after)


def _move(before: Any, after: Any, layers: list[tuple[Any, Any]], rows: Sequence[Arrays]) -> None:
    """Move the bias of each layer of the quantized model, first to last. Raises: RuntimeError, ValueError."""
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
    bias = moved(np.frombuffer(bytes(buffer.data), np.int32), np.asarray(tensor.quantization.scale), more)
    buffer.data = np.frombuffer(bias.tobytes(), np.uint8)
