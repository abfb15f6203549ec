"""Which layers a recipe means by a name or a pattern."""

from __future__ import annotations

import difflib
import re
from typing import TYPE_CHECKING

from edgeglm.errors import StepError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import nn


def match_layers(module: nn.Module, patterns: Sequence[str], *, where: str) -> set[str]:
    """Return the names of all layers that the patterns name, with the layers inside them.

    Args:
        module: The network.
        patterns: Names of layers, or ``re:`` and a regular expression that has to match a whole name.
        where: For errors.

    Raises:
        StepError: ``pattern-matches-nothing``: a pattern names no layer that holds weights.
    """
    names = [name for name, layer in module.named_modules() if name and any(True for _ in layer.parameters())]
    found: set[str] = set()
    for index, pattern in enumerate(patterns):
        if pattern.startswith("re:"):
            hits = [name for name in names if re.fullmatch(pattern[3:], name)]
        else:
            hits = [name for name in names if name == pattern]
        if not hits:
            raise StepError(
                f"`{pattern}` matches no layer that holds weights",
                where=f"{where}[{index}]",
                code="pattern-matches-nothing",
                hint=_suggest(pattern, names),
            )
        found.update(name for name in names for hit in hits if name == hit or name.startswith(f"{hit}."))
    return found


def _suggest(pattern: str, names: list[str]) -> str:
    text = pattern.removeprefix("re:")
    close = difflib.get_close_matches(text, names, n=3, cutoff=0.5)
    close = close or [name for name in names if text.strip(".*") and text.strip(".*") in name][:3]
    if close:
        return f"did you mean {' or '.join(f'`{name}`' for name in close)}? (`re:` patterns match whole names)"
    return f"the layers are {', '.join(names[:12])}{', ...' if len(names) > 12 else ''}"
