"""Operators that static INT8 would quantize for nothing: between float operators, or after the last layer of weights.

ONNX Runtime's quantizer takes every operator that it has a rule for, wherever it stands. A sum of two powers of a
spectrum, or the Concat that joins boxes, objectness and classes at a detector's end, then loses all but 8 bits of what
float operators on both sides had: no multiplication gets faster, and the answer gets worse.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from edgeglm.artifacts.onnx_graph import reads

if TYPE_CHECKING:
    import onnx

WEIGHTED = {"Conv", "ConvTranspose", "Gemm", "MatMul", "Gather", "EmbedLayerNormalization"}
# what computes, or joins: worth INT8 between layers of weights alone
_COMPUTES = {
    *("Add", "Sub", "Mul", "Div", "Concat", "Pad", "Where", "Softmax", "Sigmoid", "Tanh", "Elu", "LeakyRelu"),
    *("HardSigmoid", "HardSwish", "PRelu", "Gelu", "ReduceMean", "ReduceMax", "ReduceMin", "ReduceSum"),
    *("LayerNormalization", "InstanceNormalization", "BatchNormalization"),
}
# what hands values on: looked through, in both directions
_PASSES = {
    *("Relu", "Clip", "MaxPool", "AveragePool", "GlobalAveragePool", "Resize", "Reshape", "Flatten", "Transpose"),
    *("Squeeze", "Unsqueeze", "Slice", "Split", "Identity", "DepthToSpace", "SpaceToDepth", "Expand"),
}


def islands(model: onnx.ModelProto, ignore: set[str]) -> set[str]:
    """Return the names of nodes that gain nothing from static INT8.

    These are the computing nodes one of whose inputs is made in float (by an operator without an integer form, or by a
    layer under ``ignore``), and those from which no quantized layer of weights is reached before the outputs.

    Args:
        model: FP32, its nodes named, in topological order.
        ignore: Names of nodes that stay float.
    """
    graph = model.graph
    constant = {tensor.name for tensor in graph.initializer}
    quantized = {node.name for node in graph.node if node.op_type in WEIGHTED and node.name not in ignore}
    whole: dict[str, bool] = {value.name: True for value in graph.input}  # tensor -> made in INT8, or an input
    apart: set[str] = set()
    for node in graph.node:
        made = [whole.get(name, False) for name in node.input if name and name not in constant]
        joined = bool(made) and all(made)
        if node.op_type in _COMPUTES and node.name not in ignore and not joined:
            apart.add(node.name)
        passes = node.op_type in (_COMPUTES | _PASSES) and node.name not in ignore and joined
        for name in node.output:
            whole[name] = node.name in quantized or passes
    reached: set[str] = set()  # tensors that a quantized layer of weights reads
    for node in reversed(graph.node):
        leads = node.op_type in (_COMPUTES | _PASSES) and any(name in reached for name in node.output)
        if node.op_type in _COMPUTES and node.name not in ignore and not leads:
            apart.add(node.name)
        if node.name in quantized or (leads and node.name not in apart):
            reached.update(node.input)
    return apart


def read_inside(model: onnx.ModelProto) -> set[str]:
    """Return the names of activations whose values an inner graph (of an If, a Loop) reads.

    The quantizer drops a Relu whose range the following QuantizeLinear clips, and gives its name to the layer before;
    an inner graph, which it does not look into, would then read what was never clipped.
    """
    read: set[str] = set()
    for node in model.graph.node:
        read.update(set(reads(node)).difference(node.input))
    return {
        node.name for node in model.graph.node if node.op_type in {"Relu", "Clip"} and read.intersection(node.output)
    }
