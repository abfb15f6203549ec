"""Where the bytes are: constants of a file by the layer that uses them."""

from __future__ import annotations

import math
from collections import defaultdict
from typing import TYPE_CHECKING, Any

from edgeglm.report.types import LayerBytes

if TYPE_CHECKING:
    from pathlib import Path

SHOWN = 16  # layers; the others are summed up
_PASSED_ON = {"DequantizeLinear", "Cast", "Transpose", "Reshape", "QuantizeLinear", "Unsqueeze", "Squeeze", "Identity"}


def layer_bytes(path: Path, format: str) -> list[LayerBytes]:  # noqa: A002 - the manifest's word
    """Return the layers with the most bytes of constants, largest first, then the rest as a layer without a name.

    Nothing for a format whose files are not read here. A constant that several layers share counts for the first.

    Raises:
        ModelError, MissingExtraError: As ``edgeglm.measure.census.weight_dtypes``.
    """
    if format == "onnx":
        found = _onnx(path)
    elif format == "tflite":
        found = _tflite(path)
    elif format == "openvino":
        found = _openvino(path)
    else:
        return []
    rows = sorted(found.items(), key=lambda item: (-sum(item[1].values()), item[0]))
    sizes = [LayerBytes(layer=layer, dtypes=dict(kinds)) for layer, kinds in rows[:SHOWN]]
    rest: dict[str, int] = defaultdict(int)
    for _, kinds in rows[SHOWN:]:
        for kind, count in kinds.items():
            rest[kind] += count
    return [*sizes, LayerBytes(layer="", dtypes=dict(rest), layers=len(rows) - SHOWN)] if rest else sizes


def _onnx(path: Path) -> dict[str, dict[str, int]]:
    """Return layer -> type -> bytes."""
    import onnx

    from edgeglm.artifacts.onnx_graph import PRODUCER
    from edgeglm.measure.onnx_census import type_of

    model = onnx.load(str(path), load_external_data=False)
    ours = model.producer_name == PRODUCER
    constants: dict[str, tuple[str, int]] = {}
    users: dict[str, Any] = {}  # tensor -> the first node that reads it
    for tensor in model.graph.initializer:
        kind, bits = type_of(tensor.data_type)
        constants[tensor.name] = kind, -(-math.prod(tensor.dims) * bits // 8)
    for node in model.graph.node:
        if node.op_type == "Constant" and node.attribute[:1] and node.attribute[0].name == "value":
            tensor = node.attribute[0].t
            kind, bits = type_of(tensor.data_type)
            constants[node.output[0]] = kind, -(-math.prod(tensor.dims) * bits // 8)
        for name in node.input:
            users.setdefault(name, node)
    found: dict[str, dict[str, int]] = defaultdict(lambda: defaultdict(int))
    for name, (kind, count) in constants.items():
        user = users.get(name)
        while user is not None and user.op_type in _PASSED_ON and user.output[0] in users:
            user = users[user.output[0]]  # what only unpacks a weight belongs to the layer that uses it
        found[_layer(user, name, ours=ours)][kind] += count
    return found


def _layer(node: Any, tensor: str, *, ours: bool) -> str:
    if node is None:
        return tensor
    head, slash, _ = node.name.rpartition("/")
    return (head if ours and slash else node.name) or tensor


def _tflite(path: Path) -> dict[str, dict[str, int]]:
    """Return layer -> type -> bytes.

    A quantized file of ours has no names inside, for they would be a tenth of it: its operators are numbered.
    """
    from edgeglm.artifacts import flatbuffer

    model = flatbuffer.read(path)
    found: dict[str, dict[str, int]] = defaultdict(lambda: defaultdict(int))
    seen: set[int] = set()
    for index, graph in enumerate(model.subgraphs):
        layers = flatbuffer.operator_layers(model) if index == 0 else [""] * len(graph.operators)
        for place, (operator, layer) in enumerate(zip(graph.operators, layers, strict=True), start=1):
            unnamed = f"{place}. {flatbuffer.operator_name(model, operator).lower()}"
            for number in operator.inputs:
                tensor = graph.tensors[number] if number >= 0 else None
                data = None if tensor is None else flatbuffer.data_of(model, tensor)
                if tensor is None or data is None or tensor.buffer in seen:
                    continue
                seen.add(tensor.buffer)
                found[layer or unnamed][flatbuffer.type_name(tensor).lower()] += len(data)
    return found


def _openvino(path: Path) -> dict[str, dict[str, int]]:
    """Return layer -> type -> bytes."""
    from edgeglm.artifacts.openvino_ir import NAME, node_name
    from edgeglm.measure.openvino_census import OpenVinoGraph

    graph = OpenVinoGraph(path)
    found: dict[str, dict[str, int]] = defaultdict(lambda: defaultdict(int))
    for name, sizes in graph.constants_of():
        head, slash, _ = name.partition("/")
        layer = (head if graph.name == NAME and slash else "") or node_name(name)
        for kind, count in sizes.items():
            found[layer][kind] += count
    return found
