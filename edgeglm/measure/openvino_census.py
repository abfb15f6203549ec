"""Counting in an OpenVINO IR file; its graph is XML, so OpenVINO need not be installed."""

from __future__ import annotations

import math
from contextlib import suppress
from typing import TYPE_CHECKING
from xml.etree import ElementTree as ET
from xml.parsers import expat

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

_TYPES = {
    "f16": "float16",
    "f32": "float32",
    "f64": "float64",
    "bf16": "bfloat16",
    "boolean": "bool",
    **{f"{sign}{bits}": f"{'u' * (sign == 'u')}int{bits}" for sign in "iu" for bits in (2, 4, 8, 16, 32, 64)},
}
_SMALL = {"i2", "u2", "i4", "u4", "i8", "u8"}
_NOT_WEIGHTS = {"i32", "u32", "i64", "u64", "boolean", "string"}  # shapes, axes, masks
_BOUNDS = (1, 2, 3, 4)  # inputs of a FakeQuantize that are no data
_UNPACKING = ("Convert", "Multiply", "Subtract", "Reshape", "FakeQuantize", "Transpose")  # between weights and operator
# position of the weights among the inputs
_WEIGHTED = {
    "Convolution": 1,
    "GroupConvolution": 1,
    "ConvolutionBackpropData": 1,
    "GroupConvolutionBackpropData": 1,
    "MatMul": 1,
    "Gather": 0,
    "LSTMSequence": 4,
    "GRUSequence": 3,
    "RNNSequence": 3,
}
_Shape = tuple[int, ...]


class OpenVinoGraph:
    """One IR file, parsed."""

    def __init__(self, path: Path) -> None:
        content = path.read_bytes()
        _refuse_declarations(content)
        root = ET.fromstring(content)  # noqa: S314 - it declares no entities
        if root.tag != "net" or root.find("layers/layer") is None:
            raise ValueError("it holds no graph")
        self._name = root.get("name", "")
        self._bodies = [_Body(root)]
        self._bodies += [_Body(inner) for kind in ("body", "then_body", "else_body") for inner in root.iter(kind)]

    def weight_dtypes(self) -> dict[str, int]:
        """Return type -> bytes of all constants."""
        sizes: dict[str, int] = {}
        seen: set[str] = set()
        for body in self._bodies:
            for constant in body.constants():
                if constant["offset"] not in seen:
                    seen.add(constant["offset"])
                    name = _TYPES.get(constant["element_type"], constant["element_type"])
                    sizes[name] = sizes.get(name, 0) + int(constant["size"])
        return sizes

    def params(self) -> int:
        """Return the number of weights: constants that are no scale, zero point, bound, shape or scalar."""
        return sum(body.params() for body in self._bodies)

    def macs(self) -> int | None:
        """Return the multiply-accumulates of one sample, or None."""
        main, *inner = self._bodies
        if any(_macs(body, layer) for body in inner for layer in body.kinds):
            return None  # how often a loop runs is not in the file
        try:
            total = sum(_macs(main, layer) for layer in main.kinds)
        except _UnknownShapeError:
            return None
        return total // max((shape[0] for shape in main.inputs() if shape), default=1)

    def weighted(self, *, tables: bool = True) -> dict[str, str]:
        """Return operator -> type of its weights (``f32``, ``i8``), for the operators that have any.

        Args:
            tables: Whether to count embeddings, whose rows are looked up and not multiplied.
        """
        found = {}
        for body in self._bodies:
            for layer, kind in body.kinds.items():
                position = None if kind == "Gather" and not tables else _WEIGHTED.get(kind)
                source = None if position is None else body.constant_behind(layer, position)
                if source is not None and len(body.shape_of((source, "0"))) > 1:
                    found[body.names[layer]] = body.data[source]["element_type"]
        return found

    def operators(self) -> list[tuple[str, str, tuple[str, ...]]]:
        """Return id, name and the ids of what it reads, of every operator of the outer graph, in its order."""
        main = self._bodies[0]
        kinds = main.kinds.items()
        found = [layer for layer, kind in kinds if kind not in ("Const", "Parameter", "Result")]
        return [(layer, main.names[layer], main.sources(layer)) for layer in found]

    def constants_of(self) -> list[tuple[str, dict[str, int]]]:
        """Return name and type -> bytes of constants of every operator of the outer graph that reads some.

        What only unpacks a weight, or rounds an activation, belongs to the operator that uses it; what several use
        counts for the first.
        """
        main = self._bodies[0]
        seen: set[str] = set()
        found = []
        for layer, kind in main.kinds.items():
            if kind in ("Const", "Parameter", "Result") or main.only_unpacks(layer):
                continue
            sizes: dict[str, int] = {}
            waiting = list(main.sources(layer))
            while waiting:
                source = waiting.pop()
                if main.kinds[source] == "Const" and main.data[source]["offset"] not in seen:
                    seen.add(main.data[source]["offset"])
                    name = _TYPES.get(main.data[source]["element_type"], main.data[source]["element_type"])
                    sizes[name] = sizes.get(name, 0) + int(main.data[source]["size"])
                elif main.only_unpacks(source):
                    waiting += main.sources(source)
            if sizes:
                found.append((main.names[main.rounded_for(layer)], sizes))
        return found

    @property
    def name(self) -> str:
        """What the graph is called."""
        return self._name


class _BeginError(Exception):
    """The graph begins here."""


def _refuse_declarations(content: bytes) -> None:
    """Refuse a file that declares a document type: its entities may stand for any amount of text, or for other files.

    Only what comes before the first element is read: nothing can be declared behind it.

    Raises:
        ValueError: It does.
        ExpatError: It is no XML.
    """

    def declare(name: str, *_: object) -> None:
        raise ValueError(f"it declares a document type (<!DOCTYPE {name:.40}>), which no graph needs")

    def begin(*_: object) -> None:
        raise _BeginError

    parser = expat.ParserCreate()
    parser.StartDoctypeDeclHandler = declare
    parser.StartElementHandler = begin
    with suppress(_BeginError):
        parser.Parse(content, True)


class _UnknownShapeError(Exception):
    """A shape that a count needs is free."""


class _Body:
    """One graph of a file: layers by id, and what each input is connected with."""

    def __init__(self, element: ET.Element) -> None:
        layers = element.findall("layers/layer")
        self.kinds = {layer.get("id", ""): layer.get("type", "") for layer in layers}
        self.names = {layer.get("id", ""): layer.get("name", "") for layer in layers}
        self.data: dict[str, dict[str, str]] = {}
        self._shapes: dict[tuple[str, str], _Shape] = {}
        self._ports: dict[str, list[str]] = {}
        for layer in layers:
            number, data = layer.get("id", ""), layer.find("data")
            self.data[number] = dict(data.attrib) if data is not None else {}
            self._ports[number] = [port.get("id", "") for port in layer.findall("input/port")]
            for port in layer.findall("output/port"):
                lengths = tuple(int(length.text or -1) for length in port.findall("dim"))
                self._shapes[number, port.get("id", "")] = lengths
        self._read = {
            (edge.get("to-layer", ""), edge.get("to-port", "")): (edge.get("from-layer", ""), edge.get("from-port", ""))
            for edge in element.findall("edges/edge")
        }

    def constants(self) -> Iterator[dict[str, str]]:
        """Yield type, shape, offset and size of every constant."""
        return (self.data[layer] for layer, kind in self.kinds.items() if kind == "Const")

    def inputs(self) -> list[_Shape]:
        """Return the shapes of the graph's inputs."""
        return [self.shape_of((layer, "0")) for layer, kind in self.kinds.items() if kind == "Parameter"]

    def source(self, layer: str, position: int) -> tuple[str, str] | None:
        """Return the layer and port that an input is connected with; None: it has no such input."""
        ports = self._ports[layer]
        return self._read.get((layer, ports[position])) if position < len(ports) else None

    def sources(self, layer: str) -> tuple[str, ...]:
        """Return the layers that one reads."""
        ends = (self.source(layer, position) for position in range(len(self._ports[layer])))
        return tuple(end[0] for end in ends if end is not None)

    def rounded_for(self, layer: str) -> str:
        """Return the first layer that reads what this one rounds; the layer itself where it does not round."""
        passed: set[str] = set()
        while self.kinds[layer] == "FakeQuantize" and layer not in passed:
            passed.add(layer)
            readers = (reader for (reader, _), (source, _) in self._read.items() if source == layer)
            layer = next((reader for reader in readers if self.kinds[reader] != "Result"), layer)
        return layer

    def only_unpacks(self, layer: str) -> bool:
        """Return whether a layer computes from constants alone."""
        return self.kinds[layer] in _UNPACKING and self.constant_behind(layer, 0) is not None

    def shape_of(self, end: tuple[str, str]) -> _Shape:
        """Return the shape of an output. Raises: _UnknownShapeError."""
        shape = self._shapes.get(end, ())
        if any(length < 0 for length in shape):
            raise _UnknownShapeError
        return shape

    def shape(self, layer: str, position: int) -> _Shape:
        """Return the shape of an input. Raises: _UnknownShapeError."""
        end = self.source(layer, position)
        return () if end is None else self.shape_of(end)

    def output(self, layer: str) -> _Shape:
        """Return the shape of a layer's first output. Raises: _UnknownShapeError."""
        return next((self.shape_of(end) for end in self._shapes if end[0] == layer), ())

    def constant_behind(self, layer: str, position: int) -> str | None:
        """Return the constant that an input is unpacked from; None where it is no constant."""
        end, passed = self.source(layer, position), set[str]()
        while end is not None and self.kinds[end[0]] in _UNPACKING:
            if end[0] in passed:
                raise ValueError(f"layer {end[0]} reads itself")
            passed.add(end[0])
            end = self.source(end[0], 0)
        return end[0] if end is not None and self.kinds[end[0]] == "Const" else None

    def params(self) -> int:
        skipped = self._quantization_constants()
        return sum(
            math.prod(_lengths(data["shape"]))
            for layer, data in self.data.items()
            if self.kinds[layer] == "Const"
            and layer not in skipped
            and data["element_type"] not in _NOT_WEIGHTS
            and _lengths(data["shape"])
        )

    def _quantization_constants(self) -> set[str]:
        """Return the scales, zero points and bounds."""
        found: set[str | None] = set()
        for layer, kind in self.kinds.items():
            if kind == "FakeQuantize":
                found.update(self.constant_behind(layer, position) for position in _BOUNDS)
            elif kind in ("Multiply", "Subtract"):
                packed = self.constant_behind(layer, 0)
                if packed is not None and self.data[packed]["element_type"] in _SMALL:
                    found.add(self.constant_behind(layer, 1))
        return found - {None}  # type: ignore[return-value]


def _lengths(text: str) -> _Shape:
    return tuple(int(length) for length in text.replace(",", " ").split())


def _macs(body: _Body, layer: str) -> int:
    kind = body.kinds[layer]
    if kind in ("Convolution", "GroupConvolution"):  # weights OI*kernel, or GOI*kernel
        return math.prod(body.output(layer)) * math.prod(body.shape(layer, 1)[1 if kind == "Convolution" else 2 :])
    if kind in ("ConvolutionBackpropData", "GroupConvolutionBackpropData"):  # IO*kernel, GIO*kernel
        first = 1 if kind == "ConvolutionBackpropData" else 2
        return math.prod(body.shape(layer, 0)) * math.prod(body.shape(layer, 1)[first:])
    if kind == "MatMul":
        transposed = body.data[layer].get("transpose_a") == "true"
        return math.prod(body.output(layer)) * body.shape(layer, 0)[-2 if transposed else -1]
    if kind == "ScaledDotProductAttention":
        queries, keys, values = (body.shape(layer, position) for position in range(3))
        return math.prod(queries[:-1]) * keys[-2] * (keys[-1] + values[-1])
    if kind in ("LSTMSequence", "GRUSequence", "RNNSequence"):
        first = _WEIGHTED[kind]
        weights = math.prod(body.shape(layer, first)) + math.prod(body.shape(layer, first + 1))
        return math.prod(body.shape(layer, 0)[:2]) * weights
    return 0
