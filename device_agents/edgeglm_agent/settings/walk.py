"""What a settings file holds against the structs: every fault with its line, then the structs.

The types are read with ``msgspec.inspect``, so that a setting is declared once, in its struct. Values are built from
the leaves up; a table with a faulty part is left out, and what stands beside it is still checked.
"""

from __future__ import annotations

import math
import re
from pathlib import Path
from typing import Any, Final, get_type_hints

import msgspec
from msgspec import inspect as types

from edgeglm_agent.errors import Problem
from edgeglm_agent.inputs import input_type, input_types
from edgeglm_agent.kinds import KindError
from edgeglm_agent.passwords import hidden
from edgeglm_agent.results import result_type, result_types
from edgeglm_agent.settings.toml_lines import KeyPath, TomlLines, shown
from edgeglm_agent.settings.types import InputConfig, ResultConfig
from edgeglm_agent.settings.words import (
    accepts,
    bare,
    describe_range,
    describe_type,
    found,
    mend_type,
    out_of_range,
    path_role,
    pattern_hint,
)

REFERENCE = "docs/agent/settings.md says what may stand here"
_TAGGED: dict[type[Any], Any] = {InputConfig: (input_type, input_types), ResultConfig: (result_type, result_types)}


class _Invalid:
    """What a faulty part is read as."""


INVALID: Final = _Invalid()


class Walker:
    """One walk over one file.

    Attributes:
        problems: What is wrong, each with the line to sort by.
        paths: What the file calls a path: where it stands, its role, and the path itself, absolute.
        built: Every value that is valid by itself, by its place: rules between settings are checked also where another
            part of the file is at fault.
    """

    def __init__(self, name: str, lines: TomlLines, folder: Path) -> None:
        """Take the file's name as the user gave it, where its keys stand, and the folder that paths start at."""
        self.problems: list[tuple[int, Problem]] = []
        self.paths: list[tuple[KeyPath, str, Path]] = []
        self.built: dict[KeyPath, Any] = {}
        self._name = name
        self._lines = lines
        self._folder = folder
        self._owners: dict[KeyPath, type[msgspec.Struct]] = {}  # table -> struct that it is read as

    def report(self, key: KeyPath, message: str, hint: str = "", *, code: str, at: KeyPath | None = None) -> None:
        """Note a problem of ``key``, on the line of ``at`` (of ``key`` itself where that is not given)."""
        line = self._lines.nearest(key if at is None else at)
        where = f"{self._name}:{line} {shown(key)}".rstrip()
        problem = Problem(message=message, hint=hint or self._meaning(key), where=where, code=code)
        self.problems.append((line, problem))

    def line(self, key: KeyPath) -> int:
        """Return the line of a key."""
        return self._lines.nearest(key)

    def read(self, value: Any, kind: types.Type, key: KeyPath) -> Any:
        """Return the value as ``kind``, or INVALID with at least one problem noted."""
        built = self._read(value, kind, key)
        if built is not INVALID:
            self.built[key] = built
        return built

    def _read(self, value: Any, kind: types.Type, key: KeyPath) -> Any:
        inner = bare(kind)
        if isinstance(inner, types.UnionType):
            fitting = [member for member in inner.types if accepts(member, value)]
            return self._read(value, fitting[0], key) if fitting else self._wrong_type(value, kind, key)
        if not accepts(inner, value):
            return self._wrong_type(value, kind, key)
        if isinstance(inner, types.StructType):
            return self._tagged(value, inner.cls, key) if inner.cls in _TAGGED else self._struct(value, inner, key)
        if isinstance(inner, types.LiteralType):
            return self._literal(value, inner, key)
        if isinstance(inner, types.ListType):
            return self._list(value, inner, key)
        if isinstance(inner, types.DictType):
            return self._dict(value, inner, key)
        if isinstance(value, int | float) and not isinstance(value, bool):
            return self._number(value, inner, key)
        if isinstance(inner, types.StrType):
            return self._text(value, inner, key, path_role(kind))
        return value

    def _wrong_type(self, value: Any, kind: types.Type, key: KeyPath) -> Any:
        message = f"expected {describe_type(kind)}, found {found(value)}"
        self.report(key, message, mend_type(value, kind), code="settings-wrong-type")
        return INVALID

    def _literal(self, value: Any, kind: types.LiteralType, key: KeyPath) -> Any:
        if value in kind.values:
            return value
        self._unknown("value", value, [str(known) for known in kind.values], key, code="settings-unknown-value")
        return INVALID

    def _unknown(self, what: str, value: Any, known: list[str], key: KeyPath, *, code: str) -> None:
        from edgeglm_agent.suggest import suggestion

        hint = suggestion(str(value), known, what=f"known {what}s")
        self.report(key, f"unknown {what} `{value}`", hint, code=code)

    def _number(self, value: float, kind: types.Type, key: KeyPath) -> Any:
        if not math.isfinite(value):
            self.report(key, f"{value} is not a finite number", code="settings-out-of-range")
            return INVALID
        if isinstance(kind, types.IntType | types.FloatType) and out_of_range(value, kind):
            self.report(key, f"{value} is out of range: {describe_range(kind)}", code="settings-out-of-range")
            return INVALID
        return float(value) if isinstance(kind, types.FloatType) else value

    def _text(self, value: str, kind: types.StrType, key: KeyPath, role: str) -> Any:
        if kind.pattern is not None and (re.search(kind.pattern, value) is None or value.endswith("\n")):
            message = f"`{hidden(value)}` has not the form wanted here" if value else "must not be empty"
            self.report(key, message, pattern_hint(kind.pattern), code="settings-out-of-range")
            return INVALID
        if not (kind.min_length or 0) <= len(value) <= (kind.max_length or math.inf):
            message = f"has {len(value)} characters: {describe_range(kind)}" if value else "must not be empty"
            self.report(key, message, code="settings-out-of-range")
            return INVALID
        if not role:
            return value
        if "\0" in value:
            self.report(key, "no path holds a null character", code="settings-out-of-range")
            return INVALID
        if role == "slot" and not Path(value).expanduser().is_absolute():
            return value
        path = self._folder / Path(value).expanduser()
        self.paths.append((key, role, path))
        return str(path)

    def _list(self, values: list[Any], kind: types.ListType, key: KeyPath) -> Any:
        read = [self.read(item, kind.item_type, (*key, number)) for number, item in enumerate(values)]
        if not (kind.min_length or 0) <= len(values) <= (kind.max_length or math.inf):
            message = f"has {len(values)} items: {describe_range(kind) or 'at least 1'}"
            self.report(key, message, code="settings-out-of-range")
            return INVALID
        return INVALID if any(item is INVALID for item in read) else read

    def _dict(self, values: dict[str, Any], kind: types.DictType, key: KeyPath) -> Any:
        read = {}
        for name, value in values.items():
            names = bare(kind.key_type)
            if isinstance(names, types.StrType) and names.pattern and re.search(names.pattern, name) is None:
                message = f"`{name}` cannot be a name"
                self.report(key, message, pattern_hint(names.pattern), code="settings-name", at=(*key, name))
            read[name] = self.read(value, kind.value_type, (*key, name))
        return INVALID if any(item is INVALID for item in read.values()) else read

    def _tagged(self, value: dict[str, Any], base: type[Any], key: KeyPath) -> Any:
        """Read a table whose ``kind`` says which struct it is; structs of other kinds are not imported."""
        find, list_kinds = _TAGGED[base]
        kind = value.get("kind")
        try:
            if kind is None:
                from edgeglm_agent.suggest import nearest

                known = ", ".join(list_kinds())
                near = nearest("kind", [name for name in value if name.lower() in ("knd", "type", "source", "kinds")])
                hint = f"`{near[0]}` should be `kind`" if near else f"write `kind = ` and one of: {known}"
                self.report(key, "missing key `kind`", hint, code="settings-missing-key")
                return INVALID
            if not isinstance(kind, str):
                return self._wrong_type(kind, types.LiteralType(tuple(list_kinds())), (*key, "kind"))
            cls = find(kind)
        except KindError as error:
            if error.known is not None:
                self._unknown("kind", kind, list(error.known), (*key, "kind"), code="settings-unknown-kind")
            else:
                hint = "mend or uninstall that package, or take another kind"
                self.report((*key, "kind"), str(error), hint, code="settings-plugin")
            return INVALID
        without = {name: item for name, item in value.items() if name != "kind"}
        return self._struct(without, types.type_info(cls), key)

    def _struct(self, value: dict[str, Any], kind: types.Type, key: KeyPath) -> Any:
        assert isinstance(kind, types.StructType)
        self._owners[key] = kind.cls
        fields = {field.encode_name: field for field in kind.fields}
        read: dict[str, Any] = {}
        meant: set[str] = set()
        valid = True
        for name, item in value.items():
            field = fields.get(name)
            if field is None:
                valid = False
                meant.update(self._unknown_key(name, value, fields, kind.cls, key))
                continue
            read[field.name] = self._field(item, field, kind.cls, (*key, name))
            valid = valid and read[field.name] is not INVALID
        for name, field in fields.items():
            if field.required and name not in value:
                valid = False
                if name not in meant:  # a misspelt key is one fault, not two
                    meaning = self._comment((*key, name))
                    hint = f"`{name}` is: {meaning}" if meaning else f"add `{name} = ` ({describe_type(field.type)})"
                    self.report(key, f"missing key `{name}`", hint, code="settings-missing-key")
        return self._built(kind.cls, read, key) if valid else INVALID

    def _field(self, value: Any, field: types.Field, owner: type[Any], key: KeyPath) -> Any:
        if _walkable(field.type):
            return self.read(value, field.type, key)
        try:  # a type that only a package's struct has: msgspec knows it
            return msgspec.convert(value, get_type_hints(owner, include_extras=True)[field.name])
        except msgspec.ValidationError as error:
            self.report(key, str(error), code="settings-wrong-type")
            return INVALID

    def _unknown_key(
        self, name: str, value: dict[str, Any], fields: dict[str, types.Field], owner: type[Any], key: KeyPath
    ) -> list[str]:
        """Note a key that nobody knows; return what may be meant by it."""
        from edgeglm_agent.settings.tables import elsewhere
        from edgeglm_agent.suggest import nearest, suggestion

        free = [other for other in fields if other not in value]
        near = nearest(name, free)
        hint = "" if near else elsewhere(name, owner)
        if not fields:
            hint = hint or "remove it: there is nothing to set here"
        hint = hint or (suggestion(name, free) if near else suggestion(name, fields, what="known keys"))
        self.report(key, f"unknown key `{name}`", hint, code="settings-unknown-key", at=(*key, name))
        return near[:1]

    def _built(self, cls: type[Any], read: dict[str, Any], key: KeyPath) -> Any:
        try:
            return cls(**read)
        except (ValueError, TypeError) as error:  # what a struct checks of its values together
            at = getattr(error, "key", "")
            self.report((*key, at) if at else key, str(error), getattr(error, "hint", ""), code="settings-do-not-fit")
            return INVALID

    def _meaning(self, key: KeyPath) -> str:
        """Return what a key is for, as the hint where nothing better is known."""
        while key and isinstance(key[-1], int):
            key = key[:-1]
        comment = self._comment(key)
        return f"`{key[-1]}` is: {comment}" if comment else REFERENCE

    def _comment(self, key: KeyPath) -> str:
        from edgeglm_agent.source_comments import field_comments

        owner = self._owners.get(key[:-1]) if key else None
        return field_comments(owner).get(str(key[-1]), "") if owner is not None else ""


def _walkable(kind: types.Type) -> bool:
    """Return whether a type is read here."""
    inner = bare(kind)
    if isinstance(inner, types.UnionType):
        return all(_walkable(member) for member in inner.types)
    if isinstance(inner, types.ListType):
        return _walkable(inner.item_type)
    if isinstance(inner, types.DictType):
        return isinstance(bare(inner.key_type), types.StrType) and _walkable(inner.value_type)
    return isinstance(
        inner,
        types.LiteralType
        | types.StrType
        | types.IntType
        | types.FloatType
        | types.BoolType
        | types.NoneType
        | types.AnyType
        | types.StructType,
    )
