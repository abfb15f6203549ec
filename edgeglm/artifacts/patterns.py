"""Which operators of a file a recipe means by the names of layers."""

from __future__ import annotations

from typing import TYPE_CHECKING

from edgeglm.errors import ExportError
from edgeglm.patterns import matching

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence


OPERATOR = "op:"


def with_parents(layer: str) -> list[str]:
    """Return a layer's name and those of the layers that hold it: "a.b.c" gives "a", "a.b", "a.b.c"."""
    parts = layer.split(".")
    return [".".join(parts[:end]) for end in range(1, len(parts) + 1)]


def select(patterns: Sequence[str], names: Mapping[str, Iterable[str]], *, where: str = "") -> set[str]:
    """Return the keys of which some name matches some pattern.

    A name matches an exact pattern when it equals it, and a "re:" pattern when the whole name matches, as
    ``re.fullmatch`` does. A layer that holds others stands for all of them. An "op:" pattern is the key itself: one
    operator of the file, and nothing that its layer holds besides.

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
        if pattern.startswith(OPERATOR) and pattern.removeprefix(OPERATOR) in names:
            chosen.add(pattern.removeprefix(OPERATOR))
            continue
        matched = set(matching(pattern, known, error=ExportError, where=where))
        chosen |= {key for key, own in candidates.items() if matched.intersection(own)}
    return chosen
