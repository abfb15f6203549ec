"""An anomaly is told with the signal around it where that is asked for, within bounds of bytes and rate."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from edgeglm_agent import ipc
from edgeglm_agent.inputs._base import Arrival
from edgeglm_agent.processing import Decision
from edgeglm_agent.settings.types import Anomaly
from edgeglm_agent.wire.telemetry import Event
from edgeglm_agent.worker.burst import PATIENCE_S, Bursts

WELL, OVER = Decision(exceeded=False, score=0.1, limit=0.5), Decision(exceeded=True, score=0.9, limit=0.5)


class Watch:
    def __init__(self, **settings: Any) -> None:
        self.now = 0.0
        self.told: list[ipc.Happened] = []
        self.bursts = Bursts(Anomaly(**settings), self.told.append, clock=lambda: self.now)

    def see(self, sample: Any, decision: Decision | None = WELL, after_s: float = 1.0) -> None:
        self.now += after_s
        self.bursts.add(Arrival(sample=sample, trace_id="00000000000000ab", name="line 7"), decision)


def window(number: int) -> np.ndarray:
    return np.full((4, 3), number, np.int16)


def signal_of(event: ipc.Happened) -> np.ndarray:
    assert event.burst is not None
    return np.frombuffer(event.burst.data, event.burst.dtype).reshape(event.burst.shape)


def test_the_samples_around_an_anomaly_travel_with_it() -> None:
    watch = Watch(before=3, after=2, rate_hz=50.0)
    reused = window(0)
    for number in range(10):
        reused[:] = number  # an input may use its memory again
        watch.see(reused)
    watch.see(window(10), OVER)
    assert watch.told == []
    for number in range(11, 15):
        watch.see(window(number))
    (event,) = watch.told
    assert (event.name, event.trace_id) == ("anomaly", "00000000000000ab")
    assert event.detail == {"score": 0.9, "limit": 0.5, "name": "line 7", "at": 3}
    assert signal_of(event)[:, 0, 0].tolist() == [7, 8, 9, 10, 11, 12]
    assert event.burst is not None
    assert (event.burst.dtype, event.burst.shape, event.burst.rate_hz) == ("int16", (6, 4, 3), 50.0)
    Event(event.name, "main", event.trace_id, event.at_ms, event.uptime_ms, True, "warning", event.detail, event.burst)


def test_the_error_of_each_channel_travels_with_an_anomaly_and_is_worked_out_for_no_other_sample() -> None:
    watch, asked = Watch(gap_s=60), []

    def channels() -> tuple[float, ...]:
        asked.append(watch.now)
        return (0.25, 3.0)

    for decision in (WELL, OVER, OVER, None):
        watch.now += 1.0
        watch.bursts.add(Arrival(sample=window(1), trace_id="00000000000000ab"), decision, channels)
    (event,) = watch.told
    assert event.channels == (0.25, 3.0)
    assert asked == [2.0], "one that goes on is not told, and costs nothing"


def test_without_being_asked_no_signal_leaves_the_board() -> None:
    watch = Watch()
    watch.see(window(1), OVER)
    (event,) = watch.told
    assert event.burst is None


def test_one_that_goes_on_is_told_seldom_and_counted() -> None:
    watch = Watch(gap_s=60)
    for _ in range(150):
        watch.see(window(1), OVER)
    assert [event.detail.get("untold") for event in watch.told] == [None, 59, 59]


def test_the_first_samples_may_be_the_anomaly() -> None:
    watch = Watch(before=5)
    watch.see(window(1), OVER)
    (event,) = watch.told
    assert signal_of(event).shape == (1, 4, 3)
    assert event.detail["at"] == 0


def test_what_does_not_come_is_not_waited_for_for_ever() -> None:
    watch = Watch(before=1, after=8)
    watch.see(window(1))
    watch.see(window(2), OVER)
    watch.see(window(3))
    watch.bursts.poll()
    assert watch.told == []
    watch.now += PATIENCE_S
    watch.bursts.poll()
    (event,) = watch.told
    assert signal_of(event)[:, 0, 0].tolist() == [1, 2, 3]
    other = Watch(after=8)
    other.see(window(1), OVER)
    other.bursts.close()
    assert len(other.told) == 1


@pytest.mark.parametrize(
    "sample",
    [
        pytest.param(np.zeros((480, 640, 3), np.uint8), id="too large"),
        pytest.param("a text", id="text"),
        pytest.param({"a": window(1), "b": window(2)}, id="two inputs"),
        pytest.param(np.array(["a"]), id="strings"),
        pytest.param(np.zeros((0, 3)), id="empty"),
    ],
)
def test_what_is_no_signal_or_too_large_stays_behind(sample: Any) -> None:
    watch = Watch(before=2, after=2)
    watch.see(sample)
    watch.see(sample, OVER)
    (event,) = watch.told
    assert event.burst is None
    assert "max_kb" in str(event.detail["signal"])


def test_a_burst_stays_within_its_bound_and_its_shape() -> None:
    watch = Watch(before=3, after=0, max_kb=1)
    samples = [np.zeros(30, np.float64), np.zeros(31, np.float64), np.zeros(32, np.float64), np.zeros(33, np.float64)]
    for sample in samples:
        watch.see({"x": sample})
    watch.see({"x": samples[2]}, OVER)
    (event,) = watch.told
    assert event.burst is not None
    assert event.burst.shape == (2, 32)  # those of another shape are not among them
    assert len(event.burst.data) <= 1024


def test_a_change_of_shape_ends_a_burst() -> None:
    watch = Watch(before=1, after=5)
    watch.see(window(1), OVER)
    watch.see(np.zeros(7))
    (event,) = watch.told
    assert signal_of(event).shape == (1, 4, 3)
