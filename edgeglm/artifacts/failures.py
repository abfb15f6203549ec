"""Which operator and which layer of the network made an export fail."""

from __future__ import annotations

import re
import sys
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from edgeglm.errors import EdgeglmError, ExportError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from types import FrameType

    from torch import nn

_NODE = re.compile(r"%(\w+)")
_OPERATOR = re.compile(r"torch\.ops\.(\w+\.\w+)")
_LITERT_NODE = re.compile(r"Node number (\d+) \(\w+\)")
_ORT_NODE = re.compile(r"(?:[Nn]ode ?\(|node with name '|Name:')([^')]+)[')]")
_OURS = {"edgeglm", "edgeglm_agent"}
_NEUTRAL = {*sys.stdlib_module_names, "numpy"}  # what they raise is the fault of whoever calls them
_USER_LINE = re.compile(r'File "([^"]+)", line (\d+), in forward')


@contextmanager
def quantizer_errors(scheme: str) -> Iterator[None]:
    """Let what a quantizer or runtime says to a graph it cannot take reach the user as an error of the file.

    What is raised by edgeglm itself, in a function that a library calls or with what it gives a function of NumPy or
    Python, is a bug and passes as it is.

    Raises:
        ExportError: ``quantize-failed``, with the library's own first line; the traceback stays its cause.
    """
    try:
        yield
    except (EdgeglmError, OSError, MemoryError):
        raise
    except Exception as error:
        if _is_ours(error):
            raise
        said = next((line.strip() for line in str(error).splitlines() if line.strip()), "")
        raise ExportError(
            f"{scheme} cannot be applied to this network: {type(error).__name__}: {said}",
            hint="look whether the calibration samples have the shapes that the file takes; name the layer that it "
            "speaks of under `ignore`; or choose another scheme",
            code="quantize-failed",
        ) from error


@contextmanager
def refusals(file_format: str, scheme: str, layers: Sequence[str] = ()) -> Iterator[None]:
    """Let a runtime that refuses a file which was just written be a fault of the conversion, not of the file.

    Args:
        file_format: onnx | tflite | openvino.
        scheme: none | fp16 | dynamic-int8 | static-int8.
        layers: Layer of each operator of a TFLite file, in the file's order; LiteRT names operators by number.

    Raises:
        ExportError: ``artifact-refused``, with operator and layer where the runtime tells which.
    """
    try:
        yield
    except ExportError as error:
        if error.code not in ("file-unloadable", "run-failed"):
            raise
        said = error.problems[0].message
        layer = ""
        if found := _LITERT_NODE.search(said):
            number = int(found[1])
            layer = layers[number] if number < len(layers) else ""
            said = said.replace(found[0], f" {found[0]}" + (f", layer `{layer}`," if layer else ""))
        elif found := _ORT_NODE.search(said):
            layer = found[1].rpartition("/")[0] or found[1]
        made = "the export" if scheme == "none" else scheme
        ignore = f"name `{layer}` under `ignore`, " if layer else "leave the layers around it out by `ignore`, "
        mend = "" if scheme == "none" else f"{ignore}choose another scheme, or "
        other = "a tflite" if file_format == "onnx" else "an onnx"
        raise ExportError(
            f"the runtime refuses the {file_format} file that {made} wrote: {said}",
            where=layer,
            hint=f"{mend}ask for {other} artifact; the conversion is at fault, not your network: please report it",
            code="artifact-refused",
        ) from error


@dataclass(frozen=True)
class Failure:
    """Where an export failed, as far as the exception tells."""

    operator: str  # aten._linalg_svd, or "" when tracing failed before any operator was known
    layer: str  # torch's name of the module, or "" for the network itself
    line: str  # file:line of the user's forward(), or ""


def find_failure(error: BaseException, module: nn.Module, *, prefixes: tuple[str, ...] = ()) -> Failure:
    """Return the operator and layer at which an export gave up.

    Args:
        error: What the exporter raised; its causes are searched too.
        module: The network as it was exported.
        prefixes: Names under which wrappers may hold the network, longest first, each with its dot.
    """
    from torch.fx import Node  # quantizing a file needs no torch

    chain = list(_causes(error))
    text = "\n".join(str(part) for part in chain)
    wanted = set(_NODE.findall(text))
    operators = _OPERATOR.findall(text)
    names = {id(child): name for name, child in module.named_modules()}
    layer, deepest = "", ""
    for part in chain:
        for frame in _frames(part):
            deepest = names.get(id(_self(frame)), deepest)
            for value in frame.f_locals.values():
                if isinstance(value, Node) and value.name in wanted:
                    layer = _layer_of(value) or layer
                    text += str(value.meta.get("stack_trace") or "")
    lines = _USER_LINE.findall(text)
    line = f"{lines[-1][0]}:{lines[-1][1]}" if lines else ""
    where = layer or deepest
    for prefix in prefixes:
        if f"{where}.".startswith(prefix):
            where = where[len(prefix) :]
            break
    return Failure(operators[-1] if operators else "", where, line)


def _is_ours(error: BaseException) -> bool:
    """Return whether edgeglm's code is nearer to where this was raised than that of any library but NumPy."""
    nearest = ""
    for frame in _frames(error):
        package = str(frame.f_globals.get("__name__", "")).partition(".")[0]
        if package not in _NEUTRAL:
            nearest = package
    return nearest in _OURS


def _causes(error: BaseException) -> Iterator[BaseException]:
    seen: set[int] = set()
    current: BaseException | None = error
    while current is not None and id(current) not in seen:
        seen.add(id(current))
        yield current
        current = current.__cause__ or current.__context__


def _frames(error: BaseException) -> Iterator[FrameType]:
    trace = error.__traceback__
    while trace is not None:
        yield trace.tb_frame
        trace = trace.tb_next


def _self(frame: FrameType) -> Any:
    names = frame.f_code.co_varnames
    return frame.f_locals.get(names[0]) if names and frame.f_code.co_name == "forward" else None


def _layer_of(node: Any) -> str:
    """Return the innermost module that torch.export recorded for a node of its graph."""
    stack = node.meta.get("nn_module_stack") or {}
    paths = [entry[0] for entry in stack.values() if isinstance(entry, tuple) and isinstance(entry[0], str)]
    return re.sub(r"^L\['self'\]\.?|^L__self___?", "", paths[-1]) if paths else ""
