"""Layer patterns of `ignore`: exact names, or "re:" and a regular expression that a whole name must match."""

from __future__ import annotations

import difflib
import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from edgeglm.errors import EdgeglmError

_SHOWN = 12  # layers that a hint lists when none is near


def broken_patterns(key: str, patterns: Sequence[str]) -> list[tuple[str, str, str]]:
    """Return ``(key, message, hint)`` of each that is no regular expression, as ``StepConfig.problems`` does."""
    found = []
    for pattern in patterns:
        if pattern.startswith("re:"):
            try:
                re.compile(pattern[3:])
            except re.error as error:
                found.append((key, f"`{pattern}` is no regular expression: {error}", "see Python's re module"))
    return found


def matching(
    pattern: str, names: Sequence[str], *, error: type[EdgeglmError], where: str = "", kind: str = "layer"
) -> list[str]:
    """Return the names that a pattern matches, at least one, in their order.

    Args:
        pattern: A name, or "re:" and a regular expression, matched as ``re.fullmatch`` does.
        names: Of the layers that could be meant.
        error: What is raised.
        where: For errors.
        kind: What the names are of, for errors.

    Raises:
        EdgeglmError: ``error``, with the code ``pattern-invalid`` or ``pattern-matches-nothing``.
    """
    if pattern.startswith("re:"):
        try:
            expression = re.compile(pattern[3:])
        except re.error as fault:
            raise error(
                f"`{pattern}` is not a regular expression: {fault}",
                where=where,
                hint="after `re:` comes a regular expression as Python's `re` reads it; `.` matches any character",
                code="pattern-invalid",
            ) from fault
        hits = [name for name in names if expression.fullmatch(name)]
    else:
        hits = [name for name in names if name == pattern]
    if not hits:
        raise error(
            f"the pattern `{pattern}` matches no {kind}",
            where=where,
            hint=nearest_names(pattern, names),
            code="pattern-matches-nothing",
        )
    return hits


def nearest_names(pattern: str, names: Sequence[str]) -> str:
    """Return the hint for a name or pattern that no layer has: those that are spelt alike, or what there is."""
    plain = re.sub(r"[^\w.]|\.(?=[*+?])", "", pattern.removeprefix("re:"))
    close = difflib.get_close_matches(plain, names, n=3, cutoff=0.5)
    close = close or [name for name in names if plain and plain in name][:3]
    if close:
        tail = " (`re:` patterns match whole names)" if pattern.startswith("re:") else ""
        return f"did you mean {', '.join(f'`{name}`' for name in close)}?{tail}"
    more = " and more" if len(names) > _SHOWN else ""
    return f"the layers are {', '.join(f'`{name}`' for name in names[:_SHOWN])}{more}"
