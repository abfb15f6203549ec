"""What boards say, made fit for a terminal: nothing that a board, or who pretends to be one, wrote moves the cursor."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING

import msgspec

if TYPE_CHECKING:
    from collections.abc import Mapping

MOST_CHARACTERS = 200
_QUOTED = frozenset(' "=\\')  # a value that holds one of these is shown as JSON, so that it cannot pass for two
_BEYOND_ASCII = re.compile(r"[^\x00-\x7e]")


def plain(text: object, most: int = MOST_CHARACTERS) -> str:
    """Return a text on one line: what is not printable as an escape (backslash x1b), and cut to so many characters.

    Not printable are control characters, line ends, and what turns the direction of writing or has no width.
    """
    raw = text if isinstance(text, str) else str(text)
    shown = raw[: most + 1]  # what is cut off need not be escaped first
    if not shown.isprintable():
        shown = "".join(one if one.isprintable() else _escaped(one) for one in shown)
    return shown if len(shown) <= most and len(raw) <= most else f"{shown[: most - 2]}.."


def plain_values(values: object, most: int = MOST_CHARACTERS) -> object:
    """Return what a JSON document holds with every text in it, keys too, made plain."""
    if isinstance(values, dict):
        return {plain(key, most): plain_values(value, most) for key, value in values.items()}
    if isinstance(values, list | tuple):
        return [plain_values(value, most) for value in values]
    return plain(values, most) if isinstance(values, str) else values


def pairs(values: Mapping[str, object], most: int = MOST_CHARACTERS) -> str:
    """Return a table of a board's as ``key=value key=value``, plain, and cut to so many characters."""
    parts: list[str] = []
    length = 0
    for key, value in values.items():
        if length > most:
            break  # there may be very many
        bare = isinstance(value, str) and value and not set(value) & _QUOTED
        parts.append(f"{plain(key, 60)}={plain(value if bare else json.dumps(value, ensure_ascii=False), most)}")
        length += len(parts[-1]) + 1
    return plain(" ".join(parts), most)


def json_text(value: object) -> str:
    """Return a value as indented JSON, what is not printable in it as an escape too, which JSON itself leaves open."""
    text = msgspec.json.format(msgspec.json.encode(value), indent=2).decode()
    return _BEYOND_ASCII.sub(_json_escaped, text)


def json_line(document: bytes) -> str:
    """Return a JSON document on one line, what is not printable in it as an escape. Raises: ValueError: It is none."""
    try:
        text = msgspec.json.encode(msgspec.json.decode(document)).decode()
    except (msgspec.MsgspecError, RecursionError) as error:
        raise ValueError(str(error)) from error
    return _BEYOND_ASCII.sub(_json_escaped, text)


def _json_escaped(match: re.Match[str]) -> str:
    character = match[0]
    return character if character.isprintable() else json.dumps(character)[1:-1]


def _escaped(character: str) -> str:
    return character.encode("unicode_escape").decode("ascii")
