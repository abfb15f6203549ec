"""This board's certificate, looked at once a day: where it has ended, no broker lets the board in any more."""

from __future__ import annotations

import math
import time
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

    from edgeglm_agent.settings.types import Tls
    from edgeglm_agent.wire.telemetry import Severity

_DAY_S = 86_400.0
_AGAIN_S = 60.0  # where the clock is not set yet


class Ending:
    """Tells when the certificate ends."""

    def __init__(
        self,
        tls: Tls | None,
        tell: Callable[[str, Severity, dict[str, Any]], None],
        *,
        synchronised: Callable[[], bool],
        wall: Callable[[], float],
    ) -> None:
        """Take the files, and the board's clock with what says whether it is right."""
        self._tls, self._tell = tls, tell
        self._synchronised, self._wall = synchronised, wall
        self._at = -math.inf if tls is not None and tls.certificate is not None else math.inf

    def look(self, now: float) -> None:
        """Tell, once a day, of a certificate that ends within 30 days or has ended; ``now`` in seconds, monotonic."""
        if now < self._at:
            return
        self._at = now + (_DAY_S if self._synchronised() else _AGAIN_S)
        if not self._synchronised():
            return
        from edgeglm_agent.doctor.certificate import SOON_S, read_certificate  # seldom wanted

        assert self._tls is not None
        assert self._tls.certificate is not None  # else it is never due
        try:
            ends = read_certificate(self._tls.certificate, self._tls.key or self._tls.certificate).ends
        except (OSError, ValueError):  # the connection tells what is wrong with it
            return
        left_s = ends - self._wall()
        if left_s < SOON_S:
            detail = {"ends": time.strftime("%Y-%m-%d", time.gmtime(ends)), "days": math.floor(left_s / _DAY_S)}
            self._tell("certificate-ends", "warning" if left_s > 0 else "error", detail)
