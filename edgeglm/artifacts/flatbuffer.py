"""A TFLite flatbuffer as an object: names, layouts, types of weights, and bytes again.

A float file that edgeglm writes keeps, in tensor names, which layer an operator computes (``block.conv1/7``), and in
its description which inputs have their channels last.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from edgeglm.errors import ExportError

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

MARK = "edgeglm"
_KEPT_METADATA = {b"min_runtime_version"}
# operators with weights, and the position of those among their inputs
_WEIGHTED = {"CONV_2D": 1, "DEPTHWISE_CONV_2D": 1, "FULLY_CONNECTED": 1, "TRANSPOSE_CONV": 1, "EMBEDDING_LOOKUP": 1}
_WEIGHTED |= {"BATCH_MATMUL": 1, "CONV_3D": 1, "UNIDIRECTIONAL_SEQUENCE_LSTM": 1}


def read(path: Path) -> Any:
    """Return the file as an object of the flatbuffer's schema. Raises: ExportError when it is no TFLite file."""
    return parse(path.read_bytes(), where=str(path))


def parse(content: bytes, *, where: str = "") -> Any:
    """Return a file's bytes as such an object. Raises: ExportError, with ``where`` as its place."""
    from ai_edge_litert.tools import flatbuffer_utils

    try:
        if content[4:8] != b"TFL3":
            raise ValueError("its first bytes are not those of a TFLite file")
        model = flatbuffer_utils.read_model_from_bytearray(content)
        if not model.subgraphs:
            raise ValueError("it has no graph")
    except Exception as error:  # a damaged offset raises anything
        raise ExportError(
            f"not a TFLite file that can be used: {error}",
            where=where,
            hint="convert the model again",
            code="file-unloadable",
        ) from error
    for buffer in model.buffers:
        if buffer.data is not None:  # weights beyond the graph come as bytes, the others as arrays
            data = buffer.data
            buffer.data = data if isinstance(data, np.ndarray) else np.frombuffer(data, dtype=np.uint8)
    return model


def modernise(model: Any) -> None:
    """Bring an old file to what the quantizer reads: operator codes in the wide field, and a signature.

    The signature names inputs and outputs by their tensors, as an engine does where there is none.
    """
    from ai_edge_litert import schema_py_generated as schema

    for code in model.operatorCodes:
        code.builtinCode = max(code.builtinCode, code.deprecatedBuiltinCode)
    if model.signatureDefs:
        return
    graph = model.subgraphs[0]
    signature = schema.SignatureDefT()
    signature.signatureKey, signature.subgraphIndex = b"serving_default", 0
    signature.inputs, signature.outputs = [], []
    for entries, indices in ((signature.inputs, graph.inputs), (signature.outputs, graph.outputs)):
        for index in indices:
            entry = schema.TensorMapT()
            entry.name, entry.tensorIndex = graph.tensors[index].name, int(index)
            entries.append(entry)
    model.signatureDefs = [signature]


def to_bytes(model: Any) -> bytes:
    """Return the file's bytes; equal models give equal bytes."""
    from ai_edge_litert.tools import flatbuffer_utils

    return bytes(flatbuffer_utils.convert_object_to_bytearray(model))


def signatures(model: Any) -> dict[str, dict[str, tuple[int, ...]]]:
    """Return signature -> input -> shape with the batch axis, as they are written; an engine resizes no input."""
    found = {}
    for signature in model.signatureDefs or []:
        graph = model.subgraphs[signature.subgraphIndex]
        shapes = {entry.name.decode(): graph.tensors[entry.tensorIndex].shape for entry in signature.inputs}
        found[signature.signatureKey.decode()] = {
            name: () if shape is None else tuple(int(length) for length in shape) for name, shape in shapes.items()
        }
    return found


def operator_name(model: Any, operator: Any) -> str:
    """Return the operator's builtin name, as CONV_2D."""
    from ai_edge_litert import schema_py_generated as schema

    code = model.operatorCodes[operator.opcodeIndex]
    number = max(code.builtinCode, code.deprecatedBuiltinCode)
    names: dict[int, str] = {v: name for name, v in vars(schema.BuiltinOperator).items() if isinstance(v, int)}
    return names.get(number, str(number))


def scope(graph: Any, operator: Any) -> str:
    """Return how the quantizer's recipes name an operator: its outputs' names."""
    names = [graph.tensors[index].name.decode() for index in operator.outputs if index != -1]
    return ";".join(name for name in names if name) + ";"


def layers_of(model: Any) -> dict[str, list[str]]:
    """Return operator scope -> names of the layers it computes; of a file of others, names of its tensors."""
    ours = (model.description or b"").startswith(MARK.encode())
    found: dict[str, list[str]] = {}
    for graph in model.subgraphs:
        constants = {i for i, t in enumerate(graph.tensors) if data_of(model, t) is not None}
        for operator in graph.operators:
            outputs = [graph.tensors[index].name.decode() for index in operator.outputs if index != -1]
            if ours:
                layers = [name.rpartition("/")[0] for name in outputs]
                found[scope(graph, operator)] = [part for layer in layers for part in layer.split("+") if part]
            else:
                named = [graph.tensors[index].name.decode() for index in operator.inputs if index in constants]
                found[scope(graph, operator)] = [*outputs, *named]
    return found


def operator_layers(model: Any) -> list[str]:
    """Return the layer that each operator computes, in the file's order: "" where forward() itself does."""
    graph = model.subgraphs[0]
    names = [scope(graph, operator).partition(";")[0] for operator in graph.operators]
    return [name.rpartition("/")[0] if "/" in name else name for name in names]


def name_tensors(
    model: Any, layer_names: Callable[[str], list[str]], weighted: set[str], *, channels_last: list[str]
) -> None:
    """Give tensors short names that say which layer they come from, and strip what no runtime reads.

    Args:
        model: Changed in place.
        layer_names: Converter's tensor name -> torch layers in it, outermost first.
        weighted: Layers that have weights of their own: they own an operator that others were folded into.
        channels_last: Inputs in NHWC, by name.
    """
    for number, graph in enumerate(model.subgraphs):
        owners: dict[int, str] = {}
        for operator in graph.operators:
            position = _WEIGHTED.get(operator_name(model, operator))
            for index in operator.outputs:
                layers = layer_names(graph.tensors[index].name.decode())
                if position is not None and len(operator.inputs) > position:
                    named = layer_names(graph.tensors[operator.inputs[position]].name.decode())
                    layers = [name for name in [*named, *layers] if name in weighted][-1:] or layers
                inner = [name for name in layers if not any(other.startswith(f"{name}.") for other in layers)]
                owners[index] = "+".join(dict.fromkeys(inner))
        among = f"{number}." if number else ""  # the quantizer tells tensors of all graphs by their names
        for index, tensor in enumerate(graph.tensors):
            tensor.name = f"{owners.get(index, '')}/{among}{index}".encode()
    model.description = " ".join([MARK, *channels_last]).encode()
    strip(model)


def name_outputs(model: Any, inputs: list[str], outputs: list[str]) -> None:
    """Name every signature's inputs and outputs as the network does; both are in the network's order."""
    for signature in model.signatureDefs:
        for entries, names in ((signature.inputs, inputs), (signature.outputs, outputs)):
            ordered = sorted(entries, key=lambda entry: int(entry.name.rpartition(b"_")[2]))
            for entry, name in zip(ordered, names, strict=True):
                entry.name = name.encode()


def drop_names(model: Any) -> None:
    """Empty the names of inner tensors; a runtime finds inputs and outputs by the signature."""
    for graph in model.subgraphs:
        public = {int(index) for index in [*graph.inputs, *graph.outputs]}
        for index, tensor in enumerate(graph.tensors):
            tensor.name = str(index).encode() if index in public else b""
    model.description = None


def strip(model: Any) -> None:
    """Remove metadata that no runtime reads, and let equal constants share one buffer."""
    kept = [entry for entry in model.metadata or [] if entry.name in _KEPT_METADATA]
    model.metadata = kept
    used = {entry.buffer for entry in kept}
    first: dict[bytes, int] = {}
    for graph in model.subgraphs:
        graph.name = b"main" if graph is model.subgraphs[0] else b""
        for tensor in graph.tensors:
            data = data_of(model, tensor)
            if data is not None:
                tensor.buffer = first.setdefault(data, tensor.buffer)
            used.add(tensor.buffer)
    order = sorted(used | {0})  # buffer 0 is the empty one by convention
    position = {old: new for new, old in enumerate(order)}
    model.buffers = [model.buffers[old] for old in order]
    for entry in kept:
        entry.buffer = position[entry.buffer]
    for graph in model.subgraphs:
        for tensor in graph.tensors:
            tensor.buffer = position[tensor.buffer]


def data_of(model: Any, tensor: Any) -> bytes | None:
    """Return a constant's bytes, or None for a value that is computed."""
    data = model.buffers[tensor.buffer].data
    return None if data is None or not len(data) else bytes(data)


@dataclass(frozen=True)
class Weights:
    """The weights of one operator."""

    scope: str  # of the operator
    operator: str  # FULLY_CONNECTED
    type: str  # FLOAT32, INT8, ...
    shape: tuple[int, ...]
    size_bytes: int


def weights(model: Any) -> list[Weights]:
    """Return the constant weights of every operator that has some, in the file's order."""
    found = []
    for graph in model.subgraphs:
        dequantized = {}  # float16 weights come through DEQUANTIZE
        for operator in graph.operators:
            if operator_name(model, operator) == "DEQUANTIZE":
                dequantized[operator.outputs[0]] = operator.inputs[0]
        for operator in graph.operators:
            name = operator_name(model, operator)
            position = _WEIGHTED.get(name)
            if position is None or len(operator.inputs) <= position:
                continue
            tensor = graph.tensors[dequantized.get(operator.inputs[position], operator.inputs[position])]
            data = data_of(model, tensor)
            if data is not None:
                shape = tuple(int(length) for length in tensor.shape)
                found.append(Weights(scope(graph, operator), name, type_name(tensor), shape, len(data)))
    return found


def is_quantized(model: Any) -> bool:
    """Return whether any tensor is INT8 with a scale, or of 4-bit integers, or any constant float16."""
    for graph in model.subgraphs:
        for tensor in graph.tensors:
            quantization = tensor.quantization
            if quantization is not None and quantization.scale is not None and len(quantization.scale):
                return True
            if type_name(tensor) in ("FLOAT16", "INT4"):
                return True
    return False


def type_name(tensor: Any) -> str:
    """Return the name of a tensor's type, as FLOAT32."""
    from ai_edge_litert import schema_py_generated as schema

    names: dict[int, str] = {v: name for name, v in vars(schema.TensorType).items() if isinstance(v, int)}
    return names[tensor.type]
