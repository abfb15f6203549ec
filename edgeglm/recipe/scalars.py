"""What a scalar of the YAML 1.2 core schema means (yaml.org/spec/1.2.2, section 10.3).

`1e-3` is a number; `yes` and `on` are text, and so is a date.
"""

from __future__ import annotations

import math
import re
from typing import TypeAlias

Plain: TypeAlias = bool | int | float | str | None

MAX_INTEGER = 2**63 - 1  # what JSON readers on every board take
_INTEGER = re.compile(r"[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+")
_FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?")
_SPECIAL: dict[str, Plain] = {
    **dict.fromkeys(("", "~", "null", "Null", "NULL"), None),
    **dict.fromkeys(("true", "True", "TRUE"), True),
    **dict.fromkeys(("false", "False", "FALSE"), False),
    **dict.fromkeys((".inf", ".Inf", ".INF", "+.inf", "+.Inf", "+.INF"), math.inf),
    **dict.fromkeys(("-.inf", "-.Inf", "-.INF"), -math.inf),
    **dict.fromkeys((".nan", ".NaN", ".NAN"), math.nan),
}
CORE_TAG = "tag:yaml.org,2002:"
_TAG_TYPES: dict[str, tuple[type, ...]] = {"int": (int,), "float": (int, float), "bool": (bool,), "null": (type(None),)}


def resolve(text: str) -> Plain:
    """Return what a plain scalar means in the YAML 1.2 core schema.

    Raises:
        ValueError: It is a number that no JSON reader can hold.
    """
    if text in _SPECIAL:
        return _SPECIAL[text]
    if _INTEGER.fullmatch(text):
        if len(text) > 24:
            raise ValueError("is an integer of more than 64 bits")
        value = int(text[2:], {"o": 8, "x": 16}[text[1]]) if text[1:2] in ("o", "x") else int(text)
        if abs(value) > MAX_INTEGER:
            raise ValueError("is an integer of more than 64 bits")
        return value
    if _FLOAT.fullmatch(text):
        number = float(text)
        if math.isinf(number):
            raise ValueError("is too large for a number")
        return number
    return text


def resolve_tagged(text: str, tag: str) -> Plain:
    """Return what a scalar with an explicit tag means.

    Raises:
        ValueError: The text is not of the tag's type.
        LookupError: The tag is none of the core schema.
    """
    name = tag.removeprefix(CORE_TAG)
    if name == "str":
        return text
    value = resolve(text) if name in _TAG_TYPES else text
    if not isinstance(value, _TAG_TYPES[name]):
        raise ValueError(f"is no {name}")
    return value


def check_text(text: str) -> None:
    """Refuse text that no file or JSON can carry. Raises: ValueError."""
    if "\0" in text:
        raise ValueError("holds a NUL character")
    if any("\ud800" <= char <= "\udfff" for char in text):
        raise ValueError("holds half a surrogate pair, which is no character")
