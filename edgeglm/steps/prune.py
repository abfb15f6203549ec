"""Structured pruning: whole channels, heads and hidden units go, so the network really gets smaller."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, ClassVar, Literal, TypeAlias

from msgspec import Meta

from edgeglm.patterns import broken_patterns
from edgeglm.steps._base import Context, StepConfig

if TYPE_CHECKING:
    from edgeglm.model import Model

Kind: TypeAlias = Literal["channels", "ffn", "heads", "head-dim"]
Ratio: TypeAlias = Annotated[float, Meta(gt=0, lt=1)] | None
# kind of structure -> the key of its ratio
RATIO_KEYS = {"channels": "channel_ratio", "ffn": "ffn_ratio", "heads": "head_ratio", "head-dim": "head_dim_ratio"}


class Prune(StepConfig, tag="prune", frozen=True, kw_only=True):
    """Remove the least important channels, heads or hidden units, following every layer that depends on them."""

    needs_training: ClassVar[str] = "a pruned network has to learn again"

    channel_ratio: Ratio = None  # share of channels removed; of the hidden units of recurrent layers, too
    ffn_ratio: Ratio = None  # share of the inner features of a transformer's feed-forward layers removed
    head_ratio: Ratio = None  # share of attention heads removed
    head_dim_ratio: Ratio = None  # share of the columns of each attention head removed
    macs_ratio: Ratio = None  # share of MACs left: prune until at most this
    params_ratio: Ratio = None  # share of parameters left
    structures: list[Kind] | None = None  # what may go for macs_ratio or params_ratio; null: channels
    method: Literal["magnitude", "taylor"] = "magnitude"  # taylor: by gradient times weight
    scope: Literal["local", "global"] = "local"  # the ratio holds in each layer, or over all of them
    iterations: Annotated[int, Meta(ge=1, le=100)] = 1  # the ratio is reached in this many rounds
    round_to: Annotated[int, Meta(ge=1)] = 8  # channel counts stay multiples of this
    max_ratio: Annotated[float, Meta(gt=0, lt=1)] = 0.9  # no layer loses more than this
    ignore: list[str] = []  # layer names, or "re:" patterns
    taylor_batches: Annotated[int, Meta(ge=1)] = 8  # batches of training data that gradients are taken on

    @property
    def ratios(self) -> dict[str, float]:
        """What share of each kind of structure goes; empty when a target for the whole network is given."""
        return {kind: ratio for kind, key in RATIO_KEYS.items() if (ratio := getattr(self, key)) is not None}

    @property
    def kinds(self) -> tuple[str, ...]:
        """The kinds of structure that may go."""
        return tuple(self.ratios) or tuple(self.structures or ["channels"])

    def problems(self) -> list[tuple[str, str, str]]:
        """Return what is wrong between the settings: one kind of target, and none beyond ``max_ratio``."""
        found = []
        whole = [key for key in ("macs_ratio", "params_ratio") if getattr(self, key) is not None]
        by_kind = [RATIO_KEYS[kind] for kind in self.ratios]
        if not whole and not by_kind:
            found.append(
                (
                    "channel_ratio",
                    "no target is given",
                    "give one of `channel_ratio: 0.5` (share of channels removed), "
                    "`macs_ratio: 0.5` or `params_ratio: 0.5` (shares left), or for transformers `ffn_ratio` and "
                    "`head_ratio`",
                )
            )
        if whole and len(whole) + len(by_kind) > 1:
            keys = [*by_kind, *whole]
            names = " and ".join(f"`{name}`" for name in keys)
            found.append(
                (
                    keys[-1],
                    f"{names} are {'both' if len(keys) == 2 else 'all'} given",
                    "keep one of them; the others follow from it",
                )
            )
        if by_kind and self.structures is not None:
            found.append(
                (
                    "structures",
                    f"{', '.join(f'`{key}`' for key in by_kind)} say already what goes",
                    "leave out `structures`, or give `macs_ratio` or `params_ratio` instead",
                )
            )
        if self.structures is not None and (not self.structures or len(set(self.structures)) < len(self.structures)):
            found.append(("structures", "a list of different kinds is wanted", f"name some of {', '.join(RATIO_KEYS)}"))
        for kind, ratio in self.ratios.items():
            if ratio > self.max_ratio:
                key = RATIO_KEYS[kind]
                message = f"{ratio} is above max_ratio, which is {self.max_ratio}"
                found.append((key, message, f"lower `{key}`, or raise `max_ratio`"))
        return found + broken_patterns("ignore", self.ignore)

    def apply(self, model: Model, ctx: Context) -> Model:
        """Return a new model; the one passed in is left as it was."""
        from edgeglm.nn.pruning import prune_channels  # heavy: only when it runs

        return prune_channels(model, self, ctx)
