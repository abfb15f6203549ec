"""`source: text`: texts from files, one a line."""

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


SUFFIXES = (".txt", ".tsv")


class TextData(DataSource, tag="text", frozen=True, kw_only=True):
    """UTF-8 texts, one a line (.txt), or with a target after a tab (.tsv); `preprocess` begins with `tokenize`."""

    has_columns: ClassVar[bool] = True

    path: str  # one file, divided by `fractions`, or a folder with train.txt, eval.txt, ... (or .tsv)
    tsv: Literal["labels", "pairs"] = "labels"  # what .tsv files hold: text, label; or text, text, score
    header: bool = False  # whether the first line of .tsv files names the columns: then there may be more
    text: str | Annotated[list[str], Meta(min_length=2, max_length=2)] = "text"  # name of its column; of pairs: two
    target: str = "label"  # name of the column of the class (a name or a number) or value; of pairs: of the score
    fractions: Fractions = Fractions()  # used when `path` is one file
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
        """Read the files, and divide the one where there are none for splits."""
        from edgeglm.sources.text_files import load_texts  # heavy: only when it runs

        return load_texts(
            self, entries.folder, preprocess=preprocess, task=task, labels=labels, seed=seed, slices=slices
        )
