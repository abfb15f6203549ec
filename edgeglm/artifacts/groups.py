"""A float file cut into groups of operators that can be quantized, or left in float, each by itself."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from edgeglm.artifacts.patterns import OPERATOR

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from edgeglm.boards import Board


@dataclass(frozen=True)
class Group:
    """One operator with weights, and those that follow it up to the next one with weights."""

    layer: str  # what a report calls it
    head: str  # the operator with weights, as `ignore` names it: ``op:block.conv1/Conv``
    operators: tuple[str, ...]  # all of them, likewise


@dataclass(frozen=True)
class _Operator:
    key: str
    layers: tuple[str, ...]
    weighted: bool
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]


def groups_of(path: Path, file_format: str, *, board: Board) -> list[Group]:
    """Return the groups of an FP32 file, one a layer with weights, in the file's order; all operators are in one.

    Args:
        path: The file.
        file_format: onnx, tflite or openvino.
        board: An ONNX file is looked at as it will be quantized for this board.

    Raises:
        ExportError: The file cannot be read.
    """
    if file_format == "openvino":
        return [
            replace(group, operators=tuple(key for key in group.operators if not _unnamed(key)))
            for group in _grouped(_openvino(path))
        ]
    return _grouped(_tflite(path) if file_format == "tflite" else _onnx(path, board))


def _grouped(operators: list[_Operator]) -> list[Group]:
    """Attach each operator without weights to the last group that it reads from; what comes before the first, to it."""
    made_by: dict[str, int] = {}
    members: list[list[_Operator]] = []
    early: list[_Operator] = []
    for operator in operators:
        if operator.weighted:
            members.append([operator])
            at = len(members) - 1
        else:
            at = max((made_by[name] for name in operator.inputs if name in made_by), default=-1)
            (members[at] if at >= 0 else early).append(operator)
        if at >= 0:
            made_by |= dict.fromkeys(operator.outputs, at)
    if not members:
        return []
    members[0] = [*early, *members[0]]
    heads = [next(one for one in group if one.weighted) for group in members]
    taken = Counter("+".join(head.layers) for head in heads)
    names = ["+".join(head.layers) if taken["+".join(head.layers)] == 1 else "" for head in heads]
    return [
        Group(
            name or head.key.partition(";")[0],
            f"{OPERATOR}{head.key}",
            tuple(f"{OPERATOR}{one.key}" for one in group),
        )
        for name, head, group in zip(names, heads, members, strict=True)
    ]


def _onnx(path: Path, board: Board) -> list[_Operator]:
    from edgeglm.artifacts.onnx import load_float
    from edgeglm.artifacts.onnx_graph import ensure_node_names, float_weights, layers_of

    model = load_float(path, board)
    ensure_node_names(model)
    weighted = set(float_weights(model))
    layers = layers_of(model)
    ours = {node.name: len(layers[node.name]) == 1 for node in model.graph.node}
    return [
        _Operator(
            node.name,
            (layers[node.name][0] if ours[node.name] else node.name,),
            node.name in weighted,
            tuple(node.input),
            tuple(node.output),
        )
        for node in model.graph.node
    ]


def _tflite(path: Path) -> list[_Operator]:
    from edgeglm.artifacts import flatbuffer

    model = flatbuffer.read(path)
    graph = model.subgraphs[0]
    weighted = {one.scope for one in flatbuffer.weights(model)}
    layers = flatbuffer.layers_of(model)
    ours = (model.description or b"").startswith(flatbuffer.MARK.encode())

    def names(indices: Iterable[int]) -> tuple[str, ...]:
        return tuple(str(int(index)) for index in indices if index != -1)

    found = []
    for operator in graph.operators:
        key = flatbuffer.scope(graph, operator)
        named = tuple(layers[key]) if ours else (key.partition(";")[0],)
        found.append(_Operator(key, named, key in weighted, names(operator.inputs), names(operator.outputs)))
    return found


def _openvino(path: Path) -> list[_Operator]:
    from edgeglm.artifacts.openvino_ir import NAME, node_name
    from edgeglm.measure.openvino_census import OpenVinoGraph

    graph = OpenVinoGraph(path)
    weighted = graph.weighted()
    ours = graph.name == NAME
    return [
        _Operator(name, (name.partition("/")[0] if ours else node_name(name),), name in weighted, read, (number,))
        for number, name, read in graph.operators()
    ]


def _unnamed(key: str) -> bool:
    """Return whether OpenVINO made an operator by itself, so that no name stands for it in every file."""
    from edgeglm.artifacts.openvino_ir import is_numbered

    return is_numbered(key.removeprefix(OPERATOR))
