"""Counting in a TFLite file."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from ai_edge_litert import schema_py_generated as schema

from edgeglm.measure.census import Operator

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from edgeglm.measure.census import Kind

_OPERATORS = {number: name for name, number in vars(schema.BuiltinOperator).items() if isinstance(number, int)}
_TYPES = {number: name.lower() for name, number in vars(schema.TensorType).items() if isinstance(number, int)}
_KINDS: dict[str, Kind] = {
    **dict.fromkeys(("CONV_2D", "CONV_3D", "DEPTHWISE_CONV_2D", "TRANSPOSE_CONV"), "convolution"),
    **dict.fromkeys(("FULLY_CONNECTED", "BATCH_MATMUL"), "product"),
    "UNIDIRECTIONAL_SEQUENCE_LSTM": "lstm",
    "WHILE": "recurrent",
    **dict.fromkeys(("EMBEDDING_LOOKUP", "GATHER"), "table"),
}
_INTEGERS = {"int32", "int64", "uint32", "uint64", "bool", "string"}  # without a scale: shapes, axes, indices


class TfliteGraph:
    """One TFLite file, parsed into objects."""

    def __init__(self, path: Path) -> None:
        data = path.read_bytes()
        if data[4:8] != b"TFL3":
            raise ValueError("its first bytes are not those of a TFLite file")
        self._data = data
        self._model: Any = schema.ModelT.InitFromObj(schema.Model.GetRootAs(data, 0))
        if not self._model.subgraphs:
            raise ValueError("it holds no graph")

    def weight_dtypes(self) -> dict[str, int]:
        """Return type -> bytes of all constants."""
        sizes: dict[str, int] = {}
        for tensor, size_bytes in self._constants():
            name = _TYPES[tensor.type]
            sizes[name] = sizes.get(name, 0) + size_bytes
        return sizes

    def params(self) -> int:
        """Return the number of weights: constants that are no shape, axis, index or scalar."""
        scales = self._block_scales()
        return sum(
            math.prod(_shape(tensor))
            for tensor, _ in self._constants()
            if _shape(tensor)
            and tensor.buffer not in scales
            and (_TYPES[tensor.type] not in _INTEGERS or _has_scale(tensor))
        )

    def macs(self) -> int:
        """Return the multiply-accumulates of one sample; every shape is in the file."""
        main = self._served_subgraph()
        graph = self._model.subgraphs[main]
        shapes = [_shape(graph.tensors[index]) for index in graph.inputs]
        batch = max((shape[0] for shape in shapes if shape), default=1)
        return self._graph_macs(main) // max(1, batch)

    def operators(self) -> list[Operator]:
        """Return every operator with weights, in the file's order."""
        found: list[Operator] = []
        graph = self._model.subgraphs[self._served_subgraph()]
        for operator in graph.operators:
            code = self._model.operatorCodes[operator.opcodeIndex]
            kind = _KINDS.get(_OPERATORS[max(code.builtinCode, code.deprecatedBuiltinCode)])
            held = [graph.tensors[i] for i in operator.inputs if i >= 0 and self._holds(graph.tensors[i])]
            params = max((math.prod(_shape(tensor)) for tensor in held), default=0)
            if kind is None or (kind == "table" and not params):
                continue
            name = _OPERATORS[max(code.builtinCode, code.deprecatedBuiltinCode)]
            inputs = [_shape(graph.tensors[i]) if i >= 0 else () for i in operator.inputs]
            outputs = [_shape(graph.tensors[i]) for i in operator.outputs]
            found.append(Operator(kind, params, _operator_macs(name, inputs, outputs, operator.builtinOptions)))
        return found

    def _holds(self, tensor: Any) -> bool:
        """Return whether a tensor is a constant of numbers."""
        buffer = self._model.buffers[tensor.buffer]
        return bool(buffer.size or (buffer.data is not None and len(buffer.data))) and (
            _TYPES[tensor.type] not in _INTEGERS or _has_scale(tensor)
        )

    def stripped(self) -> bytes:
        """Return the file without metadata, equal constants stored once; as it is when that saves nothing."""
        from edgeglm.artifacts import flatbuffer

        model: Any = schema.ModelT.InitFromObj(schema.Model.GetRootAs(self._data, 0))
        described, model.description = bool(model.description), None
        flatbuffer.strip(model)
        data = flatbuffer.to_bytes(model)
        return data if described else min(data, self._data, key=len)  # packing anew may add padding

    def _constants(self) -> Iterator[tuple[Any, int]]:
        """Yield a tensor and its bytes for every buffer that holds something; what is shared comes once."""
        seen: set[int] = set()
        for graph in self._model.subgraphs:
            for tensor in graph.tensors:
                buffer = self._model.buffers[tensor.buffer]
                size_bytes = buffer.size or (0 if buffer.data is None else len(buffer.data))
                if size_bytes and tensor.buffer not in seen:
                    seen.add(tensor.buffer)
                    yield tensor, size_bytes

    def _block_scales(self) -> set[int]:
        """Return the buffers that hold the scales of blocks of weights; these stand beside the weights as tensors."""
        found = set()
        for graph in self._model.subgraphs:
            for tensor in graph.tensors:
                details = tensor.quantization.details if tensor.quantization is not None else None
                if isinstance(details, schema.BlockwiseQuantizationT):
                    found |= {
                        graph.tensors[index].buffer for index in (details.scales, details.zeroPoints) if index >= 0
                    }
        return found

    def _served_subgraph(self) -> int:
        """Return the graph that an engine runs: that of the signature it picks, else the first."""
        signatures = {entry.signatureKey: int(entry.subgraphIndex) for entry in self._model.signatureDefs or []}
        return signatures.get(b"serving_default", next(iter(signatures.values()), 0))

    def _graph_macs(self, index: int) -> int:
        graph = self._model.subgraphs[index]
        total = 0
        for operator in graph.operators:
            code = self._model.operatorCodes[operator.opcodeIndex]
            name = _OPERATORS[max(code.builtinCode, code.deprecatedBuiltinCode)]
            if name == "STABLEHLO_COMPOSITE":
                total += self._graph_macs(operator.builtinOptions2.decompositionSubgraphIndex)
            else:
                inputs = [_shape(graph.tensors[i]) if i >= 0 else () for i in operator.inputs]
                outputs = [_shape(graph.tensors[i]) for i in operator.outputs]
                total += _operator_macs(name, inputs, outputs, operator.builtinOptions)
        return total


def _operator_macs(name: str, inputs: list[tuple[int, ...]], outputs: list[tuple[int, ...]], options: Any) -> int:
    if name in ("CONV_2D", "CONV_3D"):
        per_output = math.prod(inputs[1][1:]) if name == "CONV_2D" else math.prod(inputs[1][:-1])
        return math.prod(outputs[0]) * per_output  # weights OHWI, or DHWIO
    if name == "DEPTHWISE_CONV_2D":
        return math.prod(outputs[0]) * math.prod(inputs[1][1:3])  # weights 1HWO
    if name == "TRANSPOSE_CONV":
        height, width = inputs[1][1:3]  # weights OHWI; inputs: output shape, weights, data
        return math.prod(inputs[2]) * inputs[1][0] * height * width
    if name == "FULLY_CONNECTED":
        return math.prod(outputs[0]) * inputs[1][-1]  # weights (out, in)
    if name == "BATCH_MATMUL":
        return math.prod(outputs[0]) * inputs[0][-2 if options is not None and options.adjX else -1]
    if name == "UNIDIRECTIONAL_SEQUENCE_LSTM":
        first, second = inputs[0][:2]  # time and batch, in either order
        return first * second * sum(math.prod(shape) for shape in inputs[1:9])  # input and recurrent weights
    return 0


def _shape(tensor: Any) -> tuple[int, ...]:
    return () if tensor.shape is None else tuple(int(length) for length in tensor.shape)


def _has_scale(tensor: Any) -> bool:
    return tensor.quantization is not None and tensor.quantization.scale is not None
