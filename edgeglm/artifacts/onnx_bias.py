"""Biases of a static INT8 ONNX graph, corrected (see ``bias_correction``).

A graph with QuantizeLinear and DequantizeLinear computes in float what the integers will: a layer's outputs before any
activation function and rounding are at hand, and a bias moves their mean by exactly as much. So one way through the
graph corrects all layers: it runs up to a layer, whose bias and outputs are moved, and goes on from there.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import onnx
from onnx import numpy_helper

from edgeglm.artifacts.bias_correction import divide, farther, moved
from edgeglm.artifacts.calibration import in_batches_of
from edgeglm.artifacts.onnx_graph import fixed_batch, reads, sort_nodes
from edgeglm.artifacts.onnx_walk import Walk, run_each

if TYPE_CHECKING:
    from collections.abc import Sequence

    from edgeglm.artifacts.calibration import Kept
    from edgeglm.data.splits import Arrays

_LAYERS = {"Conv": 1, "ConvTranspose": 1, "Gemm": -1}  # operator -> axis of channels in its outputs
_BIAS = 2  # its position among their inputs


class _Layer(NamedTuple):
    """A layer of the float graph, what became of it, and its INT32 bias with that one's scale."""

    before: onnx.NodeProto
    after: onnx.NodeProto
    bias: onnx.TensorProto
    scale: np.ndarray  # (C,) or one

    def means(self, values: np.ndarray) -> np.ndarray:
        """Return the mean of every channel, (C,) float64, of what the layer gives in one run."""
        by_channel = np.moveaxis(values, _LAYERS[self.after.op_type], 0)
        return np.asarray(by_channel.reshape(len(by_channel), -1).mean(axis=1, dtype=np.float64))


def correct(before: onnx.ModelProto, after: onnx.ModelProto, kept: Kept) -> None:
    """Move the biases of a quantized graph, in place, unless that takes its answers away from float.

    Layers without a bias of their own (a MatMul with an Add behind it) and those left in float stay as they are; so do
    networks none of whose outputs has the shape of the float network's.

    Args:
        before: FP32.
        after: The same with INT8 layers in QuantizeLinear/DequantizeLinear form, under the names of ``before``.
        kept: Calibration samples. Two in three correct, the others judge: the error of the outputs on those must not
            rise beyond chance. Fewer than 24 correct nothing.
    """
    if any(node.op_type.startswith(("Sequence", "SplitToSequence", "Optional")) for node in after.graph.node):
        return  # what lies between layers is no tensor that could be held
    sort_nodes(after.graph)
    layers = _static_layers(before, after)
    learnt, judges = divide(list(in_batches_of(fixed_batch(before) or 1, kept.batches)))
    if not layers or not judges:
        return
    computed = {name for node in before.graph.node for name in node.output}
    outputs = [value.name for value in before.graph.output if value.name in computed]  # a constant has no error
    biases = [layer.bias.SerializeToString() for layer in layers]
    try:
        answers = run_each(before, outputs, judges), run_each(after, outputs, judges)  # of the graph as it is here
        _move(before, after, layers, learnt)
        worse = farther(*answers, run_each(after, outputs, judges))
    except _refusals():  # a piece of the graph alone may not run where the whole does: the file stays as it was
        worse = True
    if worse:
        for layer, content in zip(layers, biases, strict=True):
            layer.bias.ParseFromString(content)


def _refusals() -> tuple[type[Exception], ...]:
    """Return the errors by which ONNX Runtime refuses a graph; they have no class in common but Exception."""
    from onnxruntime.capi import onnxruntime_pybind11_state as state

    found = (value for value in vars(state).values() if isinstance(value, type))
    return tuple(value for value in found if issubclass(value, Exception))


def _static_layers(before: onnx.ModelProto, after: onnx.ModelProto) -> list[_Layer]:
    """Return the layers whose bias is of INT32 and read by them alone, in order."""
    floats = {node.name: node for node in before.graph.node if node.op_type in _LAYERS}
    makers = {name: node for node in after.graph.node for name in node.output}
    constants = {tensor.name: tensor for tensor in after.graph.initializer}
    read: dict[str, int] = {}
    for node in after.graph.node:
        for name in reads(node):
            read[name] = read.get(name, 0) + 1
    found = []
    for node in after.graph.node:
        if node.op_type not in _LAYERS or node.name not in floats or len(node.input) <= _BIAS:
            continue
        maker = makers.get(node.input[_BIAS])
        if maker is None or maker.op_type != "DequantizeLinear" or read[maker.output[0]] > 1:
            continue
        bias, scale = constants.get(maker.input[0]), constants.get(maker.input[1])
        if bias is None or scale is None or bias.data_type != onnx.TensorProto.INT32 or read[bias.name] > 1:
            continue
        if len(bias.dims) == 1:
            found.append(_Layer(floats[node.name], node, bias, numpy_helper.to_array(scale)))
    return found


def _move(before: onnx.ModelProto, after: onnx.ModelProto, layers: Sequence[_Layer], rows: Sequence[Arrays]) -> None:
    """Move the bias of each layer, first to last."""
    names = [layer.before.output[0] for layer in layers]
    wanted = [
        [layer.means(values) for layer, values in zip(layers, run, strict=True)]
        for run in run_each(before, names, rows)
    ]  # of runs; of layers
    walk = Walk(after, [layer.after.output[0] for layer in layers], rows)
    for number, layer in enumerate(layers):
        name = layer.after.output[0]
        found = [layer.means(values) for values in walk.advance(name)]
        differences = [run[number] - means for run, means in zip(wanted, found, strict=False)]  # held ones are fewer
        bias = numpy_helper.to_array(layer.bias)
        if bias.shape != differences[0].shape:  # one number for all channels
            continue
        new = moved(bias, layer.scale, np.mean(differences, axis=0))
        layer.bias.CopyFrom(numpy_helper.from_array(new, layer.bias.name))
        walk.add(name, (new.astype(np.float64) - bias) * layer.scale, axis=_LAYERS[layer.after.op_type])
