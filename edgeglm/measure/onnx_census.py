"""Counting in an ONNX file."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import onnx
from onnx import TensorProto, helper, shape_inference

from edgeglm.measure.census import Operator

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from edgeglm.measure.census import Kind

# positions of scales and zero points among the inputs of each operator: these are not weights
_QUANTIZATION_INPUTS = {
    "QuantizeLinear": (1, 2),
    "DequantizeLinear": (1, 2),
    "QLinearConv": (1, 2, 4, 5, 6, 7),
    "QLinearMatMul": (1, 2, 4, 5, 6, 7),
    "ConvInteger": (2, 3),
    "MatMulInteger": (2, 3),
    "MatMulNBits": (2, 3),
    "GatherBlockQuantized": (2, 3),
    "Clip": (1, 2),
}
# position of the data and of the weights among the inputs
_CONVOLUTIONS = {"Conv": (0, 1), "ConvInteger": (0, 1), "QLinearConv": (0, 3)}
_PRODUCTS = {"MatMul": (0, 1), "MatMulInteger": (0, 1), "QLinearMatMul": (0, 3), "Gemm": (0, 1)}
_RECURRENT = ("LSTM", "GRU", "RNN")
_COUNTED = (*_CONVOLUTIONS, *_PRODUCTS, *_RECURRENT, "ConvTranspose", "MatMulNBits")
_NOT_WEIGHTS = {TensorProto.INT64, TensorProto.BOOL, TensorProto.STRING}  # shapes, axes, masks
_Shape = tuple[int, ...]


class OnnxGraph:
    """One ONNX file, parsed; its outside weights, if it has any, stay outside."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._model = onnx.load(str(path), load_external_data=False)
        if not self._model.graph.node or not self._model.graph.output:
            raise ValueError("it holds no graph")

    def weight_dtypes(self) -> dict[str, int]:
        """Return type -> bytes of all constants."""
        sizes: dict[str, int] = {}
        packed = self._packed()
        for tensor in self._constants():
            name, bits = type_of(tensor.data_type)
            name = "uint4" if packed.get(tensor.name, (0, 8))[1] == 4 else name
            sizes[name] = sizes.get(name, 0) + -(-math.prod(tensor.dims) * bits // 8)
        return sizes

    def params(self) -> int:
        """Return the number of weights: constants that are no scale, zero point, bound, shape or scalar."""
        skipped = set(self._quantization_constants())
        packed = self._packed()
        return sum(
            packed[tensor.name][0] if tensor.name in packed else math.prod(tensor.dims)
            for tensor in self._constants()
            if tensor.data_type not in _NOT_WEIGHTS and tensor.name not in skipped and tensor.dims
        )

    def macs(self) -> int | None:
        """Return the multiply-accumulates of one sample, or None."""
        if any(node.op_type in _COUNTED for inner in self._inner_graphs() for node in inner.node):
            return None  # how often a loop runs is not in the file
        shapes, batch = self._shapes()
        total = 0
        for node in self._model.graph.node:
            try:
                total += _node_macs(node, shapes)
            except _UnknownShapeError:
                return None
        return total // batch

    def operators(self) -> list[Operator]:
        """Return every operator with weights, in the file's order; those inside loops are left out."""
        shapes, _ = self._shapes()
        sizes = {tensor.name: math.prod(tensor.dims) for tensor in self._constants()}
        found: list[Operator] = []
        for node in self._model.graph.node:
            kind = _kind(node.op_type)
            held = [sizes[name] for name in node.input if name in sizes]
            if kind is None or (kind == "table" and node.input[0] not in sizes):
                continue
            try:
                macs: int | None = _node_macs(node, shapes)
            except _UnknownShapeError:
                macs = None
            found.append(Operator(kind, sizes[node.input[0]] if kind == "table" else max(held, default=0), macs))
        return found

    def stripped(self) -> bytes:
        """Return the file without documentation, metadata, inferred shapes and producer; one file, weights inside."""
        model = onnx.load(str(self._path))
        for field in ("producer_name", "producer_version", "domain", "model_version"):
            model.ClearField(field)
        parts: list[Any] = [model, *model.functions]
        for graph in _graphs(model.graph):
            del graph.value_info[:]
            parts += [graph, *graph.node, *graph.initializer, *graph.input, *graph.output]
        for part in parts:
            part.ClearField("doc_string")
            part.ClearField("metadata_props")
        data: bytes = model.SerializeToString(deterministic=True)
        return data

    def _inner_graphs(self) -> list[onnx.GraphProto]:
        return list(_graphs(self._model.graph))[1:]

    def _constants(self) -> Iterator[TensorProto]:
        """Yield every constant once: initializers, and what Constant nodes hold."""
        for graph in _graphs(self._model.graph):
            yield from graph.initializer
            for node in graph.node:
                if node.op_type == "Constant":
                    for attribute in node.attribute:
                        if attribute.name == "value":
                            tensor = TensorProto()
                            tensor.CopyFrom(attribute.t)
                            tensor.name = node.output[0]
                            yield tensor

    def _packed(self) -> dict[str, tuple[int, int]]:
        """Return constant of bytes that holds weights of ONNX Runtime's own operators -> their number, and bits each.

        Two of 4 bits share a byte; products fill their rows up.
        """
        rows = {tensor.name: tuple(tensor.dims) for tensor in self._constants()}
        found: dict[str, tuple[int, int]] = {}
        for graph in _graphs(self._model.graph):
            for node in graph.node:
                settings = _integers(node)
                bits = settings.get("bits", 4)
                if node.op_type == "MatMulNBits":
                    found[node.input[1]] = (settings["K"] * settings["N"], bits)
                elif node.op_type == "GatherBlockQuantized" and node.input[0] in rows:
                    found[node.input[0]] = (math.prod(rows[node.input[0]]) * 8 // bits, bits)
        return found

    def _quantization_constants(self) -> Iterator[str]:
        """Yield names of scales and zero points; a scale may also be multiplied by the one found while running."""
        for graph in _graphs(self._model.graph):
            measured = {node.output[1] for node in graph.node if node.op_type == "DynamicQuantizeLinear"}
            for node in graph.node:
                for position in _QUANTIZATION_INPUTS.get(node.op_type, ()):
                    if position < len(node.input):
                        yield node.input[position]
                if node.op_type == "Mul" and measured.intersection(node.input):
                    yield from node.input

    def _shapes(self) -> tuple[dict[str, _Shape], int]:
        """Return value -> shape, as far as it can be inferred for a batch of one, and the batch size of the file."""
        model = onnx.ModelProto()
        model.CopyFrom(self._model)
        given = {value.name for value in model.graph.input} - {tensor.name for tensor in model.graph.initializer}
        _as_float(model.graph)
        batches = []
        for value in model.graph.input:
            dims = value.type.tensor_type.shape.dim
            if len(dims) and value.name in given:
                if not dims[0].HasField("dim_value"):
                    dims[0].dim_value = 1
                batches.append(dims[0].dim_value)
        del model.graph.value_info[:]  # shapes that were written for another batch would win
        model = shape_inference.infer_shapes(model, data_prop=True)
        shapes = {tensor.name: tuple(tensor.dims) for tensor in model.graph.initializer}
        for value in (*model.graph.input, *model.graph.value_info, *model.graph.output):
            dims = value.type.tensor_type.shape.dim
            if all(dim.HasField("dim_value") for dim in dims):
                shapes[value.name] = tuple(dim.dim_value for dim in dims)
        return shapes, max(batches, default=1) or 1


def _integers(node: onnx.NodeProto) -> dict[str, int]:
    return {a.name: int(a.i) for a in node.attribute if a.type == onnx.AttributeProto.INT}


def _as_float(graph: onnx.GraphProto) -> None:
    """Write products and look-ups of ONNX Runtime's own as ONNX's, whose shapes can be inferred.

    Their weights become inputs, of the right shape.
    """
    shapes = {tensor.name: tuple(tensor.dims) for tensor in graph.initializer}
    for node in graph.node:
        settings = _integers(node)
        if node.op_type == "MatMulNBits":
            kind, position, shape = "MatMul", 1, (settings["K"], settings["N"])
        elif node.op_type == "GatherBlockQuantized" and node.input[0] in shapes:
            rows, length = shapes[node.input[0]]
            kind, position, shape = "Gather", 0, (rows, length * 8 // settings.get("bits", 4))
        else:
            continue
        name = f"{node.output[0]}_weights"
        graph.input.append(helper.make_tensor_value_info(name, TensorProto.FLOAT, shape))
        inputs = [*node.input[:2]]
        inputs[position] = name
        stand_in = helper.make_node(kind, inputs, list(node.output))
        node.CopyFrom(stand_in)


class _UnknownShapeError(Exception):
    """A shape that a count needs was not inferred."""


def _node_macs(node: onnx.NodeProto, shapes: dict[str, _Shape]) -> int:
    def shape(name: str) -> _Shape:
        if name not in shapes:
            raise _UnknownShapeError
        return shapes[name]

    if node.op_type in _CONVOLUTIONS:
        weights = shape(node.input[_CONVOLUTIONS[node.op_type][1]])  # (M, C / groups, *kernel)
        return math.prod(shape(node.output[0])) * math.prod(weights[1:])
    if node.op_type == "ConvTranspose":
        return math.prod(shape(node.input[0])) * math.prod(shape(node.input[1])[1:])  # (C, M / groups, *kernel)
    if node.op_type in _PRODUCTS:
        left = shape(node.input[_PRODUCTS[node.op_type][0]])
        if not left:  # a scalar has no products: behind a quantized recurrent layer the rank is not known
            raise _UnknownShapeError
        transposed = any(attribute.name == "transA" and attribute.i for attribute in node.attribute)
        return math.prod(shape(node.output[0])) * left[0 if transposed else -1]
    if node.op_type == "MatMulNBits":
        return math.prod(shape(node.output[0])) * _integers(node)["K"]
    if node.op_type in _RECURRENT:
        values = shape(node.input[0])  # (T, B, features)
        if len(values) != 3:  # behind an If whose branches differ, no rank is inferred
            raise _UnknownShapeError
        return values[0] * values[1] * (math.prod(shape(node.input[1])) + math.prod(shape(node.input[2])))
    return 0


def _kind(op_type: str) -> Kind | None:
    if op_type in _CONVOLUTIONS or op_type == "ConvTranspose":
        return "convolution"
    if op_type in _PRODUCTS:
        return "product"
    if op_type in _RECURRENT:
        return "lstm" if op_type == "LSTM" else "recurrent"
    return "table" if op_type == "Gather" else None


def _graphs(graph: onnx.GraphProto) -> Iterator[onnx.GraphProto]:
    """Yield a graph and every graph inside its nodes."""
    yield graph
    for node in graph.node:
        for attribute in node.attribute:
            for inner in (*([attribute.g] if attribute.HasField("g") else []), *attribute.graphs):
                yield from _graphs(inner)


def type_of(data_type: int) -> tuple[str, int]:
    """Return a type's name, as NumPy writes it, and its width in bits."""
    name = TensorProto.DataType.Name(data_type).lower()
    if name.endswith("int4") or name.startswith("float4"):
        return name, 4
    if name.endswith("int2"):
        return name, 2
    names = {"float": "float32", "double": "float64"}
    return names.get(name, name), helper.tensor_dtype_to_np_dtype(data_type).itemsize * 8
