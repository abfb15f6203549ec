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
    """The outputs of one graph as they were."""

    tensors: list[int]
    signatures: list[list[tuple[bytes, int]]]  # of each of its signatures: name and tensor
    left: list[int]  # tensors that stayed outputs


def take_off_inner(model: Any) -> list[Outputs]:
    """Leave each output once, and none that its graph itself reads unless there is no other; return what there was."""
    return [_taken_off(graph, _signatures_of(model, number)) for number, graph in enumerate(model.subgraphs)]


def _taken_off(graph: Any, signatures: list[Any]) -> Outputs:
    tensors = [int(index) for index in graph.outputs]
    before = [[(entry.name, int(entry.tensorIndex)) for entry in s.outputs] for s in signatures]
    read = {int(index) for operator in graph.operators for index in operator.inputs}
    left = list(dict.fromkeys([index for index in tensors if index not in read] or tensors))
    graph.outputs = left
    for signature in signatures:
        first = {int(entry.tensorIndex): entry for entry in reversed(signature.outputs)}
        signature.outputs = [first[index] for index in left if index in first]
    return Outputs(tensors, before, left)


def put_back(model: Any, outputs: list[Outputs]) -> None:
    """Give quantized graphs the outputs that the float graphs had, in float32 and in their order."""
    for number, (graph, before) in enumerate(zip(model.subgraphs, outputs, strict=True)):
        if before.left != before.tensors:
            _give_back(model, graph, _signatures_of(model, number), before)


def _give_back(model: Any, graph: Any, signatures: list[Any], outputs: Outputs) -> None:
    from ai_edge_litert import schema_py_generated as schema

    now = dict(zip(outputs.left, (int(index) for index in graph.outputs), strict=True))
    for index in outputs.tensors:
        if index not in now:
            quantized = type_name(graph.tensors[index]) != "FLOAT32"
            now[index] = _dequantized(model, graph, index) if quantized else index
    graph.outputs = [now[index] for index in outputs.tensors]
    for signature, entries in zip(signatures, outputs.signatures, strict=True):
        signature.outputs = []
        for name, index in entries:
            entry = schema.TensorMapT()
            entry.name, entry.tensorIndex = name, now[index]
            signature.outputs.append(entry)


def _signatures_of(model: Any, number: int) -> list[Any]:
    return [signature for signature in model.signatureDefs if signature.subgraphIndex == number]


def _dequantized(model: Any, graph: Any, index: int) -> int:
    """Append a DEQUANTIZE of this tensor; return the tensor that it writes."""
    from ai_edge_litert import schema_py_generated as schema
    from ai_edge_quantizer.transformations.transformation_utils import add_op_code

    tensor, operator = schema.TensorT(), schema.OperatorT()
    tensor.name, tensor.shape = graph.tensors[index].name + b"_dequant", graph.tensors[index].shape
    tensor.type, tensor.buffer = schema.TensorType.FLOAT32, 0
    operator.opcodeIndex = add_op_code(schema.BuiltinOperator.DEQUANTIZE, model.operatorCodes)
    operator.inputs, operator.outputs = [index], [len(graph.tensors)]
    graph.tensors.append(tensor)
    graph.operators.append(operator)
    return len(graph.tensors) - 1
