"""What boards say of themselves and of events, in words and units for people; what nobody here knows as it came."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from edgeglm_agent.status_text import amount

from edgeglm.fleet.plain import plain

if TYPE_CHECKING:
    from collections.abc import Mapping

_NAMES = {
    "os": "operating system",
    "arch": "architecture",
    "python": "Python",
    "cores": "processor cores",
    "l4t": "Jetson Linux",
    "jetpack": "JetPack",
    "psi": "stability index",
    "js": "Jensen-Shannon distance",
    "n": "samples",
}
_VALUES = {"raspberry-pi": "Raspberry Pi", "jetson": "Jetson"}
_BYTES = {"bytes": 1, "kb": 1e3, "mb": 1e6}
_UNITS = {"ms": "ms", "s": "s", "c": "\u00b0C", "mw": "mW", "hz": "Hz", "percent": "%"}
_MOST_NAME = 40
_MOST = 1e15  # beyond that it is no measure of a board
_QUOTED = frozenset(',"\\')  # a text that holds one of these is shown as JSON, so that it cannot pass for two


def fact(key: str, value: object, most: int = 120) -> tuple[str, str]:
    """Return what something is called and what it is: ``memory_mb`` and 8000 as ``memory``, ``8 GB``."""
    name, _, unit = key.rpartition("_")
    if isinstance(value, bool):
        return _called(key), "yes" if value else "no"
    if name and isinstance(value, int | float) and abs(value) < _MOST:  # a number that is none is not, either
        if unit in _BYTES and value >= 0:
            return _called(name), amount(value * _BYTES[unit])
        if unit in _UNITS:
            return _called(name), f"{plain(value, most)} {_UNITS[unit]}"
    if isinstance(value, str):
        return _called(key), plain(_VALUES.get(value, value), most)
    return _called(key), plain(json.dumps(value, ensure_ascii=False), most)


def listed(values: Mapping[str, object], most: int) -> str:
    """Return such facts on one line, ``feature input.x, stability index 0.412``, cut to so many characters."""
    parts: list[str] = []
    length = 0
    for key, value in values.items():
        if length > most:
            break  # there may be very many
        bare = not isinstance(value, str) or (value and not set(value) & _QUOTED)
        name, text = fact(key, value if bare else json.dumps(value, ensure_ascii=False), most)
        parts.append(f"{name} {text}")
        length += len(parts[-1]) + 2
    return plain(", ".join(parts), most)


def _called(key: str) -> str:
    return plain(_NAMES.get(key, key.replace("_", " ")), _MOST_NAME)
