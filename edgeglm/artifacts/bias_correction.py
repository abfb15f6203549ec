"""Biases of static INT8 files, corrected: rounding shifts the mean of a channel, and a bias takes that back.

Rounded weights are a little too large or too small in sum, and ranges cut off one end: each channel of a layer's
output lies above or below that of the float network on average; later layers add to it. Layer by layer from the front,
the difference of the means on calibration samples goes into the bias, which costs the board neither bytes nor time.
What is here holds for every format.

Source: Nagel et al. 2019, arXiv:1906.04721, section 4.2 and appendix D (empirical bias correction).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from edgeglm.data.splits import Arrays

    Run = Sequence[np.ndarray]  # what the outputs are in it

SAMPLES = 96  # calibration samples: two in three correct, the others judge
FEWEST = 8  # runs that correct, or judge
_ROUNDING = 1e-12  # of the mean square: a smaller variance is that of a constant
_Z = 1.645  # the normal distribution's 95 % point: beyond it a rise of the error is no chance


def divide(rows: Sequence[Arrays]) -> tuple[list[Arrays], list[Arrays]]:
    """Return the runs that correct, and those that judge: none of either where there are fewer than 24 in all.

    A trial before the run has no more than a few.
    """
    judges = list(rows[2::3])
    if len(judges) < FEWEST:
        return [], []
    return [row for number, row in enumerate(rows) if number % 3 != 2], judges


def farther(wanted: Iterable[Run], old: Iterable[Run], new: Iterable[Run]) -> bool:
    """Return whether outputs went away from what they should be, on average over the runs, by more than chance.

    The error of a run is the squared difference as a share of the output's variance over all runs, summed over the
    outputs. Of a classifier's answers one sample in doubt outweighs all that are certain, hence the doubt.

    Args:
        wanted: The float file's outputs, run by run; no more than one run is held.
        old: Those of the quantized file as it was.
        new: Those of the one that may take its place.

    Returns:
        True as well where that cannot be told: no output has as many values in all runs of all three, as where a
        network sorts out boxes itself.
    """
    rows = [
        [_compared(*values) for values in zip(*run, strict=True)] for run in zip(wanted, old, new, strict=True)
    ]  # of runs; of outputs
    told = [np.array(output) for output in zip(*rows, strict=True) if None not in output]  # (N, 4) each
    if not told:
        return True
    shares = np.zeros((len(rows), 2))
    for output in told:
        mean, square = output[:, 2:].mean(axis=0)
        variance = square - mean**2
        shares += output[:, :2] / (variance if variance > _ROUNDING * square else 1.0)
    more = shares[:, 1] - shares[:, 0]
    return not bool(more.mean() <= _Z * more.std() / np.sqrt(len(more)))  # NaN is farther too


def _compared(wanted: Any, old: Any, new: Any) -> tuple[float, ...] | None:
    """Return both mean squared errors, and the mean and mean square of what is wanted."""
    if not (np.shape(wanted) == np.shape(old) == np.shape(new)) or np.asarray(wanted).dtype.kind not in "fiub":
        return None
    a, b, c = (np.asarray(values, np.float64) for values in (wanted, old, new))
    return tuple(float(np.mean(values)) for values in ((a - b) ** 2, (a - c) ** 2, a, a**2))


def moved(bias: np.ndarray, scale: np.ndarray, more: np.ndarray) -> np.ndarray:
    """Return a bias, (C,) int32, with real numbers (C,) added to what it stands for.

    Args:
        bias: In steps of ``scale``.
        scale: Of each channel, or one for all.
        more: In the unit of the layer's outputs.
    """
    limits = np.iinfo(np.int32)
    steps = np.rint(more / scale)
    return np.asarray(np.clip(bias.astype(np.float64) + steps, limits.min, limits.max).astype(np.int32))
