"""How much a network forgets at random while it trains."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

from torch import nn
from torch.nn.modules.dropout import _DropoutNd

from edgeglm.errors import StepError

if TYPE_CHECKING:
    from collections.abc import Iterator


@contextmanager
def dropout(module: nn.Module, share: float | None, *, where: str) -> Iterator[None]:
    """Set the share that every dropout of a network takes, and give it back what it had.

    Args:
        module: The network. Dropout layers are meant, and the dropout of LSTM, GRU and ``nn.MultiheadAttention``.
        share: 0 to below 1 (Srivastava et al. 2014, section 4: 1 - p); None leaves every one as it is.
        where: For errors.

    Raises:
        StepError: ``training-no-dropout``: there is none to set.
    """
    if share is None:
        yield
        return
    held = [(layer, name, getattr(layer, name)) for layer in module.modules() if (name := _named(layer)) is not None]
    if not held:
        raise StepError(
            "the network has no dropout whose share could be set",
            where=f"{where}.dropout",
            code="training-no-dropout",
            hint="leave `dropout` out",
        )
    for layer, name, _ in held:
        setattr(layer, name, share)
    try:
        yield
    finally:
        for layer, name, before in held:
            setattr(layer, name, before)


def _named(layer: nn.Module) -> str | None:
    """Return the attribute that holds a layer's share of dropout."""
    if isinstance(layer, _DropoutNd):
        return "p"
    if isinstance(layer, nn.MultiheadAttention) or (isinstance(layer, nn.RNNBase) and layer.num_layers > 1):
        return "dropout"
    return None
