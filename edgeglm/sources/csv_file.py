"""`source: csv`: tables, and time series cut into windows."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

import msgspec
from msgspec import Meta

from edgeglm.sources._base import DataSource
from edgeglm.sources.npz import Fractions

if TYPE_CHECKING:
    from collections.abc import Sequence

    from edgeglm_agent.processing import Preprocess

    from edgeglm.data.splits import Data
    from edgeglm.sources.entry import Entries
    from edgeglm.tasks import TaskConfig

SUFFIXES = (".csv", ".tsv", ".txt")
Names = Annotated[list[str], Meta(min_length=1)]


class CsvData(DataSource, tag="csv", frozen=True, kw_only=True):
    """Rows of numbers (features,) float32, or with `window` series (window, features), from UTF-8 files."""

    has_columns: ClassVar[bool] = True

    path: str  # one file, divided by `fractions`, or a folder with train.csv, eval.csv, ...
    delimiter: Annotated[str, Meta(min_length=1, max_length=1)] = ","  # between cells; '"' stands around what holds one
    header: bool = True  # whether the first line names the columns; without it they are called 1, 2, ...
    features: Names | None = None  # columns that the model takes, in this order; None: all that have no other purpose
    ignore: list[str] = []  # columns that are no features
    categorical: dict[str, Names] = {}  # column -> its categories, which become 0, 1, ... in this order
    target: str | Names | None = None  # column of the class (a name or a number) or value; several: values; None: none
    missing: Literal["refuse", "mean", "zero", "drop-row"] = "refuse"  # empty cells; mean: that of the training rows
    window: Annotated[int, Meta(ge=1)] | None = None  # rows of one sample; None: each row is a sample
    stride: Annotated[int, Meta(ge=1)] = 1  # rows from the start of one window to that of the next
    horizon: Annotated[int, Meta(ge=0)] = 0  # targets are the next rows' values, this many; 0: that of the last row
    group: str | None = None  # column of the series, machine or person: windows are cut within one
    time: str | None = None  # column that rows are ordered by within a group, numbers or ISO 8601; None: as they stand
    split: Literal["rows", "group", "time"] | None = None  # None: group where there is one, else time for windows
    gap: Annotated[int, Meta(ge=0)] = 0  # rows left out between splits by time
    fractions: Fractions = Fractions()  # used when `path` is one file
    eval_splits: Annotated[list[str], Meta(min_length=1)] = msgspec.field(
        default_factory=lambda: ["eval"]
    )  # the first decides; all are reported and gated

    @property
    def target_names(self) -> list[str]:
        """The columns of targets, however they were written."""
        return [self.target] if isinstance(self.target, str) else list(self.target or [])

    @property
    def divided_by(self) -> Literal["rows", "group", "time"]:
        """What one file is divided by, with the default filled in."""
        return self.split or ("group" if self.group is not None else "time" if self.window is not None else "rows")

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
        """Read the files, divide the one where there are none for splits, and cut windows."""
        from edgeglm.sources.csv_splits import load_csv  # heavy: only when it runs

        return load_csv(self, entries.folder, preprocess=preprocess, task=task, labels=labels, seed=seed, slices=slices)
