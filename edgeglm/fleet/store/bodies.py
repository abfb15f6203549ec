"""What is stored of a board, read: where a disk has damaged it that is told, with whose it is."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

import msgspec
from edgeglm_agent.wire.manifest import UNREADABLE

from edgeglm.errors import StoreError

if TYPE_CHECKING:
    from edgeglm.fleet.store.types import Device

_Body = TypeVar("_Body")


def unpacked(body: bytes, kind: type[_Body], device: Device, at_ms: int) -> _Body:
    """Return what a row says. Raises: StoreError: It is damaged."""
    try:
        return msgspec.msgpack.decode(body, type=kind)
    except UNREADABLE as error:
        raise _damaged(device, f"the {kind.__name__.lower()} of {at_ms} ms") from error


def document(body: bytes, kind: type[_Body], device: Device) -> _Body:
    """Return what a state or an answer to a command says. Raises: StoreError: It is damaged."""
    try:
        return msgspec.json.decode(body, type=kind)
    except UNREADABLE as error:
        raise _damaged(device, f"a {kind.__name__.lower()}") from error


def _damaged(device: Device, what: str) -> StoreError:
    return StoreError(
        f"the store is damaged: {what} cannot be read",
        where=f"{device.fleet}/{device.name}",
        hint="nothing was deleted: put a backup in the store's place, or let `edgeglm fleet forget` remove what is "
        "stored of this board; what it says from then on comes in again",
        code="store-damaged",
    )
