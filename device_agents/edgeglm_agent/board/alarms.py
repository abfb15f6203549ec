"""When something is worth an event: hysteresis in time and in level, so that what flickers is told once."""

from __future__ import annotations


class Alarm:
    """Something that is or is not the case: told when it begins, and again only after it was gone for a while."""

    def __init__(self, quiet_s: float) -> None:
        self._quiet_s = quiet_s
        self._last: float | None = None  # when it was last the case; None: it is over

    def begins(self, active: bool, now: float) -> bool:
        """Return whether to tell of it. Args: now: monotonic seconds."""
        if active:
            begins = self._last is None
            self._last = now
            return begins
        if self._last is not None and now - self._last >= self._quiet_s:
            self._last = None
        return False


class Level:
    """A stock that can run low: low below one mark, well again above a higher one."""

    def __init__(self, low: float, ok: float) -> None:
        self._low, self._ok = low, ok
        self.is_low = False

    def crossed(self, value: float) -> bool:
        """Return whether it has become low, or well again, with this value."""
        crossed = value >= self._ok if self.is_low else value < self._low
        self.is_low ^= crossed
        return crossed
