"""Dividing one set of samples into splits, by seed, so that nothing equal or related lies in two of them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from edgeglm.errors import DataError

if TYPE_CHECKING:
    from collections.abc import Hashable, Sequence

    from edgeglm.sources.npz import Fractions

MOST_CALIBRATION_SAMPLES = 512  # taken from train where calibration has no samples of its own
_CALIBRATION_SHARE = 0.2


def divide(
    fractions: Fractions,
    seed: int,
    *,
    eval_split: str,
    units: Sequence[Hashable],
    targets: np.ndarray | None,
    where: str,
) -> dict[str, np.ndarray]:
    """Return split name -> sorted indices; samples of one unit stay together.

    Args:
        fractions: Shares of train, calibration and eval; what they leave of 1 is used nowhere.
        seed: Decides which unit goes where.
        eval_split: What the evaluation split is called.
        units: What each sample belongs to: its group, or the digest of its content, so that copies stay together.
        targets: (N,) class numbers to divide each class alike; None: all units are shuffled together.
        where: Of the data, for errors.

    Raises:
        DataError: A split would be empty.
    """
    members: dict[Hashable, list[int]] = {}
    for index, unit in enumerate(units):
        members.setdefault(unit, []).append(index)
    strata: dict[int, list[list[int]]] = {}
    for indices in members.values():
        strata.setdefault(0 if targets is None else int(targets[indices[0]]), []).append(indices)
    bounds = np.cumsum([fractions.eval, fractions.train, fractions.calibration])
    names = (eval_split, "train", "calibration")
    chosen: dict[str, list[int]] = {name: [] for name in names}
    rng = np.random.default_rng(seed)
    for stratum in sorted(strata):
        groups = strata[stratum]
        total, before = sum(map(len, groups)), 0
        for place in rng.permutation(len(groups)):
            indices = groups[place]
            middle = (before + len(indices) / 2) / total  # of this unit, on a line of all samples of the stratum
            before += len(indices)
            slot = int(np.searchsorted(bounds, middle, side="right"))
            if slot < len(names):
                chosen[names[slot]].extend(indices)
    empty = [name for name, indices in chosen.items() if not indices]
    if empty:
        raise DataError(
            f"{len(units)} samples are too few to divide: {', '.join(empty)} would be empty; what is equal or of one "
            f"group stays together, and so there are {len(members)} to divide",
            hint="add samples, change `data.fractions`, or give the splits as data of their own",
            where=where,
            code="data-too-few",
        )
    return {name: np.sort(np.array(indices, dtype=np.int64)) for name, indices in chosen.items()}


def calibration_part(count: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Return sorted indices of (train, calibration) where calibration is taken from ``count`` training samples."""
    size = min(MOST_CALIBRATION_SAMPLES, int(count * _CALIBRATION_SHARE))
    order = np.random.default_rng(seed).permutation(count)
    return np.sort(order[size:]), np.sort(order[:size])
