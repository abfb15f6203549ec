"""`source: npz`: arrays in one NumPy archive."""

from __future__ import annotations

from typing import Annotated

import msgspec
from msgspec import Meta


class Fractions(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How one set is divided, by seed; the shares are of samples, or of groups."""

    train: Annotated[float, Meta(gt=0, lt=1)] = 0.7  # to train on
    calibration: Annotated[float, Meta(gt=0, lt=1)] = 0.1  # to measure static ranges on
    eval: Annotated[float, Meta(gt=0, lt=1)] = 0.2  # to judge by


class NpzData(msgspec.Struct, tag="npz", tag_field="source", frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Arrays `<inputs>_<split>` and `<targets>_<split>`; or `<inputs>` and `<targets>`, divided by `fractions`."""

    path: str  # the archive, relative to the recipe
    inputs: str | list[str] = "x"  # name of the array, or of several: then model inputs of those names
    targets: str = "y"  # name of the array of class numbers
    group: str | None = None  # array of group ids: a group never lies in two splits (needs `fractions`)
    fractions: Fractions = Fractions()  # used when the archive has no `<inputs>_train`
    eval_splits: Annotated[list[str], Meta(min_length=1)] = msgspec.field(
        default_factory=lambda: ["eval"]
    )  # the first decides; all are reported and gated
