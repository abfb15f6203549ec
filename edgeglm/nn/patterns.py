"""Which layers of a network a recipe means by a name or a pattern."""

from __future__ import annotations

from typing import TYPE_CHECKING

from edgeglm.errors import StepError
from edgeglm.patterns import matching

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
        StepError: A pattern names no layer that holds weights, or is no regular expression.
    """
    names = [name for name, layer in module.named_modules() if name and any(True for _ in layer.parameters())]
    found: set[str] = set()
    for index, pattern in enumerate(patterns):
        hits = matching(pattern, names, error=StepError, where=f"{where}[{index}]", kind="layer that holds weights")
        found.update(name for name in names for hit in hits if name == hit or name.startswith(f"{hit}."))
    return found
