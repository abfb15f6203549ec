"""When a row was, where the board's clock cannot tell: it was not set, or it is ahead of ours.

The board's uptime tells the order within one boot, and how far rows are apart; a row of the same boot whose clock was
set tells when that boot was. Without any, the newest row of a batch is taken to be as new as the batch.
"""

from __future__ import annotations

from typing import NamedTuple

EARLIEST_MS = 1_577_836_800_000  # 2020: no board of ours is older, so its clock was never set
_LATE_MS = 86_400_000  # a row that would be older than this, was it of the boot before, is of another
AHEAD_MS = 300_000  # what a clock that is set may be ahead of ours


class Moment(NamedTuple):
    """When a row was, as its board says."""

    at_ms: int
    uptime_ms: int | None  # since its boot; None: not said
    own: bool  # whether at_ms is to be believed
    length_ms: int = 0  # a window's


class Boot:
    """What is known of the boot that a stream's newest rows are of."""

    __slots__ = ("at_ms", "placed_ms", "uptime_ms")

    def __init__(self) -> None:
        self.at_ms: int | None = None
        self.uptime_ms = 0  # of the newest row
        self.placed_ms = -(2**62)  # where that was put


def believed(at_ms: int, received_ms: int, *, synchronised: bool) -> bool:
    """Return whether a board's time is to be believed."""
    return synchronised and EARLIEST_MS <= at_ms <= received_ms + AHEAD_MS


def note_boot(one: Moment, boot: Boot) -> None:
    """Take note of a stream's newest row whose time is its own."""
    if one.uptime_ms is not None:
        boot.at_ms, boot.uptime_ms, boot.placed_ms = one.at_ms - one.uptime_ms, one.uptime_ms, one.at_ms


def place(moments: list[Moment], received_ms: int, boot: Boot) -> list[int]:
    """Return when rows were, given in the order of their sequence numbers; ``boot`` is brought up to date."""
    placed = [0] * len(moments)
    began: int | None = None  # the boot that the rows are of: Unix milliseconds
    later: Moment | None = None
    floor, since = boot.placed_ms, boot.uptime_ms
    for index in range(len(moments) - 1, -1, -1):
        one = moments[index]
        if one.uptime_ms is None:
            placed[index] = one.at_ms if one.own else received_ms
            continue
        if one.own:
            began = one.at_ms - one.uptime_ms
        elif began is None:
            began = _boot_of_newest(moments, index, received_ms, boot)
        elif later is not None and later.uptime_ms is not None and one.uptime_ms > later.uptime_ms:
            began -= one.uptime_ms + one.length_ms  # the boot before: it ended when this one began, at the latest
        placed[index] = one.at_ms if one.own else min(began + one.uptime_ms, received_ms)
        if not one.own:
            placed[index] = max(placed[index], min(EARLIEST_MS, received_ms))  # it may claim to be up for centuries
        if not one.own and one.uptime_ms >= since:  # of a backlog: not before what came earlier
            placed[index] = max(placed[index], floor)
        if later is None:
            boot.at_ms, boot.uptime_ms, boot.placed_ms = began, one.uptime_ms, placed[index]
        later = one
    return placed


def _boot_of_newest(moments: list[Moment], index: int, received_ms: int, boot: Boot) -> int:
    one = moments[index]
    assert one.uptime_ms is not None
    uptime_ms = one.uptime_ms
    for earlier in reversed(moments[:index]):  # of the same boot, with a clock that was set
        if earlier.uptime_ms is None:
            continue
        if earlier.uptime_ms > uptime_ms:
            break
        if earlier.own:
            return earlier.at_ms - earlier.uptime_ms
        uptime_ms = earlier.uptime_ms
    latest = received_ms - one.length_ms - one.uptime_ms
    if boot.at_ms is not None and one.uptime_ms >= boot.uptime_ms and latest - boot.at_ms < _LATE_MS:
        return min(boot.at_ms, latest)
    return latest
