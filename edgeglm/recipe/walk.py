"""Nodes against struct types: every fault with its line, then the structs.

The types are read with `msgspec.inspect`, so that a field is declared once, in its struct. Values are built from the
leaves up; a struct with a faulty part is left out, and what stands beside it is still checked.
"""

from __future__ import annotations

import math
import typing
from difflib import get_close_matches
from typing import Any, get_args

import msgspec
from edgeglm_agent.source_comments import field_comments
from edgeglm_agent.suggest import nearest, suggestion
from msgspec import inspect as types

from edgeglm.data.shifts import ShiftConfig, shift_types
from edgeglm.recipe.levels import other_level
from edgeglm.recipe.nodes import Mapping, Node, Scalar, Sequence, join, to_plain
from edgeglm.recipe.types import TAGGED, ArtifactConfig, ProcessStep, Quantize, Scheme
from edgeglm.recipe.values import INVALID, Values
from edgeglm.recipe.wording import (
    accepts,
    describe_range,
    describe_type,
    found,
    settings_form,
    walkable,
)
from edgeglm.schemes import SchemeConfig, scheme_types
from edgeglm.steps import StepConfig, step_types


class Walker(Values):
    """One walk over one recipe; `problems`, `lines` and `built` grow as it goes.

    `built` holds every value that is valid by itself, by its key path: rules between keys read it, so that they are
    checked even where another part of the file is at fault.
    """

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.built: dict[str, Any] = {}

    def read(self, node: Node, kind: types.Type, key: str) -> Any:
        """Return the value of `node` as `kind`, or INVALID with at least one problem noted."""
        value = self._read(node, kind, key)
        if value is not INVALID:
            self.built[key] = value
        return value

    def _read(self, node: Node, kind: types.Type, key: str) -> Any:
        if isinstance(kind, types.StructType) and kind.cls is StepConfig:
            return self._step(node, key)
        if isinstance(kind, types.StructType) and kind.cls is ShiftConfig:
            return self.named(node, key, dict(shift_types()), what="change")
        if isinstance(kind, types.StructType) and kind.cls is ProcessStep:
            return self._operation(node, key)
        if isinstance(kind, types.StructType) and kind.cls in TAGGED and isinstance(node, Mapping):
            return self._tagged(node, dict(TAGGED[kind.cls]()), key)
        if isinstance(kind, types.UnionType):
            if any(isinstance(member, types.StructType) and member.cls is SchemeConfig for member in kind.types):
                return self._scheme(node, kind, key)
            return self._union(node, kind, key)
        if isinstance(kind, types.LiteralType) and isinstance(node, Scalar) and node.value is not None:
            return self.literal(node, kind, key)
        if not accepts(kind, node):
            return self.wrong_type(node, kind, key)
        if isinstance(kind, types.StructType):
            return self._struct(node, kind, key)
        if isinstance(kind, types.ListType | types.DictType):
            return self._collection(node, kind, key)
        if isinstance(kind, types.AnyType):
            return self._anything(node, key)
        assert isinstance(node, Scalar)
        return self.scalar(node, kind, key)

    def elsewhere(self, name: str, here: type[Any]) -> str:
        """Return the hint for a key that is known at another level; empty: at none."""
        return other_level(name, here)

    def _union(self, node: Node, kind: types.UnionType, key: str) -> Any:
        fitting = [member for member in kind.types if accepts(member, node)]
        structs = {str(member.tag): member.cls for member in fitting if isinstance(member, types.StructType)}
        if len(structs) > 1:
            return self._tagged(node, structs, key)
        if not fitting:
            return self.wrong_type(node, kind, key)
        return self.read(node, fitting[0], key)

    def _scheme(self, node: Node, kind: types.UnionType, key: str) -> Any:
        """Read a scheme, or its settings: ours share one struct, those of packages have one each."""
        theirs = scheme_types()
        written = node.entries.get("scheme") if isinstance(node, Mapping) else node
        name = written.value if isinstance(written, Scalar) else None
        if isinstance(name, str) and name in theirs:
            settings = node if isinstance(node, Mapping) else Mapping({"scheme": node}, node.line)
            return self._struct(settings, _struct_type(theirs[name]), key)
        if isinstance(name, str) and name not in (ours := get_args(Scheme)) and theirs:
            return self.unknown_value(name, [*ours, *theirs], join(key, "scheme") if node is not written else key)
        return (
            self._struct(node, _struct_type(Quantize), key)
            if isinstance(node, Mapping)
            else self._union(node, kind, key)
        )

    def _tagged(self, node: Node, structs: dict[str, Any], key: str) -> Any:
        """Read a mapping that says itself which of these structs it is."""
        assert isinstance(node, Mapping)
        known = list(structs)
        field = structs[known[0]].__struct_config__.tag_field
        tag = node.entries.get(field)
        if tag is None:
            near = [name for name in node.entries if nearest(name, [field])]
            hint = f"`{near[0]}` should be `{field}`" if near else f"write `{field}: ` and one of: {', '.join(known)}"
            self.report(key, f"missing key `{field}`", hint, code="recipe-missing-key")
            return INVALID
        if isinstance(tag, Scalar) and isinstance(tag.value, str) and tag.value in structs:
            return self._struct(node, _struct_type(structs[tag.value]), key)
        if isinstance(tag, Scalar) and tag.value is not None:
            return self.unknown_value(tag.value, known, join(key, field))
        return self.wrong_type(tag, types.LiteralType(tuple(known)), join(key, field))

    def _collection(self, node: Node, kind: types.ListType | types.DictType, key: str) -> Any:
        values: Any
        if isinstance(node, Sequence) and isinstance(kind, types.ListType):
            values = [self.read(item, kind.item_type, join(key, at)) for at, item in enumerate(node.items)]
            faulty = any(value is INVALID for value in values)
        else:
            assert isinstance(node, Mapping)
            assert isinstance(kind, types.DictType)
            values = {name: self.read(item, kind.value_type, join(key, name)) for name, item in node.entries.items()}
            faulty = any(value is INVALID for value in values.values())
        if len(values) < (kind.min_length or 0) or len(values) > (kind.max_length or math.inf):
            self.refuse_range(f"has {len(values)} items: {describe_range(kind)}", key)
            return INVALID
        return INVALID if faulty else values

    def _anything(self, node: Node, key: str) -> Any:
        if isinstance(node, Mapping):
            return self._collection(node, types.DictType(types.StrType(), types.AnyType()), key)
        if isinstance(node, Sequence):
            return self._collection(node, types.ListType(types.AnyType()), key)
        return self.scalar(node, types.AnyType(), key)

    def _struct(self, node: Node, kind: types.StructType, key: str, *, tagged: bool = True) -> Any:
        """Read a mapping; `tagged=False` where the tag is written outside, as a step's name is."""
        assert isinstance(node, Mapping)
        self.struct_types[key] = kind.cls
        entries = dict(node.entries)
        valid = self._own_tag(entries, kind, key) if tagged and kind.tag_field is not None else True
        fields = {field.encode_name: field for field in kind.fields}
        hints = typing.get_type_hints(kind.cls, include_extras=True)
        values: dict[str, Any] = {}
        meant: set[str] = set()
        for name, child in entries.items():
            if name not in fields:
                free = [other for other in fields if other not in entries]
                hint = "" if get_close_matches(name, free, cutoff=0.8) else self.elsewhere(name, kind.cls)
                if not hint and not fields:
                    hint = "remove it: there is nothing to set here"
                elif not hint:
                    near = nearest(name, free)
                    meant.update(near[:1])
                    hint = suggestion(name, free) if near else suggestion(name, fields, what="known keys")
                self.report(key, f"unknown key `{name}`", hint, code="recipe-unknown-key", at=join(key, name))
                valid = False
                continue
            field = fields[name]
            if walkable(field.type):
                values[field.name] = self.read(child, field.type, join(key, name))
            else:
                values[field.name] = self._convert(child, hints[field.name], join(key, name))
            valid = valid and values[field.name] is not INVALID
        for name, field in fields.items():
            if field.required and name not in entries:
                valid = False
                if name not in meant:  # a misspelt key is one fault, not two
                    meaning = field_comments(kind.cls).get(field.name, "")
                    hint = f"`{name}` is: {meaning}" if meaning else f"add `{name}: ` ({describe_type(field.type)})"
                    self.report(key, f"missing key `{name}`", hint, code="recipe-missing-key")
        return self._construct(kind.cls, values, key) if valid else INVALID

    def _own_tag(self, entries: dict[str, Node], kind: types.StructType, key: str) -> bool:
        """Take the tag out of `entries`; return whether it is there and right."""
        assert kind.tag_field is not None
        tag = entries.pop(kind.tag_field, None)
        if tag is None:
            self.report(
                key,
                f"missing key `{kind.tag_field}`",
                f"write `{kind.tag_field}: {kind.tag}`",
                code="recipe-missing-key",
            )
            return False
        return self._read(tag, types.LiteralType((kind.tag,)), join(key, kind.tag_field)) is not INVALID

    def _construct(self, cls: type[Any], values: dict[str, Any], key: str) -> Any:
        if cls is ArtifactConfig:
            default = "auto" if values.get("format") == "auto" else "none"
            if isinstance(values.setdefault("quantize", default), str):  # one form, however it was written
                values["quantize"] = Quantize(scheme=values["quantize"])
        try:
            value = cls(**values)
        except (ValueError, TypeError) as error:  # what a struct's own __post_init__ refuses
            self.report(key, str(error), code="recipe-conflict")
            return INVALID
        before = len(self.problems)
        for name, message, hint in getattr(value, "problems", tuple)():
            self.report(join(key, name) if name else key, message, hint, code="recipe-conflict")
        return value if len(self.problems) == before else INVALID

    def _convert(self, node: Node, hint: Any, key: str) -> Any:
        """Read a type that only a plug-in's struct has, with msgspec's own, shorter error."""
        try:
            return msgspec.convert(to_plain(node), hint)
        except msgspec.ValidationError as error:
            self.report(key, str(error), code="recipe-wrong-type")
            return INVALID

    def _step(self, node: Node, key: str) -> Any:
        """Read `- name: {settings}` against the struct of that step."""
        return self.named(node, key, dict(step_types()), what="step")

    def _operation(self, node: Node, key: str) -> Any:
        """Read `- name: {settings}` or `- name` of pre- or post-processing; defaults are filled in."""
        from edgeglm_agent.processing import POST_OPERATIONS, PRE_OPERATIONS  # takes NumPy along: only when used

        place = key.partition("[")[0]
        other = "postprocess" if place == "preprocess" else "preprocess"
        here, there = (PRE_OPERATIONS, POST_OPERATIONS) if place == "preprocess" else (POST_OPERATIONS, PRE_OPERATIONS)
        name = node.value if isinstance(node, Scalar) else next(iter(getattr(node, "entries", {})), None)
        if name in there:
            self.report(
                key, f"`{name}` is an operation of `{other}`", f"move it to `{other}`", code="recipe-unknown-value"
            )
            return INVALID
        value = self.named(node, key, dict(here), what="operation")
        if value is INVALID:
            return INVALID
        settings = msgspec.to_builtins(value, str_keys=True)
        settings.pop(value.__struct_config__.tag_field, None)
        return ProcessStep(str(name), settings)

    def named(self, node: Node, key: str, known: dict[str, Any], *, what: str) -> Any:
        """Read `- name: {settings}`, or `- name`, against the struct of that name."""
        if isinstance(node, Scalar) and isinstance(node.value, str):
            name, settings = node.value, None
        elif isinstance(node, Mapping) and len(node.entries) == 1:
            (name,) = node.entries
            settings = node.entries[name]
        else:
            message, hint = _not_one_name(node, known, what)
            self.report(key, message, hint, code="recipe-wrong-type")
            return INVALID
        if name not in known:
            at = join(key, name)
            hint = suggestion(name, known, what=f"known {what}s")
            self.report(key, f"unknown {what} `{name}`", hint, code="recipe-unknown-value", at=at)
            return INVALID
        if settings is None or (isinstance(settings, Scalar) and settings.value is None):
            settings = Mapping({}, node.line, overridden=node.overridden)
        inner = join(key, name)
        kind = _struct_type(known[name])
        shorthand = getattr(known[name], "shorthand", None)
        if shorthand is not None and isinstance(settings, Scalar):
            settings = Mapping({shorthand: settings}, node.line, overridden=node.overridden)
        if not isinstance(settings, Mapping):
            message = f"expected {describe_type(kind)}, found {found(settings)}"
            hint = f"write `- {name}: {settings_form(kind, settings)}`"
            self.report(inner, message, hint, code="recipe-wrong-type")
            return INVALID
        return self._struct(settings, kind, inner, tagged=False)


def _not_one_name(node: Node, known: dict[str, Any], what: str) -> tuple[str, str]:
    """Return message and hint for an item that is not one name with its settings."""
    wanted = f"write `- name: {{...}}`; known {what}s: {', '.join(known)}"
    if not isinstance(node, Mapping) or not node.entries:
        return f"expected one {what} with its settings, found {found(node)}", wanted
    names = list(node.entries)
    first = node.entries[names[0]]
    if names[0] in known and isinstance(first, Scalar) and first.value is None:
        others = ", ".join(f"`{name}`" for name in names[1:])
        return f"{others} beside `{names[0]}`, not in it", f"indent them further, under `{names[0]}:`"
    if sum(name in known for name in names) > 1:
        return f"{len(names)} {what}s in one item", "give each a line of its own that starts with `- `"
    listed = ", ".join(f"`{name}`" for name in names)
    return f"expected one {what} with its settings, found the keys {listed}", wanted


def _struct_type(cls: type[Any]) -> types.StructType:
    kind = types.type_info(cls)
    assert isinstance(kind, types.StructType)
    return kind
