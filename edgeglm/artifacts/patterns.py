"""Layer patterns of `ignore`: exact names, or "re:" and a regular expression, against the names of layers."""

from __future__ import annotations

import difflib
import re
from typing import TYPE_CHECKING

from edgeglm.errors import ExportError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence


def with_parents(layer: str) -> list[str]:
    """Return a layer's name and those of the layers that hold it: "a.b.c" gives "a", "a.b", "a.b.c"."""
    parts = layer.split(".")
    return [".".join(parts[:end]) for end in range(1, len(parts) + 1)]


def select(patterns: Sequence[str], names: Mapping[str, Iterable[str]], *, where: str = "") -> set[str]:
    """Return the keys of which some name matches some pattern.

    A name matches an exact pattern when it equals it, and a "re:" pattern when the whole name matches, as
    ``re.fullmatch`` does. A layer that holds others stands for all of them.

    Args:
        patterns: As the recipe has them.
        names: Operator of a file -> the names of the layers it computes.
        where: Path of the file, for errors.

    Raises:
        ExportError: A pattern is no regular expression, or matches no layer.
    """
    candidates = {key: [n for name in own for n in with_parents(name)] for key, own in names.items()}
    known = sorted({name for own in candidates.values() for name in own if name})
    chosen: set[str] = set()
    for pattern in patterns:
        matched = {name for name in known if _matches(pattern, name)}
        if not matched:
            raise ExportError(
                f"the pattern `{pattern}` matches no layer",
                where=where,
                hint=_suggestion(pattern, known),
                code="pattern-matches-nothing",
            )
        chosen |= {key for key, own in candidates.items() if matched.intersection(own)}
    return chosen


def _matches(pattern: str, name: str) -> bool:
    if not pattern.startswith("re:"):
        return pattern == name
    try:
        return re.fullmatch(pattern[3:], name) is not None
    except re.error as error:
        raise ExportError(
            f"`{pattern}` is not a regular expression: {error}",
            hint="after `re:` comes a regular expression as Python's `re` reads it; `.` matches any character",
            code="pattern-invalid",
        ) from error


def _suggestion(pattern: str, known: Sequence[str]) -> str:
    plain = re.sub(r"[^\w.]|\.(?=[*+?])", "", pattern.removeprefix("re:"))
    close = difflib.get_close_matches(plain, known, n=3, cutoff=0.5) or [n for n in known if plain and plain in n][:3]
    if close:
        return "did you mean " + ", ".join(f"`{name}`" for name in close) + "?"
    shown = ", ".join(f"`{name}`" for name in known[:12])
    return f"the layers are {shown}" + (" and more" if len(known) > 12 else "")
