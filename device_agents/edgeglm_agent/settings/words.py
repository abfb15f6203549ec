"""Words for types, ranges and values: in messages about a settings file, and in its reference page."""

from __future__ import annotations

import re
from datetime import date, datetime, time
from typing import Any

from msgspec import inspect as types

from edgeglm_agent.settings.types import NAME_PATTERN

_PATTERN_HINTS = {
    NAME_PATTERN: "letters, digits, `.`, `_` and `-`, at most 63, a letter or digit first",
}
_LIMITS = {"gt": "above", "ge": "at least", "lt": "below", "le": "at most", "multiple_of": "a multiple of"}
_LENGTHS = {"min_length": "at least", "max_length": "at most"}
_UNITS: dict[type[types.Type], str] = {types.ListType: "items", types.StrType: "characters"}
_SIMPLE: dict[type[types.Type], str] = {
    types.StrType: "text",
    types.IntType: "an integer",
    types.FloatType: "a number",
    types.BoolType: "true or false",
    types.ListType: "a list",
    types.DictType: "a table",
    types.StructType: "a table",
    types.AnyType: "anything",
}
_PATHS = {
    "any": "a path",
    "file": "the path of a file",
    "secret": "the path of a file",
    "folder": "the path of a folder",
    "output": "the path of a file to write",
    "model": "the path of a folder",
    "slot": "the path of a file to write",
}


def bare(kind: types.Type) -> types.Type:
    """Return a type without what is written beside it."""
    return kind.type if isinstance(kind, types.Metadata) else kind


def members(kind: types.Type) -> tuple[types.Type, ...]:
    """Return the types that a value may have; TOML has no null, so None is none of them."""
    inner = bare(kind)
    if isinstance(inner, types.UnionType):
        return tuple(member for member in inner.types if not isinstance(member, types.NoneType))
    return (kind,)


def path_role(kind: types.Type) -> str:
    """Return what the file says of a path of this type: ``file``, ``secret``, ...; empty: it is none."""
    for member in members(kind):
        if isinstance(member, types.Metadata) and member.extra is not None and "path" in member.extra:
            return str(member.extra["path"])
    return ""


def accepts(kind: types.Type, value: Any) -> bool:
    """Return whether a value has the shape of a type; it may still be out of range."""
    kind = bare(kind)
    if isinstance(kind, types.UnionType):
        return any(accepts(member, value) for member in kind.types)
    if isinstance(kind, types.AnyType):
        return True
    if isinstance(kind, types.LiteralType):
        return type(value) in {type(known) for known in kind.values}
    if isinstance(value, bool):  # before int: True is one in Python, not in TOML
        return isinstance(kind, types.BoolType)
    if isinstance(value, int):
        return isinstance(kind, types.IntType | types.FloatType)
    if isinstance(value, float):
        return isinstance(kind, types.FloatType)
    if isinstance(value, str):
        return isinstance(kind, types.StrType)
    if isinstance(value, dict):
        return isinstance(kind, types.StructType | types.DictType)
    return isinstance(value, list) and isinstance(kind, types.ListType)


def describe_type(kind: types.Type) -> str:
    """Return a type in words: ``a number``, ``text or a list``, ``one of `a`, `b` ``."""
    parts = []
    for member in members(kind):
        inner = bare(member)
        if isinstance(inner, types.LiteralType):
            words = [f"`{value}`" for value in inner.values]
            parts.append(words[0] if len(words) == 1 else f"one of {', '.join(words)}")
        else:
            parts.append(_PATHS.get(path_role(member), _SIMPLE.get(type(inner), "another value")))
    return " or ".join(dict.fromkeys(parts))


def describe_range(kind: types.Type) -> str:
    """Return the range of a type in words: ``above 0 and below 1``; empty when it has none."""
    limits = []
    for member in map(bare, members(kind)):
        limits += [f"{word} {limit}" for name, word in _LIMITS.items() if (limit := _limit(member, name)) is not None]
        unit = _UNITS.get(type(member), "")
        if unit and (size := _limit(member, "min_length")) == _limit(member, "max_length") and size:
            limits.append(f"of exactly {size} {unit if size > 1 else unit[:-1]}")
            continue
        limits += [
            f"{word} {limit} {unit}"
            for name, word in _LENGTHS.items()
            if unit and (limit := _limit(member, name)) is not None and limit > 1
        ]
    return " and ".join(limits)


def _limit(kind: types.Type, name: str) -> Any:
    return getattr(kind, name, None)


def out_of_range(value: float, kind: types.IntType | types.FloatType) -> bool:
    """Return whether a number lies outside the range of its type."""
    return (
        (kind.gt is not None and value <= kind.gt)
        or (kind.ge is not None and value < kind.ge)
        or (kind.lt is not None and value >= kind.lt)
        or (kind.le is not None and value > kind.le)
        or (kind.multiple_of is not None and value % kind.multiple_of != 0)
    )


def pattern_hint(pattern: str) -> str:
    """Return what a pattern asks for, in words."""
    return _PATTERN_HINTS.get(pattern, f"it must match the regular expression {pattern}")


def found(value: Any) -> str:
    """Return what a value is, in words."""
    if isinstance(value, dict):
        return "a table"
    if isinstance(value, list):
        return "a list"
    if isinstance(value, bool):
        return f"`{str(value).lower()}`"
    if isinstance(value, int | float):
        return f"the {'integer' if isinstance(value, int) else 'number'} {value}"
    if isinstance(value, datetime | date | time):
        return f"the date or time {value}"
    text = str(value)
    return f"the text `{text if len(text) <= 60 else text[:60] + '...'}`"


def mend_type(value: Any, kind: types.Type) -> str:
    """Return how a value of the wrong type may be meant, or an empty hint."""
    wanted = {type(bare(member)) for member in members(kind)}
    if isinstance(value, str):
        if types.BoolType in wanted and value.lower() in ("yes", "no", "on", "off", "true", "false"):
            return "write true or false, without quotes"
        if {types.FloatType, types.IntType} & wanted:
            if value.endswith("%") and _is_number(value[:-1]):
                return f"write a fraction: {float(value[:-1]) / 100:g}"
            if _is_number(value):
                return f"write the number without quotes: {value.strip()}"
    if isinstance(value, float) and types.IntType in wanted and value.is_integer():
        return f"write {int(value)}"
    if isinstance(value, bool | int | float | datetime | date | time) and types.StrType in wanted:
        shown = str(value).lower() if isinstance(value, bool) else value
        return f'text needs quotes: "{shown}"'
    if types.ListType in wanted and isinstance(value, str | bool | int | float):
        return f'write a list: ["{value}"]' if isinstance(value, str) else f"write a list: [{str(value).lower()}]"
    if isinstance(value, list) and {types.StructType, types.DictType} & wanted:
        return "write one table, [name], where [[name]] begins one of several"
    if isinstance(value, dict) and types.ListType in wanted:
        return "write [[name]] for each item of a list of tables, where [name] is a single table"
    return ""


def _is_number(text: str) -> bool:
    return re.fullmatch(r"\s*[-+]?\d+(\.\d+)?([eE][-+]?\d+)?\s*", text) is not None
