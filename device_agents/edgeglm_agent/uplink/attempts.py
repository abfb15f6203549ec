"""When the broker is tried next, by which version of MQTT, and what to do about another agent of this board's name.

Decided without I/O: what happened goes in, with the time; when to try next comes out.
"""

from __future__ import annotations

import random
from collections import deque
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from edgeglm_agent.settings.types import Mqtt
    from edgeglm_agent.uplink.reports import Closed
    from edgeglm_agent.uplink.timing import Timing

TAKEN_OVER = 0x8E
_CONFLICT_WITHIN_S, _CONFLICTS = 3600.0, 3
_MOST_ENDS = 20
_WORDLESS = 3  # connections that end unanswered before the other version is tried


class _End(NamedTuple):
    """A connection that ended as if another agent had taken it."""

    at: float
    told: bool  # by the broker


class Attempts:
    """The attempts of one board; times are seconds, monotonic.

    Of two agents of one name each new connection ends the other's. Both try as after any failure, hear each other's
    births, and find out from them alike who goes on: the agent whose session is the greater. The other gives way, and
    only when its connection was taken once more, so that nobody gives way to one who has gone.

    Attributes:
        at: When the next one is due; None: one is under way or carries, or none is wanted.
        version: That it asks for: ``5`` or ``3.1.1``.
        failures: In a row, since a connection held.
        conflicts: In a row, likewise: times that another agent of this name had to be given way.
        rival: The session of another agent of this name that came later than this one's newest birth; empty: of none.
    """

    def __init__(self, mqtt: Mqtt, timing: Timing, session: str) -> None:
        """Begin; ``session`` is that of this agent's births."""
        self.at: float | None = None
        self.version = "3.1.1" if mqtt.version == "3.1.1" else "5"
        self.failures = self.conflicts = 0
        self.rival = ""
        self._session = session
        self._may_choose = mqtt.version == "auto"
        self._timing = timing
        self._opened_at: float | None = None
        self._unanswered = 0
        self._ends: deque[_End] = deque(maxlen=_MOST_ENDS)

    @property
    def suspects(self) -> bool:
        """Whether another agent may be there: what the next connection hears first on this board's state will tell."""
        known = self.conflicts > 0 or bool(self.rival) or any(end.told for end in self._ends)
        return known or len(self._ends) >= _CONFLICTS

    def takeovers(self, now: float) -> int:
        """How often in the last hour another agent took the connection, by the broker's word or by its birth."""
        return sum((end.told or bool(self.rival)) and now - end.at < _CONFLICT_WITHIN_S for end in self._ends)

    def disputed(self, now: float) -> bool:
        """Return whether another agent takes the connection time and again, or was given way."""
        return self.conflicts > 0 or self.takeovers(now) >= _CONFLICTS

    @property
    def yields(self) -> bool:
        """Whether this agent is the one to give way; of another that nobody can hear: the one that found out first."""
        return self._session < self.rival or not self.rival

    def opened(self, now: float) -> None:
        """The broker took the connection."""
        self._opened_at = now
        self._unanswered = 0

    def closed(self, closed: Closed, now: float) -> bool:
        """Take how a connection, or an attempt, ended; return whether another agent takes it time and again."""
        if self._held(now):
            self._forgive()
        if not closed.accepted:
            if self._may_choose:
                self._choose_version(closed)
            return False
        told = closed.code == TAKEN_OVER
        if told or not self._held(now):
            self._ends.append(_End(now, told))
        return self.takeovers(now) > 0 if self.conflicts else self.takeovers(now) >= _CONFLICTS

    def again(self, now: float, *, at_least_s: float = 0.0) -> None:
        """Try again after a while that doubles, and differs from board to board; after so long, within an hour."""
        if self._held(now):
            self._forgive()
        self.failures += 1
        timing = self._timing
        wait = min(timing.longest_retry_s, timing.first_retry_s * 2.0 ** min(self.failures - 1, 30))
        self._later(now, max(wait, min(timing.longest_saving_s, at_least_s)))

    def give_way(self, now: float) -> None:
        """Stay away for long, rather than fight for the connection with another agent of this name."""
        self.conflicts += 1
        self._ends.clear()
        timing = self._timing
        self._later(now, min(timing.longest_conflict_s, timing.conflict_s * 2.0 ** min(self.conflicts - 1, 30)))

    def _later(self, now: float, wait: float) -> None:
        self._opened_at = None
        self.at = now + wait * random.uniform(0.5, 1.5)  # noqa: S311 - jitter

    def _held(self, now: float) -> bool:
        """Return whether the connection that ends now was sound."""
        return self._opened_at is not None and now - self._opened_at > self._timing.stable_s

    def _forgive(self) -> None:
        self.failures = self.conflicts = 0
        self._ends = deque((end for end in self._ends if end.told), maxlen=_MOST_ENDS)

    def _choose_version(self, closed: Closed) -> None:
        """Try 3.1.1 where the broker refuses 5, and in turns where it ends connections without a word."""
        if closed.wrong_version:
            self.version, self.failures = "3.1.1", 0
        elif not closed.code and isinstance(closed.why, str):
            self._unanswered += 1
            if self._unanswered % _WORDLESS == 0:
                self.version = "3.1.1" if self.version == "5" else "5"
