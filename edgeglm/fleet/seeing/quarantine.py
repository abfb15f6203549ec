"""What the collector could not read: when it came, on which topic, why, and how it begins, made safe to look at."""

from __future__ import annotations

import codecs
import textwrap
from typing import TYPE_CHECKING

import msgspec

from edgeglm.fleet.plain import plain
from edgeglm.fleet.seeing.times import local_iso, utc_iso

if TYPE_CHECKING:
    from collections.abc import Iterator

    from edgeglm.fleet.store.base import StoreReader
    from edgeglm.fleet.store.types import Poison

PREVIEW_BYTES = 96  # of a payload, that are shown
_REASON = 500  # characters: as many as a store keeps
_UNCUT = 10_000


class Unread(msgspec.Struct, frozen=True, kw_only=True):
    """One message, or one row of one; texts in it are as they came."""

    received_ms: int
    received_utc: str | None
    topic: str
    reason: str
    bytes_kept: int  # of the payload: a store keeps the first 4,096
    text: str | None  # the payload's beginning; None: it is no text
    hex: str | None  # likewise, where it is no text
    payload: bytes  # all that is kept: base64 in JSON


class Quarantine(msgspec.Struct, frozen=True, kw_only=True):
    """What ``fleet poison --json`` prints."""

    unreadable: int  # messages and rows, ever: more than are kept
    messages: list[Unread]  # the newest first


def quarantine(reader: StoreReader, last: int) -> Quarantine:
    """Return the newest messages and rows that could not be read."""
    return Quarantine(unreadable=reader.poison_count(), messages=[_unread(one) for one in reader.poison(last)])


def render(found: Quarantine, *, width: int | None) -> str:
    """Return a few lines a message; None for the width: no line is wrapped."""
    return "\n".join(line for message in found.messages for line in _lines(message, width or _UNCUT))


def counts(found: Quarantine) -> str:
    """Return how many there were, and how many of them are shown."""
    if not found.unreadable:
        return "everything that came could be read"
    ever = f"{found.unreadable} messages or rows could not be read, ever"
    return f"{ever}; the newest {len(found.messages)} are shown" if found.messages else f"{ever}; none of them is kept"


def _unread(poison: Poison) -> Unread:
    text = _as_text(poison.payload)
    return Unread(
        received_ms=poison.received_ms,
        received_utc=utc_iso(poison.received_ms),
        topic=poison.topic,
        reason=poison.reason,
        bytes_kept=len(poison.payload),
        text=text,
        hex=poison.payload[:PREVIEW_BYTES].hex(" ") if text is None else None,
        payload=poison.payload,
    )


def _as_text(payload: bytes) -> str | None:
    """Return the beginning of what is a text: UTF-8 without control characters but white space."""
    cut = len(payload) > PREVIEW_BYTES  # perhaps within a character
    try:
        text = codecs.getincrementaldecoder("utf-8")().decode(payload[:PREVIEW_BYTES], final=not cut)
    except UnicodeDecodeError:
        return None
    return text if all(one.isprintable() or one.isspace() for one in text) else None


def _lines(message: Unread, width: int) -> Iterator[str]:
    yield from _wrapped(f"{local_iso(message.received_ms)}  {plain(message.topic, _REASON)}", width, "")
    yield from _wrapped(plain(message.reason, _REASON), width, "  why    ")
    size = f"{message.bytes_kept} byte{'' if message.bytes_kept == 1 else 's'}"
    if not message.bytes_kept:
        yield "  empty"
    elif message.text is not None:
        yield from _wrapped(f"{plain(message.text, 4 * PREVIEW_BYTES)} ({size})", width, "  text   ")
    else:
        more = " .." if message.bytes_kept > PREVIEW_BYTES else ""
        yield from _wrapped(f"{message.hex}{more} ({size})", width, "  hex    ")


def _wrapped(text: str, width: int, head: str) -> list[str]:
    return textwrap.wrap(text, width, initial_indent=head, subsequent_indent=" " * (len(head) or 4))
