"""When a fault is noticed: how long after it began, and how long before the end of the run."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterator


@dataclass(frozen=True)
class Noticed:
    """The first alarm of one run with a fault."""

    run: int
    delay: int | None  # samples from the first anomalous one to the first alarm at or after it; None: no alarm
    lead: int  # samples from that alarm to the end of the run, which is the failure; 0 without an alarm


def noticed(alarms: np.ndarray, anomalous: np.ndarray, runs: np.ndarray) -> list[Noticed]:
    """Return when the fault of each run was noticed; runs without one are left out.

    An alarm before the first anomalous sample is a false one and notices nothing.

    Args:
        alarms: (N,) bool, in the order of time within each run.
        anomalous: (N,) bool; from its first True on, a run is on the way to its failure.
        runs: (N,) which run a sample is of.
    """
    return list(_noticed(alarms, anomalous, runs))


def _noticed(alarms: np.ndarray, anomalous: np.ndarray, runs: np.ndarray) -> Iterator[Noticed]:
    for run in np.unique(runs).tolist():
        own = runs == run
        if not anomalous[own].any():
            continue
        began = int(np.argmax(anomalous[own]))
        later = alarms[own][began:]
        if later.any():
            delay = int(np.argmax(later))
            yield Noticed(run, delay, len(later) - delay - 1)
        else:
            yield Noticed(run, None, 0)
