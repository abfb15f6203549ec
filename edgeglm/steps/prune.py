"""Structured pruning: whole channels go, so the network really gets smaller."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Annotated, Literal

from msgspec import Meta

from edgeglm.steps._base import Context, StepConfig

if TYPE_CHECKING:
    from edgeglm.model import Model


class Prune(StepConfig, tag="prune", frozen=True, kw_only=True):
    """Remove the least important channels, following every layer that depends on them."""

    channel_ratio: Annotated[float, Meta(gt=0, lt=1)] | None = None  # share of channels removed
    macs_ratio: Annotated[float, Meta(gt=0, lt=1)] | None = None  # share of MACs left: prune until at most this
    params_ratio: Annotated[float, Meta(gt=0, lt=1)] | None = None  # share of parameters left
    method: Literal["magnitude", "taylor"] = "magnitude"  # taylor: by gradient times weight
    scope: Literal["local", "global"] = "local"  # the ratio holds in each layer, or over all of them
    iterations: Annotated[int, Meta(ge=1, le=100)] = 1  # the ratio is reached in this many rounds
    round_to: Annotated[int, Meta(ge=1)] = 8  # channel counts stay multiples of this
    max_ratio: Annotated[float, Meta(gt=0, lt=1)] = 0.9  # no layer loses more than this
    ignore: list[str] = []  # layer names, or "re:" patterns
    taylor_batches: Annotated[int, Meta(ge=1)] = 8  # batches of training data that gradients are taken on

    def problems(self) -> list[tuple[str, str, str]]:
        """Return what is wrong between the settings: exactly one target, and none beyond ``max_ratio``."""
        targets = {
            name: value
            for name in ("channel_ratio", "macs_ratio", "params_ratio")
            if (value := getattr(self, name)) is not None
        }
        found = []
        if not targets:
            found.append(
                (
                    "channel_ratio",
                    "no target is given",
                    "give one of `channel_ratio: 0.5` (share of channels removed), "
                    "`macs_ratio: 0.5` or `params_ratio: 0.5` (shares left)",
                )
            )
        if len(targets) > 1:
            names = " and ".join(f"`{name}`" for name in targets)
            found.append((list(targets)[1], f"{names} are both given", "keep one of them; the others follow from it"))
        if self.channel_ratio is not None and self.channel_ratio > self.max_ratio:
            found.append(
                (
                    "channel_ratio",
                    f"{self.channel_ratio} is above max_ratio, which is {self.max_ratio}",
                    "lower `channel_ratio`, or raise `max_ratio`",
                )
            )
        for pattern in self.ignore:
            if pattern.startswith("re:"):
                try:
                    re.compile(pattern[3:])
                except re.error as error:
                    found.append(("ignore", f"`{pattern}` is no regular expression: {error}", "see Python's re module"))
        return found

    def apply(self, model: Model, ctx: Context) -> Model:
        """Return a new model; the one passed in is left as it was."""
        from edgeglm.nn.pruning import prune_channels  # heavy: only when it runs

        return prune_channels(model, self, ctx)
