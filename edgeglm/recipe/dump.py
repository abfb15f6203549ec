"""A `Recipe` back to YAML, every default written: `recipe.resolved.yaml`."""

from __future__ import annotations

import json
import math
import re
from typing import TYPE_CHECKING, Any

import msgspec

from edgeglm.plugins import tag
from edgeglm.recipe.scalars import resolve
from edgeglm.steps import step_name

if TYPE_CHECKING:
    from edgeglm.recipe.types import ArtifactConfig, Recipe

_BARE = re.compile(r"[A-Za-z0-9_./][A-Za-z0-9_./+-]*(:[A-Za-z0-9_]+)?")  # no quotes needed, unless it reads as a number
_WIDTH = 110


def resolved(recipe: Recipe) -> dict[str, Any]:
    """Return the recipe as plain data in the form of a recipe file, every default spelt out."""
    plain: dict[str, Any] = msgspec.to_builtins(recipe, str_keys=True)
    plain["steps"] = [{step_name(step): _without_tag(step)} for step in recipe.steps]
    plain["robustness"] = [{tag(shift): _without_tag(shift)} for shift in recipe.robustness]
    for place in ("preprocess", "postprocess"):
        plain[place] = [{step.op: step.settings} for step in getattr(recipe, place)]
    plain["artifacts"] = [_artifact(artifact) for artifact in recipe.artifacts]
    return plain


def dump_recipe(recipe: Recipe) -> str:
    """Return YAML that loads to an equal recipe, every default written."""
    return "".join(_block(resolved(recipe), 0))


def _artifact(artifact: ArtifactConfig) -> dict[str, Any]:
    plain: dict[str, Any] = msgspec.to_builtins(artifact) | {"quantize": msgspec.to_builtins(artifact.quantization)}
    if not artifact.is_auto:
        del plain["search"]
    return plain


def _without_tag(step: msgspec.Struct) -> dict[str, Any]:
    plain: dict[str, Any] = msgspec.to_builtins(step, str_keys=True)
    plain.pop(step.__struct_config__.tag_field or "", None)
    return plain


def _block(mapping: dict[str, Any], indent: int) -> list[str]:
    lines: list[str] = []
    margin = "  " * indent
    for key, value in mapping.items():
        head = f"{margin}{_scalar(key)}:"
        flow = _flow(value)
        if not value or not isinstance(value, dict | list) or (indent > 0 and len(head) + len(flow) < _WIDTH):
            lines.append(f"{head} {flow}\n")
        elif isinstance(value, dict):
            lines += [f"{head}\n", *_block(value, indent + 1)]
        else:
            lines += [f"{head}\n", *(line for item in value for line in _item(item, indent + 1))]
    return lines


def _item(item: Any, indent: int) -> list[str]:
    margin = "  " * indent
    flow = _flow(item)
    if not isinstance(item, dict) or not item or len(margin) + len(flow) < _WIDTH:
        return [f"{margin}- {flow}\n"]
    first, *rest = _block(item, indent + 1)
    return [f"{margin}- {first.lstrip()}", *rest]


def _flow(value: Any) -> str:
    if isinstance(value, dict):
        return "{" + ", ".join(f"{_scalar(key)}: {_flow(item)}" for key, item in value.items()) + "}"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(_flow(item) for item in value) + "]"
    return _scalar(value)


def _scalar(value: Any) -> str:
    if value is None or isinstance(value, bool | int):
        return json.dumps(value)
    if isinstance(value, float):
        return repr(value) if math.isfinite(value) else f"{'-' if value < 0 else ''}.inf"
    text = str(value)
    if _BARE.fullmatch(text) and _is_text(text):
        return text
    return '"' + "".join(_escaped(char) for char in text) + '"'


def _is_text(text: str) -> bool:
    try:
        return isinstance(resolve(text), str) and text not in ("---", "...")
    except ValueError:
        return False


def _escaped(char: str) -> str:
    if char in '"\\':
        return "\\" + char
    if char.isprintable():
        return char
    code = ord(char)
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"
