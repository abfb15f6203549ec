"""Anomalies, told with a piece of the raw signal around them where that was asked for.

The last samples are held as they came in; when a score goes over its limit, they, the sample itself and the next ones
become one burst. Bounded in bytes and in rate: an anomaly that goes on is told once, and then seldom.
"""

from __future__ import annotations

import time
from collections import deque
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np

from edgeglm_agent import ipc
from edgeglm_agent.wire.telemetry import Burst

if TYPE_CHECKING:
    from collections.abc import Callable

    from edgeglm_agent.inputs._base import Arrival
    from edgeglm_agent.processing import Decision
    from edgeglm_agent.settings.types import Anomaly
    from edgeglm_agent.wire.telemetry import Scalar

PATIENCE_S = 10.0  # for the samples after it; then it is told with those that came
_NUMBERS = "iufb"  # kinds of numpy types that are signals


class _Found:
    """An anomaly that waits for what comes after it."""

    def __init__(self, event: ipc.Happened, before: list[np.ndarray], it: np.ndarray, now: float) -> None:
        self.event, self.samples, self.at, self.since = event, [*before, it], len(before), now


class Bursts:
    """Watches the decisions of one slot; one thread."""

    def __init__(
        self,
        settings: Anomaly,
        tell: Callable[[ipc.Happened], None],
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._settings, self._tell, self._clock = settings, tell, clock
        self._ring: deque[np.ndarray] = deque(maxlen=settings.before)
        # bytes that one sample may have, so that a whole burst stays within its bound
        self._room = settings.max_kb * 1024 // (settings.before + 1 + settings.after)
        self._wanted = settings.before + settings.after > 0
        self._found: _Found | None = None
        self._quiet_until = -float("inf")
        self._untold = 0

    def add(
        self, arrival: Arrival, decision: Decision | None, channels: Callable[[], tuple[float, ...]] = tuple
    ) -> None:
        """Take one sample with what was decided of it.

        Args:
            arrival: The sample.
            decision: None: nothing was decided.
            channels: Works out the error of each channel of the model's input; is called for what is told alone.
        """
        signal = self._copied(arrival.sample) if self._wanted else None
        if self._found is not None and signal is not None:
            self._follow(self._found, signal)
        if decision is not None and decision.exceeded:
            self._exceeded(arrival, decision, signal, channels)
        if signal is not None:
            self._ring.append(signal)

    def poll(self) -> None:
        """Tell what has waited too long for samples that do not come; to be called about once a second."""
        if self._found is not None and self._clock() - self._found.since >= PATIENCE_S:
            self.close()

    def close(self) -> None:
        """Tell what still waits, with the samples that came."""
        found, self._found = self._found, None
        if found is None:
            return
        samples = np.stack(found.samples)
        burst = Burst(str(samples.dtype), samples.shape, samples.tobytes(), self._settings.rate_hz)
        detail = {**found.event.detail, "at": found.at}  # which of the burst's samples went over
        self._tell(msgspec.structs.replace(found.event, detail=detail, burst=burst))

    def _exceeded(
        self,
        arrival: Arrival,
        decision: Decision,
        signal: np.ndarray | None,
        channels: Callable[[], tuple[float, ...]],
    ) -> None:
        now = self._clock()
        if self._found is not None or now < self._quiet_until:
            self._untold += 1
            return
        self._quiet_until = now + self._settings.gap_s
        detail: dict[str, Scalar] = {"score": decision.score, "limit": decision.limit}
        if arrival.name:
            detail["name"] = arrival.name
        if self._untold:
            detail["untold"] = self._untold  # since the last that was told
            self._untold = 0
        event = ipc.Happened(
            name="anomaly",
            severity="warning",
            trace_id=arrival.trace_id,
            at_ms=time.time_ns() // 1_000_000,
            uptime_ms=time.clock_gettime_ns(time.CLOCK_BOOTTIME) // 1_000_000,
            detail=detail,
            channels=channels(),
        )
        if signal is None:
            if self._wanted:
                detail["signal"] = "no array, or too large for anomaly.max_kb"
            self._tell(event)
            return
        self._found = _Found(event, [one for one in self._ring if _alike(one, signal)], signal, now)
        if not self._settings.after:
            self.close()

    def _follow(self, found: _Found, signal: np.ndarray) -> None:
        """Take a sample that came after an anomaly; the last one, or one of another shape, ends the burst."""
        if _alike(signal, found.samples[0]):
            found.samples.append(signal)
        else:
            self.close()
        if len(found.samples) > found.at + self._settings.after:
            self.close()

    def _copied(self, sample: Any) -> np.ndarray | None:
        """Return the raw signal of a sample: its array, or that of an only input; None: none, or too large.

        Copied, since who made the sample may use its memory again.
        """
        if isinstance(sample, dict) and len(sample) == 1:
            sample = next(iter(sample.values()))
        if not isinstance(sample, np.ndarray) or sample.dtype.kind not in _NUMBERS:
            return None
        return sample.copy() if 0 < sample.nbytes <= self._room else None


def _alike(one: np.ndarray, other: np.ndarray) -> bool:
    return one.shape == other.shape and one.dtype == other.dtype
