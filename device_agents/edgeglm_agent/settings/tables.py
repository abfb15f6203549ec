"""The tables that a settings file may have, found in the structs: for the reference page, and for keys gone astray."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from msgspec import inspect as types

from edgeglm_agent.settings.types import Settings, Table
from edgeglm_agent.settings.words import bare, members

if TYPE_CHECKING:
    from collections.abc import Iterator


def tables() -> dict[str, type[Table]]:
    """Return header -> struct: ``mqtt``, ``mqtt.tls``, ``slots.NAME``; empty: the top of the file."""
    return dict(_below("", Settings))


def _below(header: str, struct: type[Table]) -> Iterator[tuple[str, type[Table]]]:
    yield header, struct
    kind = types.type_info(struct)
    assert isinstance(kind, types.StructType)
    for field in kind.fields:
        for member in map(bare, members(field.type)):
            name = f"{header}.{field.encode_name}".lstrip(".")
            if isinstance(member, types.DictType):
                member, name = bare(member.value_type), f"{name}.NAME"
            if isinstance(member, types.StructType) and issubclass(member.cls, Table):
                yield from _below(name, member.cls)


def elsewhere(name: str, owner: type[Any]) -> str:
    """Return the hint for a key that another table knows; empty where none does."""
    for header, struct in tables().items():
        if struct is not owner and name in struct.__struct_fields__:
            where = f"to [{header}]" if header else "to the top of the file, above the first table"
            return f"`{name}` belongs {where}"
    return ""
