"""Outputs of a TFLite graph that operators inside it read too, kept out of the quantizer's sight.

For an output that stays float32, ai-edge-quantizer 0.10 also rewires the graph's last operator, since it stands for the
output by the number -1. Where that operator reads the very output, as in ``return y, y * 2``, it would be INT8 with
one input in float32, and LiteRT refuses the file. An output that is given twice loses the second. So such outputs are
taken off before, and come back afterwards, through a DEQUANTIZE of their own where nothing else made one.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from edgeglm.artifacts.flatbuffer import type_name


@dataclass(frozen=True)
class Outputs:
    """The outputs of a graph as they were."""

    tensors: list[int]
    signatures: list[list[tuple[bytes, int]]]  # of each signature: name and tensor
    left: list[int]  # tensors that stayed outputs


def take_off_inner(model: Any) -> Outputs:
    """Leave each output once, and none that the graph itself reads unless there is no other; return what there was."""
    graph = model.subgraphs[0]
    tensors = [int(index) for index in graph.outputs]
    signatures = [[(entry.name, int(entry.tensorIndex)) for entry in s.outputs] for s in model.signatureDefs]
    read = {int(index) for operator in graph.operators for index in operator.inputs}
    left = list(dict.fromkeys([index for index in tensors if index not in read] or tensors))
    graph.outputs = left
    for signature in model.signatureDefs:
        first = {int(entry.tensorIndex): entry for entry in reversed(signature.outputs)}
        signature.outputs = [first[index] for index in left if index in first]
    return Outputs(tensors, signatures, left)


def put_back(model: Any, outputs: Outputs) -> None:
    """Give a quantized graph the outputs that the float graph had, in float32 and in their order."""
    from ai_edge_litert import schema_py_generated as schema

    if outputs.left == outputs.tensors:
        return
    graph = model.subgraphs[0]
    now = dict(zip(outputs.left, (int(index) for index in graph.outputs), strict=True))
    for index in outputs.tensors:
        if index not in now:
            quantized = type_name(graph.tensors[index]) != "FLOAT32"
            now[index] = _dequantized(model, index) if quantized else index
    graph.outputs = [now[index] for index in outputs.tensors]
    for signature, entries in zip(model.signatureDefs, outputs.signatures, strict=True):
        signature.outputs = []
        for name, index in entries:
            entry = schema.TensorMapT()
            entry.name, entry.tensorIndex = name, now[index]
            signature.outputs.append(entry)


def _dequantized(model: Any, index: int) -> int:
    """Append a DEQUANTIZE of this tensor; return the tensor that it writes."""
    from ai_edge_litert import schema_py_generated as schema
    from ai_edge_quantizer.transformations.transformation_utils import add_op_code

    graph = model.subgraphs[0]
    tensor, operator = schema.TensorT(), schema.OperatorT()
    tensor.name, tensor.shape = graph.tensors[index].name + b"_dequant", graph.tensors[index].shape
    tensor.type, tensor.buffer = schema.TensorType.FLOAT32, 0
    operator.opcodeIndex = add_op_code(schema.BuiltinOperator.DEQUANTIZE, model.operatorCodes)
    operator.inputs, operator.outputs = [index], [len(graph.tensors)]
    graph.tensors.append(tensor)
    graph.operators.append(operator)
    return len(graph.tensors) - 1
