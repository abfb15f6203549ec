"""`source: images`: a folder per class, or a folder per split and in it a folder per class."""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from edgeglm.sources.npz import Fractions


class ImagesData(
    msgspec.Struct, tag="images", tag_field="source", frozen=True, kw_only=True, forbid_unknown_fields=True
):
    """Images as uint8 (height, width, channels); class order is the recipe's labels, else alphabetical."""

    path: str  # the folder, relative to the recipe
    mode: Literal["rgb", "grey"] = "rgb"  # channels of what is read: 3 or 1
    fractions: Fractions = Fractions()  # used when `path` has no folder `train`
    eval_splits: Annotated[list[str], Meta(min_length=1)] = msgspec.field(
        default_factory=lambda: ["eval"]
    )  # the first decides; all are reported and gated
