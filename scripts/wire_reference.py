"""The text of docs/agent/wire.md, from the structs of ``edgeglm_agent.wire``: see generate_docs.py."""

from __future__ import annotations

import json
from typing import Any

import msgspec
from edgeglm_agent.source_comments import doc_line, field_comments
from edgeglm_agent.wire import commands, telemetry
from edgeglm_agent.wire.sketch import GAMMA
from edgeglm_agent.wire.topics import ROOT
from msgspec import inspect as types

INTRODUCTION = f"""\
<!-- Written by scripts/generate_docs.py from the structs in device_agents/edgeglm_agent/wire/; change them there. -->

# Telemetry reference

Every message between board, collector and who operates the fleet, field by field. [Telemetry](telemetry.md) says what
they are for, and why nothing is lost. Names of topics begin with `{ROOT}/<fleet>/<shard>/<device>/`.

| topic | from | holds | form |
|---|---|---|---|
| `state` | board, retained | [State](#state) | JSON |
| `telemetry` | board | [Batch](#batch) of [windows](#window) | MessagePack |
| `events` | board | [Batch](#batch) of [events](#event) and [gaps](#gap) | MessagePack |
| `results` | board | [Batch](#batch) of [results](#result) | MessagePack |
| `ack` | collector | [Ack](#ack) | MessagePack |
| `cmd/<op>` | who operates the fleet | [Command](#command) | JSON |
| `res/<id>` | board | [Reply](#reply) | JSON |

A struct in MessagePack is an array, its fields in the order of the table; those with a default may be left out at the
end. Later versions add fields at the end and kinds of rows: a reader passes over what it does not know. In JSON fields
have names, and those that have their default may be left out. Times are Unix milliseconds by the clock of who says
them.

Three forms of bytes are within them:

- **Numbers** are whole and not negative, each in LEB128: seven bits a byte, the lowest first; the eighth says that more
  follow.
- **Ranges** of sequence numbers are numbers: the first, how many in a row, the distance from there to the next, how
  many in a row, and so on. `04 02 03 01` is 4, 5 and 9.
- **Sketch** is a histogram with buckets of {GAMMA - 1:.0%}: bucket i counts values above {GAMMA}^(i-1) up to {GAMMA}^i.
  It is the first bucket (2i, or -2i-1 where i is negative) and then counts, as numbers; a 0 is followed by how many
  buckets are empty. Sketches are added up bucket by bucket, so that percentiles of many windows or boards are as right
  as those of one: off by less than 1 %.
"""
_UNITS = {
    "_ms": "ms", "_s": "s", "_permille": "1/1000", "_milli": "1/1000", "_decic": "0.1 °C", "_mb": "MB", "_kb": "KB",
    "_hz": "Hz", "_uj": "µJ", "_bytes": "bytes", "mw": "mW",
}  # fmt: skip
_ARRAYS = {
    "Batches": (telemetry.Batch, telemetry.Row, telemetry.Ack),
    "Rows": (telemetry.Window, telemetry.Event, telemetry.Result, telemetry.Gap),
    "Within rows": (telemetry.Drift, telemetry.BoardReading, telemetry.Power, telemetry.Burst),
}
_DOCUMENTS = (commands.State, commands.SlotState, commands.Command, commands.Reply)


def wire_reference() -> str:
    """Return the text of docs/agent/wire.md."""
    parts = [INTRODUCTION]
    for title, structs in _ARRAYS.items():
        parts.append(f"## {title}\n")
        parts += [_section(struct, numbered=True) for struct in structs]
    rows = [f"| `{name}` | {meaning} |" for name, meaning in telemetry.EVENTS.items()]
    parts.append("\n".join(["## Events\n", "| name | when |", "|---|---|", *rows]) + "\n")
    parts.append("## Documents\n")
    parts += [_section(struct) for struct in _DOCUMENTS]
    parts.append(_operations())
    return "\n".join(parts)


def _section(struct: type[Any], *, numbered: bool = False) -> str:
    info = types.type_info(struct)
    assert isinstance(info, types.StructType)
    comments = field_comments(struct)
    missing = [field.name for field in info.fields if not comments.get(field.name) and not _unit(field.name)]
    assert not missing, f"{struct.__name__} says nothing of {', '.join(missing)}"
    head = ["field", "type", "unit", "default", "meaning"]
    rows = [f"| {' | '.join([*(['#'] if numbered else []), *head])} |", "|---" * (len(head) + numbered) + "|"]
    for place, field in enumerate(info.fields):
        meaning = comments.get(field.name, "").replace("|", "\\|").replace("``", "`")
        cells = [f"`{field.encode_name}`", _type(field.type), _unit(field.name), _default(field), meaning]
        rows.append(f"| {' | '.join([*([str(place)] if numbered else []), *cells])} |")
    return f"### {struct.__name__}\n\n{doc_line(struct).replace('``', '`')}\n\n" + "\n".join(rows) + "\n"


def _operations() -> str:
    rows = ["| operation | argument | value | default |", "|---|---|---|---|"]
    for name, struct in commands.ARGUMENTS.items():
        fields = msgspec.structs.fields(struct)
        rows += [f"| `{name}` | none | | |"] if not fields else []
        for field in fields:
            described = _described(field.type)
            default = "" if field.default is None else f"`{json.dumps(field.default)}`"
            rows.append(f"| `{name}` | `{field.encode_name}` | {described} | {default} |")
    return "### Arguments\n\nOf a command, by its operation.\n\n" + "\n".join(rows) + "\n"


def _described(kind: Any) -> str:
    """Return what an argument's type says of itself; a None in it stands for what was not given."""
    for one in (kind, *getattr(kind, "__args__", ())):
        for meta in getattr(one, "__metadata__", ()):
            return str(meta.description)
    raise AssertionError(f"{kind} has no description")


def _unit(name: str) -> str:
    return next((unit for ending, unit in _UNITS.items() if name.endswith(ending)), "")


def _type(kind: types.Type) -> str:
    """Return a type in the words of MessagePack and JSON; a struct is a link to its table."""
    if isinstance(kind, types.UnionType):
        words = [_type(one) for one in kind.types if not isinstance(one, types.NoneType)]
        if len(words) > 2:
            words = ["text, number or boolean"]
        return " or ".join(words) + (" or nil" if kind.includes_none else "")
    if isinstance(kind, types.VarTupleType | types.ListType):
        return f"list of {_type(kind.item_type)}"
    if isinstance(kind, types.DictType):
        return f"map of {_type(kind.key_type)} to {_type(kind.value_type)}"
    if isinstance(kind, types.LiteralType):
        return "one of " + ", ".join(f"`{value}`" for value in kind.values)
    if isinstance(kind, types.StructType):
        return f"[{kind.cls.__name__}](#{kind.cls.__name__.lower()})"
    words = {
        types.StrType: "text",
        types.IntType: "integer",
        types.FloatType: "number",
        types.BoolType: "boolean",
        types.BytesType: "bytes",
        types.RawType: "any row",
        types.AnyType: "anything",
        types.CustomType: "anything",  # object
    }
    return words[type(kind)]


def _default(field: types.Field) -> str:
    if field.required:
        return ""
    default = field.default if field.default is not msgspec.NODEFAULT else field.default_factory()
    if default is None:
        return "nil"
    if default in ("", b"", (), [], {}):
        return "empty"
    return f"`{json.dumps(default)}`"
