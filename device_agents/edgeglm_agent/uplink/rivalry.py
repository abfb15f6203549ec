"""What is heard of another agent that bears this board's name, and when that is told."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

    from edgeglm_agent.uplink.attempts import Attempts
    from edgeglm_agent.wire.telemetry import Severity

_TELL_S = 3600.0


class Rivalry:
    """Listens to the state of this board's name."""

    def __init__(
        self,
        attempts: Attempts,
        device: str,
        session: str,
        tell: Callable[[str, Severity, dict[str, Any]], None],
    ) -> None:
        """Take the attempts, which are told of the other, and who this agent is."""
        self._attempts = attempts
        self._device = device
        self._session = session
        self._tell = tell
        self._born = False  # the broker has taken a birth of this session: the retained state is no earlier one's
        self._heard = False  # on this connection: what follows may be this agent's own birth
        self._told_at = -math.inf

    def opened(self) -> None:
        """A connection begins."""
        self._heard = False

    def born(self) -> None:
        """The broker has taken a birth of this agent."""
        self._born = True

    def heard(self, session: str) -> None:
        """Take the session of a birth or a will under this name."""
        if not self._born:
            return
        if session != self._session:
            self._attempts.rival = session
        elif not self._heard:
            self._attempts.rival = ""  # nobody came after this agent
        self._heard = True

    def disputed(self, now: float) -> None:
        """Tell, once an hour, that another agent takes the connection; ``now`` in seconds, monotonic."""
        if now - self._told_at > _TELL_S:
            self._told_at = now
            takeovers = self._attempts.takeovers(now)
            self._tell("device-id-taken", "error", {"device": self._device, "takeovers": takeovers})
