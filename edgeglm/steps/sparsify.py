"""Sparsity: single weights become zero; layers keep their shape, and only few runtimes gain from it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

from msgspec import Meta

from edgeglm.patterns import broken_patterns
from edgeglm.steps._base import Context, StepConfig

if TYPE_CHECKING:
    from edgeglm.boards import Board
    from edgeglm.model import Model


class Sparsify(StepConfig, tag="sparsify", frozen=True, kw_only=True):
    """Set the smallest weights to zero; the training steps that follow hold them there."""

    needs_training: ClassVar[str] = "what the zeros cost is learnt back by a step that holds them"

    pattern: Literal["2:4", "unstructured"]  # two of each four inputs, as sparse tensor cores take it; or any
    ratio: Annotated[float, Meta(gt=0, lt=1)] | None = None  # share of the weights at zero; of unstructured alone
    scope: Literal["local", "global"] = "local"  # the ratio holds in each layer, or over all of them
    for_size: bool = False  # wanted though no runtime of the target gets faster: the file compresses better
    ignore: list[str] = []  # layer names, or "re:" patterns

    @property
    def follows_target(self) -> bool:
        """What is said of it is about the board."""
        return True

    def problems(self) -> list[tuple[str, str, str]]:
        """Return what is wrong between the settings: a ratio for what has none, or none for what needs one."""
        if self.pattern == "2:4" and self.ratio is not None:
            return [("ratio", "2:4 sets half of the weights to zero: it has no other ratio", "leave out `ratio`")]
        if self.pattern == "unstructured" and self.ratio is None:
            return [("ratio", "nothing says how many weights go", "give a share: `ratio: 0.8`")]
        return broken_patterns("ignore", self.ignore)

    def gains(self, board: Board) -> str:
        """Return what skips the zeros on a board, and when; empty: nothing does."""
        return board.sparse_runtime if self.pattern == "2:4" else ""

    def apply(self, model: Model, ctx: Context) -> Model:
        """Return a new model; the one passed in is left as it was."""
        from edgeglm.boards import BOARDS
        from edgeglm.nn.sparsity import set_to_zero  # heavy: only when it runs

        sparse = set_to_zero(model, self, ctx)
        gains = self.gains(BOARDS[ctx.target])
        if self.for_size or not gains:  # else the run has said already what gains (edgeglm/checks/omissions.py)
            ctx.warnings.append(
                f"zeros in the weights make this network no faster on {ctx.target}: "
                + (gains or "none of the runtimes there skips them")
                + "; the file gets smaller by compression alone. `prune` takes whole channels out: every runtime gains"
            )
        return sparse
