"""The part of the training data that chooses the best weights; evaluation data never do."""

from __future__ import annotations

import numpy as np

from edgeglm.errors import StepError


def hold_out(
    targets: np.ndarray | None, samples: int, fraction: float, *, seed: int, where: str
) -> tuple[np.ndarray, np.ndarray]:
    """Return the rows to learn from and the rows to validate on, both ascending.

    Each class gives the same share, rounded; a class of one sample gives none.

    Args:
        targets: Class numbers (N,); None: the rows are drawn without regard to class.
        samples: N.
        fraction: Share to hold out, above 0 and below 1.
        seed: Decides which.
        where: For errors.

    Raises:
        StepError: ``training-data-too-small``: there are fewer than 4 samples.
    """
    if samples < 4:
        raise StepError(
            f"{samples} training samples are too few to learn from and to validate on",
            where=where,
            code="training-data-too-small",
            hint="give the split `train` more samples",
        )
    shuffled = np.random.default_rng([seed, 0x5EED]).permutation(samples)
    classes = np.zeros(samples, np.int64) if targets is None else targets
    held = [
        members[: min(round(len(members) * fraction), len(members) - 1)]
        for number in np.unique(classes)
        for members in [shuffled[classes[shuffled] == number]]
    ]
    validation = np.sort(np.concatenate(held))
    if len(validation) == 0:
        validation = np.sort(shuffled[:1])
    return np.setdiff1d(np.arange(samples), validation), validation
