"""An ONNX graph made small and always the same: metadata stripped, values renamed, equal constants shared."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

import onnx
from onnx import helper

from edgeglm.artifacts.onnx_graph import PRODUCER, sort_nodes, subgraphs

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

_DIGITS = "0123456789abcdefghijklmnopqrstuvwxyz"
_QDQ = {"QuantizeLinear", "DequantizeLinear", "DynamicQuantizeLinear"}


def compact(model: onnx.ModelProto) -> onnx.ModelProto:
    """Strip everything that a runtime does not need, share equal constants, and give inner values short names.

    Inner names are numbered in graph order, so equal networks give equal bytes; none can equal the name of an input
    or output.
    """
    graph = model.graph
    sort_nodes(graph)
    public = {value.name for value in [*graph.input, *graph.output]}
    shared = _share_constants(graph, public)
    del graph.value_info[:]
    del graph.metadata_props[:]
    del model.metadata_props[:]
    called = {(node.domain, node.op_type) for node in graph.node}
    if not any((function.domain, function.name) in called for function in model.functions):
        del model.functions[:]
    del graph.quantization_annotation[:]
    if any(subgraphs(node) for node in graph.node):
        rename: dict[str, str] = {name: name for name in _values(graph)}  # inner graphs see outer names: keep them
    else:
        rename = _short_names(graph, public, shared)
    for node in graph.node:
        node.input[:] = [rename[shared.get(name, name)] if name else "" for name in node.input]
        node.output[:] = [rename[name] if name else "" for name in node.output]
        node.doc_string = ""
        del node.metadata_props[:]
        if node.op_type in _QDQ:
            node.name = ""
    used = {name for node in graph.node for name in node.input} | public
    whole = _subgraphs_present(graph)
    initializers = [t for t in graph.initializer if t.name not in shared and (whole or rename[t.name] in used)]
    for tensor in initializers:
        tensor.name = rename.get(tensor.name, tensor.name)
        tensor.doc_string = ""
        del tensor.metadata_props[:]
    kept = [onnx.TensorProto.FromString(tensor.SerializeToString()) for tensor in initializers]
    del graph.initializer[:]
    graph.initializer.extend(kept)
    for value in [*graph.input, *graph.output]:
        value.doc_string = ""
        del value.metadata_props[:]
    graph.name, graph.doc_string, model.doc_string = "g", "", ""
    model.producer_name = PRODUCER if model.producer_name == PRODUCER else ""
    model.producer_version, model.domain, model.model_version = "", "", 0
    used_domains = {node.domain for node in graph.node} | {""}
    opsets = sorted((o.domain, o.version) for o in model.opset_import if o.domain in used_domains)
    del model.opset_import[:]
    model.opset_import.extend(helper.make_opsetid(domain, version) for domain, version in opsets)
    return model


def to_bytes(model: onnx.ModelProto) -> bytes:
    """Return the file's bytes; equal models give equal bytes."""
    data: bytes = model.SerializeToString(deterministic=True)
    return data


def _subgraphs_present(graph: onnx.GraphProto) -> bool:
    return any(subgraphs(node) for node in graph.node)


def _values(graph: onnx.GraphProto) -> Iterable[str]:
    yield from (value.name for value in graph.input)
    yield from (tensor.name for tensor in graph.initializer)
    for node in graph.node:
        yield from (name for name in [*node.input, *node.output] if name)


def _share_constants(graph: onnx.GraphProto, public: set[str]) -> dict[str, str]:
    """Return constant -> the first one of equal content."""
    if _subgraphs_present(graph):
        return {}
    first: dict[tuple[int, tuple[int, ...], bytes], str] = {}
    shared: dict[str, str] = {}
    for tensor in graph.initializer:
        if tensor.name in public:
            continue
        content = hashlib.sha256(onnx.numpy_helper.to_array(tensor).tobytes()).digest()
        key = (tensor.data_type, tuple(tensor.dims), content)
        kept = first.setdefault(key, tensor.name)
        if kept != tensor.name:
            shared[tensor.name] = kept
    return shared


def _short_names(graph: onnx.GraphProto, public: set[str], shared: Mapping[str, str]) -> dict[str, str]:
    rename = {name: name for name in public}
    taken = set(public)
    number = 0
    for name in _values(graph):
        name = shared.get(name, name)
        if name in rename:
            continue
        while (short := _base36(number)) in taken:
            number += 1
        rename[name] = short
        taken.add(short)
    for name, kept in shared.items():
        rename[name] = rename[kept]
    return rename


def _base36(number: int) -> str:
    text = ""
    while True:
        number, digit = divmod(number, 36)
        text = _DIGITS[digit] + text
        if not number:
            return text
