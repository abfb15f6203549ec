"""What the network costs this board, as its budget is charged with it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from edgeglm_agent.uplink.budget import DAY_S, Budget

if TYPE_CHECKING:
    from collections.abc import Callable

    from edgeglm_agent.outbox import Outbox
    from edgeglm_agent.uplink.link import Link


class Account:
    """The budget, and the link whose bytes it pays for.

    Attributes:
        budget: Goes on where an earlier run left it.
        daily_bytes: What may go a day.
    """

    def __init__(self, daily_bytes: int, outbox: Outbox, link: Link, *, wall: Callable[[], float]) -> None:
        """Take what the outbox has kept of it; ``wall`` is the board's clock, seconds."""
        self.daily_bytes = daily_bytes
        self.budget = Budget(daily_bytes, level=outbox.note("budget"))
        self.budget.day = int(outbox.note("day") or 0)
        self.budget.today = int(outbox.note("today") or 0)
        self._link = link
        self._wall = wall
        self._charged = self._before = 0  # bytes on the wire; at the beginning of the newest attempt

    @property
    def bytes_total(self) -> int:
        """Bytes on the network so far, both ways."""
        return self._link.wire

    @property
    def bytes_today(self) -> int:
        """Those of this day, by UTC, over restarts."""
        return self.budget.today if self.budget.day == self._today() else 0

    def charge(self) -> None:
        """Take out of the budget what has gone over the network since the last time."""
        wire = self._link.wire
        if wire > self._charged:
            self.budget.spend(wire - self._charged, self._today())
            self._charged = wire

    def attempt(self) -> None:
        """An attempt to connect begins."""
        self._before = self._link.wire

    def until_affordable(self) -> float:
        """Return in how many seconds another attempt like the newest one is paid for, and what is overdrawn as well."""
        cost = self._link.wire - self._before
        uncharged = self._link.wire - self._charged
        return self.budget.until(cost + uncharged - self.budget.capacity)

    def _today(self) -> int:
        return int(self._wall() // DAY_S)
