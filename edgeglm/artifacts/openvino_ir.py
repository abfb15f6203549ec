"""OpenVINO IR: a graph as XML with its weights in a .bin beside it, written small and always the same."""

from __future__ import annotations

import re
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any
from xml.etree import ElementTree as ET

from edgeglm.artifacts.quiet import silenced
from edgeglm.files import replacing, storage_errors

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

NAME = "edgeglm"  # of a graph whose operators are named after the layers of a torch network
_KEPT_ATTRIBUTES = {"decompression"}  # says that a Convert unpacks weights, which a runtime may leave packed
_NUMBERED = re.compile(r"\d+")


def openvino() -> Any:
    """Import OpenVINO with its converter, and without its telemetry.

    Raises:
        EngineError: It is not installed.
    """
    from edgeglm_agent.engines.openvino import silenced_openvino

    return silenced_openvino()


def read(path: Path) -> Any:
    """Return the graph of an IR file, as an ``openvino.Model``."""
    return openvino().Core().read_model(str(path))


def write(model: Any, path: Path, *, names: set[str], name: str = "", share: bool = False) -> None:
    """Write a graph to ``path``, and its weights to the .bin beside it.

    OpenVINO names what it makes by a counter of the process; here such operators get numbers in the graph's order,
    so equal networks give equal bytes. Indentation, versions, notes and inner tensors' names, of which no runtime
    reads any, are a third of a small network's bytes: they go.

    Args:
        model: An ``openvino.Model``.
        path: An .xml.
        names: Operators that keep their names: those of layers.
        name: Of the graph.
        share: Let operators that read equal constants read one. Not in a file to be quantized: what nncf adds to the
            bias of one layer would be added to all that are equal, as zeros are.
    """
    with silenced():
        openvino().save_model(model, str(path), compress_to_fp16=False)
    root = ET.parse(path).getroot()  # noqa: S314 - OpenVINO wrote it just now
    root.set("name", name or "g")
    for notes in root.findall("rt_info"):
        root.remove(notes)
    if share:
        _share_constants(root)
    _compact(root, names, public=True)
    ET.ElementTree(root).write(path, encoding="utf-8", xml_declaration=True)


def _compact(graph: ET.Element, names: set[str], *, public: bool) -> None:
    """Compact a graph in place, and the graphs within it.

    Args:
        graph: A ``net`` or ``body``.
        names: See ``write``.
        public: Whether its inputs and outputs are the file's.
    """
    layers = graph.findall("layers/layer")
    read = {edge.get("to-layer"): (edge.get("from-layer"), edge.get("from-port")) for edge in graph.iter("edge")}
    ends = {read.get(layer.get("id")) for layer in layers if layer.get("type") == "Result"}
    for number, layer in enumerate(layers):
        kind = layer.get("type")
        if kind not in ("Parameter", "Result") and layer.get("name", "") not in names:
            layer.set("name", str(number))
        for port in layer.findall("output/port"):
            if not (public and (kind == "Parameter" or (layer.get("id"), port.get("id")) in ends)):
                port.attrib.pop("names", None)
        for port in layer.findall("input/port"):
            port.attrib.pop("precision", None)  # this and its lengths are known from what it is connected with
            for length in port.findall("dim"):
                port.remove(length)
        notes = layer.find("rt_info")
        if notes is not None:
            for attribute in list(notes):
                if attribute.get("name") not in _KEPT_ATTRIBUTES:
                    notes.remove(attribute)
            if not len(notes):
                layer.remove(notes)
        for body in (*layer.findall("body"), *layer.findall("then_body"), *layer.findall("else_body")):
            _compact(body, names, public=False)
    for element in graph.iter():
        element.text = (element.text or "").strip() or None
        element.tail = None


def _share_constants(graph: ET.Element) -> None:
    """Let what reads equal constants of the outer graph read one: the two ranges of a FakeQuantize are equal."""
    holder, edges = graph.find("layers"), graph.find("edges")
    assert holder is not None
    first: dict[tuple[str, ...], str] = {}
    instead: dict[str, str] = {}
    for layer in list(holder):
        data = layer.find("data")
        if layer.get("type") == "Const" and data is not None and layer.find("rt_info") is None:
            number = layer.get("id", "")
            same = first.setdefault(tuple(data.get(key, "") for key in ("element_type", "shape", "offset")), number)
            if same != number:
                instead[number] = same
                holder.remove(layer)
    for edge in edges if edges is not None else ():
        edge.set("from-layer", instead.get(edge.get("from-layer", ""), edge.get("from-layer", "")))


def layers_of(model: Any) -> dict[str, list[str]]:
    """Return operator -> names of the layers it computes; of a graph of others, of the node it came from."""
    ours = model.get_friendly_name() == NAME
    found: dict[str, list[str]] = {}
    for operator in model.get_ordered_ops():
        name = operator.get_friendly_name()
        if operator.get_type_name() in ("Constant", "Parameter", "Result") or is_numbered(name):
            continue
        head, slash, _ = name.partition("/")
        found[name] = ([head] if slash and head else []) if ours else [node_name(name)]
    return found


def is_numbered(operator: str) -> bool:
    """Return whether an operator has no name but its number."""
    return _NUMBERED.fullmatch(operator) is not None


def node_name(operator: str) -> str:
    """Return the name of the ONNX node that an operator came from: OpenVINO makes two of one with a bias."""
    return operator.removesuffix("/WithoutBiases")


@contextmanager
def replacing_both(path: Path) -> Iterator[Path]:
    """Yield a temporary path for an .xml, its .bin beside it; on success both are renamed into place, .xml last.

    Raises:
        StorageError: The disk is full or refuses.
    """
    with replacing(path, synced=False) as temporary:
        weights = temporary.with_suffix(".bin")
        try:
            yield temporary
            with storage_errors(path):
                weights.chmod(0o644)
                weights.replace(path.with_suffix(".bin"))
        finally:
            weights.unlink(missing_ok=True)
