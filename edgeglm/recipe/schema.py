"""The JSON Schema of recipes (draft 2020-12), for editors; made of the same structs that the loader reads.

What stands between keys (two artifacts that are one file, shares above 1, ...) is not in it: `edgeglm check` says that.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import msgspec
from edgeglm_agent.processing import POST_OPERATIONS, PRE_OPERATIONS
from edgeglm_agent.source_comments import doc_line, field_comments
from msgspec import inspect as types

from edgeglm.data.shifts import ShiftConfig, shift_types
from edgeglm.plugins import is_own
from edgeglm.recipe.short import SHORT_LISTS
from edgeglm.recipe.types import TAGGED, ProcessStep, Quantize, Recipe
from edgeglm.schemes import SchemeConfig
from edgeglm.steps import StepConfig, step_types

if TYPE_CHECKING:
    from collections.abc import Mapping

_RANGES = {
    "gt": "exclusiveMinimum",
    "ge": "minimum",
    "lt": "exclusiveMaximum",
    "le": "maximum",
    "multiple_of": "multipleOf",
}
_SIMPLE = {types.IntType: "integer", types.FloatType: "number", types.BoolType: "boolean", types.NoneType: "null"}


def own(table: Mapping[str, type[Any]]) -> dict[str, Any]:
    """Return those of a table that come with edgeglm: what is committed must not depend on what else is installed."""
    return {name: kind for name, kind in table.items() if is_own(kind)}


def recipe_schema() -> dict[str, Any]:
    """Return the schema as plain data."""
    definitions: dict[str, Any] = {}
    root = _struct(_info(Recipe), definitions, {"preprocess": PRE_OPERATIONS, "postprocess": POST_OPERATIONS})
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "edgeglm recipe, version 1",
        **root,
        "$defs": dict(sorted(definitions.items())),
    }


def schema_text() -> str:
    """Return the text of `recipe.schema.json`."""
    return json.dumps(recipe_schema(), indent=1, ensure_ascii=False) + "\n"


def _info(cls: type[Any]) -> types.StructType:
    info = types.type_info(cls)
    assert isinstance(info, types.StructType)
    return info


def _struct(
    kind: types.StructType,
    definitions: dict[str, Any],
    operations: dict[str, Any] | None = None,
    *,
    tagged: bool = True,
) -> dict[str, Any]:
    comments = field_comments(kind.cls)
    properties: dict[str, Any] = {}
    required = []
    if tagged and kind.tag_field is not None:
        properties[kind.tag_field] = {"const": kind.tag}
        required.append(kind.tag_field)
    for field in kind.fields:
        table = (operations or {}).get(field.name)
        schema = _named_list(table, definitions) if table else _type(field.type, definitions)
        if kind.cls is Recipe and field.name in SHORT_LISTS:
            schema = {"anyOf": [schema, {"const": SHORT_LISTS[field.name][0]}]}
        if field.name in comments:
            schema = {**schema, "description": comments[field.name]}
        default = default_of(field)
        if default is not msgspec.NODEFAULT:
            schema = {**schema, "default": default}
        properties[field.encode_name] = schema
        if field.required:
            required.append(field.encode_name)
    return {
        "description": doc_line(kind.cls),
        "type": "object",
        "properties": properties,
        "required": required,
        "additionalProperties": False,
    }


def default_of(field: types.Field) -> Any:
    """Return a field's default as plain data, or ``msgspec.NODEFAULT`` for a required one."""
    if field.default_factory is not msgspec.NODEFAULT:
        return msgspec.to_builtins(field.default_factory())
    return msgspec.to_builtins(field.default) if field.default is not msgspec.NODEFAULT else msgspec.NODEFAULT


def _type(kind: types.Type, definitions: dict[str, Any]) -> dict[str, Any]:
    if isinstance(kind, types.StructType):
        if kind.cls is StepConfig:
            return _named(own(step_types()), definitions)
        if kind.cls is ShiftConfig:
            return _named(dict(shift_types()), definitions)
        if kind.cls is SchemeConfig:
            return _reference(_info(Quantize), definitions)  # ours share one struct
        if kind.cls in TAGGED:
            found = [_reference(_info(cls), definitions) for cls in own(TAGGED[kind.cls]()).values()]
            return found[0] if len(found) == 1 else {"anyOf": found}
        assert kind.cls is not ProcessStep  # lists of operations are written by _named_list
        return _reference(kind, definitions)
    if isinstance(kind, types.UnionType):
        return {"anyOf": [_type(member, definitions) for member in kind.types]}
    if isinstance(kind, types.LiteralType):
        return {"const": kind.values[0]} if len(kind.values) == 1 else {"enum": list(kind.values)}
    if isinstance(kind, types.ListType):
        return {"type": "array", "items": _type(kind.item_type, definitions), **_lengths(kind, "Items")}
    if isinstance(kind, types.DictType):
        return {"type": "object", "additionalProperties": _type(kind.value_type, definitions)}
    if isinstance(kind, types.StrType):
        # `$` of JSON Schema is Python's `\Z`: the very end, no line's end before it
        pattern = {"pattern": kind.pattern.replace(r"\Z", "$")} if kind.pattern is not None else {}
        return {"type": "string", **pattern, **_lengths(kind, "Length")}
    if isinstance(kind, types.AnyType):
        return {}
    ranges = {word: limit for name, word in _RANGES.items() if (limit := getattr(kind, name, None)) is not None}
    return {"type": _SIMPLE[type(kind)], **ranges}


def _lengths(kind: types.ListType | types.StrType, what: str) -> dict[str, int]:
    found = {}
    if kind.min_length is not None:
        found[f"min{what}"] = kind.min_length
    if kind.max_length is not None:
        found[f"max{what}"] = kind.max_length
    return found


def _reference(kind: types.StructType, definitions: dict[str, Any], *, tagged: bool = True) -> dict[str, Any]:
    name = kind.cls.__name__
    if name not in definitions:
        definitions[name] = {}  # its place, for a struct that holds itself
        definitions[name] = _struct(kind, definitions, tagged=tagged)
    return {"$ref": f"#/$defs/{name}"}


def _named_list(table: dict[str, Any], definitions: dict[str, Any]) -> dict[str, Any]:
    return {"type": "array", "items": _named(table, definitions)}


def _named(table: dict[str, Any], definitions: dict[str, Any]) -> dict[str, Any]:
    """Return the schema of `name: {settings}`, or of the bare name where every setting has a default."""
    properties: dict[str, Any] = {}
    bare = []
    for name, cls in table.items():
        kind = _info(cls)
        properties[name] = _reference(kind, definitions, tagged=False)
        if (shorthand := getattr(cls, "shorthand", None)) is not None:
            short = next(field.type for field in kind.fields if field.name == shorthand)
            properties[name] = {"anyOf": [properties[name], _type(short, definitions)]}
        if not any(field.required for field in kind.fields):
            bare.append(name)
            properties[name] = {"anyOf": [properties[name], {"type": "null"}]}
    settings = {
        "type": "object",
        "properties": properties,
        "additionalProperties": False,
        "minProperties": 1,
        "maxProperties": 1,
    }
    return {"anyOf": [settings, {"enum": bare}]} if bare else settings
