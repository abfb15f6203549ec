from __future__ import annotations

import numpy as np

from edgeglm.tasks.onset import Noticed, noticed


def test_a_fault_is_noticed_by_the_first_alarm_after_it_began() -> None:
    # run 7 has a fault from its third sample on; that of run 3 is never noticed; run 5 stays healthy
    runs = np.repeat([7, 3, 5], [6, 3, 2])
    anomalous = np.array([0, 0, 1, 1, 1, 1, 0, 1, 1, 0, 0], bool)
    alarms = np.array([1, 0, 0, 1, 0, 1, 1, 0, 0, 1, 0], bool)
    assert noticed(alarms, anomalous, runs) == [Noticed(3, None, 0), Noticed(7, 1, 2)]


def test_runs_may_lie_among_each_other_as_long_as_time_goes_on() -> None:
    runs = np.array([0, 1, 0, 1, 0, 1])
    anomalous = np.array([0, 0, 1, 0, 1, 1], bool)
    assert noticed(anomalous, anomalous, runs) == [Noticed(0, 0, 1), Noticed(1, 0, 0)]
