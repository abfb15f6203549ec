"""`source: images`: a folder per class, or a folder per split and in it a folder per class."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal

import msgspec
from msgspec import Meta

from edgeglm.sources._base import DataSource
from edgeglm.sources.npz import Fractions

if TYPE_CHECKING:
    from edgeglm_agent.processing import Preprocess

    from edgeglm.data.splits import Data
    from edgeglm.sources.entry import Entries
    from edgeglm.tasks import TaskConfig


class ImagesData(DataSource, tag="images", frozen=True, kw_only=True):
    """Images as uint8 (height, width, channels); class order is the recipe's labels, else alphabetical."""

    path: str  # the folder, relative to the recipe
    mode: Literal["rgb", "grey"] = "rgb"  # channels of what is read: 3 or 1
    fractions: Fractions = Fractions()  # used when `path` has no folder `train`
    eval_splits: Annotated[list[str], Meta(min_length=1)] = msgspec.field(
        default_factory=lambda: ["eval"]
    )  # the first decides; all are reported and gated

    def load(
        self, entries: Entries, *, preprocess: Preprocess, task: TaskConfig, labels: tuple[str, ...], seed: int
    ) -> Data:
        """Read the folders; the images themselves as they are needed, where they are many."""
        from edgeglm.sources.image_files import load_images  # heavy: only when it runs

        return load_images(self, entries.folder, preprocess=preprocess, task=task, labels=labels, seed=seed)
