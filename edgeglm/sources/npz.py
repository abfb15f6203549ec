"""`source: npz`: arrays in one NumPy archive."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, ClassVar

import msgspec
from msgspec import Meta

from edgeglm.sources._base import DataSource
from edgeglm.sources.image_folders import EVAL_NAMES

if TYPE_CHECKING:
    from collections.abc import Container, Sequence

    from edgeglm_agent.processing import Preprocess

    from edgeglm.data.splits import Data
    from edgeglm.sources.entry import Entries
    from edgeglm.tasks import TaskConfig


class Fractions(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How one set is divided, by seed; the shares are of samples, or of groups."""

    train: Annotated[float, Meta(gt=0, lt=1)] = 0.7  # to train on
    calibration: Annotated[float, Meta(gt=0, lt=1)] = 0.1  # to measure static ranges on
    eval: Annotated[float, Meta(gt=0, lt=1)] = 0.2  # to judge by


def has_own_splits(inputs: str, names: Container[str]) -> bool:
    """Tell whether an archive has arrays for splits, such as ``x_train``, and no ``x`` that is to be divided."""
    return f"{inputs}_train" in names or (inputs not in names and bool(usual_splits(inputs, names)))


def usual_splits(inputs: str, names: Container[str]) -> list[str]:
    """Return the splits of a usual name that an archive may be evaluated on, such as ``val`` for ``x_val``."""
    return [name for name in EVAL_NAMES if f"{inputs}_{name}" in names]


class NpzData(DataSource, tag="npz", frozen=True, kw_only=True):
    """Arrays `<inputs>_<split>` and `<targets>_<split>`; or `<inputs>` and `<targets>`, divided by `fractions`."""

    has_columns: ClassVar[bool] = True

    path: str  # the archive, relative to the recipe
    inputs: str | list[str] = "x"  # name of the array, or of several: then model inputs of those names
    targets: str | None = "y"  # name of the array of class numbers, values or whatever the task takes; None: none
    group: str | None = None  # array of group ids: a group never lies in two splits (needs `fractions`)
    fractions: Fractions = Fractions()  # used when the archive has no `<inputs>_train`
    eval_splits: Annotated[list[str], Meta(min_length=1)] = msgspec.field(
        default_factory=lambda: ["eval"]
    )  # the first decides; all are reported and gated

    def load(
        self,
        entries: Entries,
        *,
        preprocess: Preprocess,
        task: TaskConfig,
        labels: tuple[str, ...],
        seed: int,
        slices: Sequence[str] = (),
    ) -> Data:
        """Read the arrays, and divide them where the archive does not."""
        from edgeglm.sources.npz_arrays import load_npz  # heavy: only when it runs

        return load_npz(self, entries.folder, preprocess=preprocess, task=task, labels=labels, seed=seed, slices=slices)
