"""Words for types, ranges and values: in messages about a recipe, and in its reference page."""

from __future__ import annotations

import re
from typing import Any, get_args

from msgspec import inspect as types

from edgeglm.recipe.nodes import Mapping, Node, Scalar, Sequence
from edgeglm.recipe.scalars import resolve
from edgeglm.sources.python_entry import EntryName

ENTRY_PATTERN: str = next(meta.pattern for meta in get_args(EntryName)[1:] if getattr(meta, "pattern", None))
_PATTERN_HINTS = {
    ENTRY_PATTERN: "write `path.py:function`, relative to the recipe, or `module:function`",
    r"^[A-Za-z0-9][A-Za-z0-9._-]*\Z": "letters, digits, `.`, `_` and `-`, starting with a letter or digit",
    r"^[0-9]+/[1-9][0-9]*\Z": 'write a number, or a fraction of whole numbers such as "1/255"',
}
_LIMITS = {
    "gt": "above",
    "ge": "at least",
    "lt": "below",
    "le": "at most",
    "multiple_of": "a multiple of",
    "min_length": "at least",
    "max_length": "at most",
}
_SIMPLE: dict[type[types.Type], str] = {
    types.StrType: "text",
    types.IntType: "an integer",
    types.FloatType: "a number",
    types.BoolType: "true or false",
    types.NoneType: "null",
    types.ListType: "a list",
    types.DictType: "a mapping",
    types.StructType: "a mapping",
    types.AnyType: "anything",
}


def walkable(kind: types.Type) -> bool:
    """Return whether the loader reads this type itself; others, of plug-ins, go to msgspec."""
    if isinstance(kind, types.UnionType):
        return all(walkable(member) for member in kind.types)
    if isinstance(kind, types.ListType):
        return walkable(kind.item_type)
    if isinstance(kind, types.DictType):
        return isinstance(kind.key_type, types.StrType) and walkable(kind.value_type)
    return isinstance(kind, types.LiteralType) or type(kind) in _SIMPLE


def accepts(kind: types.Type, node: Node) -> bool:
    """Return whether a node has the shape of a type; its value may still be out of range."""
    if isinstance(kind, types.AnyType):
        return True
    if isinstance(kind, types.UnionType):
        return any(accepts(member, node) for member in kind.types)
    if isinstance(node, Mapping):
        return isinstance(kind, types.StructType | types.DictType)
    if isinstance(node, Sequence):
        return isinstance(kind, types.ListType)
    value = node.value
    if isinstance(kind, types.LiteralType):
        return type(value) in {type(known) for known in kind.values}
    if value is None:
        return isinstance(kind, types.NoneType)
    if isinstance(value, bool):  # before int: True is one in Python, not in a recipe
        return isinstance(kind, types.BoolType)
    if isinstance(value, int):
        return isinstance(kind, types.IntType | types.FloatType)
    if isinstance(value, float):
        return isinstance(kind, types.FloatType)
    return isinstance(kind, types.StrType)


def describe_type(kind: types.Type) -> str:
    """Return a type in words: ``a number``, ``text or a list``, ``one of `a`, `b` ``."""
    if isinstance(kind, types.LiteralType):
        words = [f"`{value}`" for value in kind.values]
        return words[0] if len(words) == 1 else f"one of {', '.join(words)}"
    if isinstance(kind, types.UnionType):
        parts = [describe_type(member) for member in kind.types if not isinstance(member, types.NoneType)]
        return " or ".join(dict.fromkeys(parts))
    return _SIMPLE.get(type(kind), "another value")


def found(node: Node) -> str:
    """Return what a node is, in words."""
    if isinstance(node, Mapping):
        return "a mapping"
    if isinstance(node, Sequence):
        return "a list"
    value = node.value
    if value is None:
        return "nothing"
    if isinstance(value, bool):
        return f"`{str(value).lower()}`"
    if isinstance(value, int | float):
        return f"the {'integer' if isinstance(value, int) else 'number'} {value}"
    return f"the text `{value if len(value) <= 60 else value[:60] + '...'}`"


def mend_type(node: Node, kind: types.Type) -> str:
    """Return how a value of the wrong type may be meant, or an empty hint."""
    members = kind.types if isinstance(kind, types.UnionType) else (kind,)
    wanted = {type(member) for member in members}
    value = node.value if isinstance(node, Scalar) else None
    if isinstance(value, str) and (hint := _mend_text(value, wanted)):
        return hint
    if isinstance(value, bool | int | float) and types.StrType in wanted:
        shown = str(value).lower() if isinstance(value, bool) else value
        return f'text that looks like something else needs quotes: "{shown}"'
    if isinstance(value, float) and types.IntType in wanted and value.is_integer():
        return f"write {int(value)}"
    if isinstance(node, Scalar) and value is None:
        if {types.StructType, types.DictType} & wanted:
            return "indent its keys further than the key itself, or remove the line"
        return "give it a value, or remove the line"
    if isinstance(node, Scalar) and types.ListType in wanted:
        return f"write [{_item_form(node, kind)}]"
    if isinstance(node, Sequence) and {types.StructType, types.DictType} & wanted:
        return "write `key: value` without the `-`"
    return ""


def settings_form(kind: types.StructType, node: Node) -> str:
    """Return how settings are written, `{height: 224, width: 224}`, with the value given where it may stand."""
    fields = [field for field in kind.fields if field.required]
    fields = fields or [field for field in kind.fields if _may_be(field.type, node)][:1] or list(kind.fields[:1])
    value = "..." if not isinstance(node, Scalar) or node.value is None else f"{node.value}"
    shown = [f"{field.encode_name}: {value if _may_be(field.type, node) else '...'}" for field in fields]
    return f"{{{', '.join(shown)}}}"


def _item_form(node: Node, kind: types.Type) -> str:
    """Return a value as the one item of a list: what stands by its name alone as it is, else `{format: onnx}`."""
    members = kind.types if isinstance(kind, types.UnionType) else (kind,)
    item = next((member.item_type for member in members if isinstance(member, types.ListType)), None)
    if isinstance(item, types.StructType) and item.fields and item.forbid_unknown_fields:
        return settings_form(item, node)
    value = node.value if isinstance(node, Scalar) else "..."
    return str(value).lower() if isinstance(value, bool) else f"{value}"


def _may_be(kind: types.Type, node: Node) -> bool:
    """Return whether a node has the shape of a type, and is one of its words where it is one of a few."""
    members = kind.types if isinstance(kind, types.UnionType) else (kind,)
    word = getattr(node, "value", None)
    return any(
        accepts(member, node) and (not isinstance(member, types.LiteralType) or word in member.values)
        for member in members
    )


def _mend_text(value: str, wanted: set[type[types.Type]]) -> str:
    if types.BoolType in wanted and value.lower() in ("yes", "no", "on", "off", "true", "false"):
        return "write true or false: in YAML 1.2 the others are text"
    if {types.FloatType, types.IntType} & wanted:
        if value.endswith("%") and isinstance(number := _number(value[:-1]), int | float):
            return f"write a fraction: {number / 100:g}"
        if _number(value) is not None:
            return "write the number without quotes"
        if _number(value.replace(",", ".").replace("_", "")) is not None:
            return f"write {value.replace(',', '.').replace('_', '')}"
    return ""


def _number(text: str) -> int | float | None:
    try:
        value = resolve(text.strip())
    except ValueError:
        return None
    return value if isinstance(value, int | float) and not isinstance(value, bool) else None


def slice_column(name: str) -> str:
    """Return what a recipe's slice is called by in `column=value`: the column, or the function without its file."""
    return name.rpartition(":")[2] if re.search(ENTRY_PATTERN, name) else name


def out_of_range(value: float, kind: types.IntType | types.FloatType) -> bool:
    """Return whether a number lies outside the range of its type."""
    return (
        (kind.gt is not None and value <= kind.gt)
        or (kind.ge is not None and value < kind.ge)
        or (kind.lt is not None and value >= kind.lt)
        or (kind.le is not None and value > kind.le)
        or (kind.multiple_of is not None and value % kind.multiple_of != 0)
    )


def describe_range(kind: Any) -> str:
    """Return the range of a type in words: ``above 0 and below 1``; empty when it has none."""
    limits = [f"{word} {limit}" for name, word in _LIMITS.items() if (limit := getattr(kind, name, None)) is not None]
    return " and ".join(limits)


def pattern_hint(pattern: str) -> str:
    """Return what a pattern asks for, in words."""
    return _PATTERN_HINTS.get(pattern, f"it must match the regular expression {pattern}")
