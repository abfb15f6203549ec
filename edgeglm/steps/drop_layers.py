"""Dropping whole blocks of a deep network: depth costs latency that narrow layers do not give back."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

from msgspec import Meta

from edgeglm.patterns import broken_patterns
from edgeglm.steps._base import Context, StepConfig

if TYPE_CHECKING:
    from edgeglm.model import Model


class DropLayers(StepConfig, tag="drop-layers", frozen=True, kw_only=True):
    """Leave out transformer layers or residual blocks: what goes into one comes out of it unchanged."""

    needs_training: ClassVar[str] = "a network without some of its layers has to learn again"

    keep: Annotated[int, Meta(ge=0)] | None = None  # how many of the blocks that can go stay, all stacks together
    drop: list[str] = []  # or these blocks go: names, or "re:" patterns
    by: Literal["sensitivity", "even"] = "sensitivity"  # for keep: measured on training data, or evenly spread
    samples: Annotated[int, Meta(ge=1)] = 256  # held-out training samples that sensitivity is measured on
    ignore: list[str] = []  # blocks that stay: names, or "re:" patterns

    def problems(self) -> list[tuple[str, str, str]]:
        """Return what is wrong between the settings: exactly one of ``keep`` and ``drop``."""
        if self.keep is None and not self.drop:
            hint = "give `keep: 3` (how many blocks stay) or `drop: [encoder.layer.1]` (which go)"
            return [("keep", "nothing says which blocks go", hint)]
        if self.keep is not None and self.drop:
            return [("drop", "`keep` and `drop` are both given", "keep one of them")]
        return broken_patterns("ignore", self.ignore) + broken_patterns("drop", self.drop)

    def apply(self, model: Model, ctx: Context) -> Model:
        """Return a new model; the one passed in is left as it was."""
        from edgeglm.nn.depth import drop_layers  # heavy: only when it runs

        return drop_layers(model, self, ctx)
