"""When the broker is tried next, by which version of MQTT, and whether another agent bears this board's name.

Decided without I/O: what happened goes in, with the time; when to try next comes out.
"""

from __future__ import annotations

import random
from collections import deque
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from edgeglm_agent.settings.types import Mqtt
    from edgeglm_agent.uplink.reports import Closed
    from edgeglm_agent.uplink.sending import Timing

TAKEN_OVER = 0x8E
_CONFLICT_WITHIN_S, _CONFLICTS = 3600.0, 3
_WORDLESS = 3  # connections that end unanswered before the other version is tried


class Attempts:
    """The attempts of one board; times are seconds, monotonic.

    Attributes:
        at: When the next one is due; None: one is under way or carries, or none is wanted.
        version: That it asks for: ``5`` or ``3.1.1``.
        failures: In a row, since a connection held.
        conflicts: In a row, likewise: times that another agent of this name had to be given way.
    """

    def __init__(self, mqtt: Mqtt, timing: Timing) -> None:
        self.at: float | None = None
        self.version = "3.1.1" if mqtt.version == "3.1.1" else "5"
        self.failures = self.conflicts = 0
        self._may_choose = mqtt.version == "auto"
        self._timing = timing
        self._opened_at: float | None = None
        self._unanswered = self._cut_short = 0
        self._takeovers: deque[float] = deque(maxlen=_CONFLICTS)

    @property
    def suspects(self) -> bool:
        """Whether connections end soon, as if another agent took them: on 3.1.1 nobody says so, but its birth does."""
        return self._cut_short >= _CONFLICTS

    @property
    def takeovers(self) -> int:
        """How many in the last hour the broker told of, at most three."""
        return len(self._takeovers)

    def opened(self, now: float) -> None:
        """The broker took the connection."""
        self._opened_at = now
        self._unanswered = 0

    def closed(self, closed: Closed, now: float) -> bool:
        """Take how a connection, or an attempt, ended; return whether another agent takes it time and again."""
        if closed.accepted:
            self._cut_short = 0 if self._held(now) else self._cut_short + 1
        elif self._may_choose:
            self._choose_version(closed)
        if closed.code != TAKEN_OVER:
            return False
        self._takeovers.append(now)
        return len(self._takeovers) == _CONFLICTS and now - self._takeovers[0] < _CONFLICT_WITHIN_S

    def again(self, now: float, *, at_least_s: float = 0.0) -> None:
        """Try again after a while that doubles, and differs from board to board; after so long, within an hour."""
        if self._held(now):
            self.failures = self.conflicts = 0
        self.failures += 1
        timing = self._timing
        wait = min(timing.longest_retry_s, timing.first_retry_s * 2.0 ** min(self.failures - 1, 30))
        self._later(now, max(wait, min(timing.longest_saving_s, at_least_s)))

    def give_way(self, now: float) -> None:
        """Stay away for long, rather than fight for the connection with another agent of this name."""
        self.conflicts += 1
        self._takeovers.clear()
        self._cut_short = 0
        timing = self._timing
        self._later(now, min(timing.longest_conflict_s, timing.conflict_s * 2.0 ** min(self.conflicts - 1, 30)))

    def _later(self, now: float, wait: float) -> None:
        self._opened_at = None
        self.at = now + wait * random.uniform(0.5, 1.5)  # noqa: S311 - jitter

    def _held(self, now: float) -> bool:
        """Return whether the connection that ends now was sound."""
        return self._opened_at is not None and now - self._opened_at > self._timing.stable_s

    def _choose_version(self, closed: Closed) -> None:
        """Try 3.1.1 where the broker refuses 5, and in turns where it ends connections without a word."""
        if closed.wrong_version:
            self.version, self.failures = "3.1.1", 0
        elif not closed.code and isinstance(closed.why, str):
            self._unanswered += 1
            if self._unanswered % _WORDLESS == 0:
                self.version = "3.1.1" if self.version == "5" else "5"
