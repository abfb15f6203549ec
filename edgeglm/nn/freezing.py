"""Layers that training leaves as they are."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

from edgeglm.errors import StepError
from edgeglm.nn.patterns import match_layers

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from torch import nn


@contextmanager
def frozen(module: nn.Module, patterns: Sequence[str], *, where: str) -> Iterator[list[nn.Module]]:
    """Take gradients off these layers and what is inside them, and give them back afterwards.

    Args:
        module: The network; one whose weights are all frozen (it came for inference) is made trainable for good.
        patterns: Names of layers, or ``re:`` and a regular expression that has to match a whole name.
        where: For errors.

    Yields:
        The layers, which belong in eval mode while the others train: their statistics stay, too.

    Raises:
        StepError: A pattern matches nothing; ``training-nothing-to-learn``: nothing is left to train.
    """
    if not any(parameter.requires_grad for parameter in module.parameters()):
        module.requires_grad_(True)
    if next(module.parameters(), None) is None:
        raise StepError(
            "the network has no weights that could learn",
            where=where,
            code="training-nothing-to-learn",
            hint="remove this step",
        )
    names = match_layers(module, patterns, where=f"{where}.freeze")
    layers = [module.get_submodule(name) for name in sorted(names)]
    held = [parameter for layer in layers for parameter in layer.parameters() if parameter.requires_grad]
    for parameter in held:
        parameter.requires_grad_(False)
    if not any(parameter.requires_grad for parameter in module.parameters()):
        raise StepError(
            "every layer is frozen: there is nothing to learn",
            where=f"{where}.freeze",
            code="training-nothing-to-learn",
            hint="freeze less",
        )
    try:
        yield layers
    finally:
        for parameter in held:
            parameter.requires_grad_(True)
