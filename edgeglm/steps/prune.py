"""Structured pruning: whole channels go, so the network really gets smaller."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

from msgspec import Meta

from edgeglm.steps._base import Context, StepConfig

if TYPE_CHECKING:
    from edgeglm.model import Model


class Prune(StepConfig, tag="prune", frozen=True, kw_only=True):
    """Remove the least important channels, following every layer that depends on them."""

    changes_structure: ClassVar[bool] = True

    channel_ratio: Annotated[float, Meta(gt=0, lt=1)] | None = None  # share of channels removed
    macs_ratio: Annotated[float, Meta(gt=0, lt=1)] | None = None  # share of MACs left: prune until at most this
    params_ratio: Annotated[float, Meta(gt=0, lt=1)] | None = None  # share of parameters left
    method: Literal["magnitude", "taylor"] = "magnitude"
    scope: Literal["local", "global"] = "local"  # the ratio holds in each layer, or over all of them
    iterations: Annotated[int, Meta(ge=1, le=100)] = 1  # the ratio is reached in this many rounds
    round_to: Annotated[int, Meta(ge=1)] = 8  # channel counts stay multiples of this
    max_ratio: Annotated[float, Meta(gt=0, lt=1)] = 0.9  # no layer loses more than this
    ignore: list[str] = []  # layer names, or "re:" patterns
    taylor_batches: Annotated[int, Meta(ge=1)] = 8  # batches of training data that gradients are taken on

    def apply(self, model: Model, ctx: Context) -> Model:
        """Return a new model; the one passed in is left as it was."""
        from edgeglm.nn.pruning import prune_channels  # heavy: only when it runs

        return prune_channels(model, self, ctx)
