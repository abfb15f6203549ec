"""Whether anything comes in at all: boards that all stop at one moment have not all failed. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from edgeglm.fleet.health import THRESHOLDS, ago, due_s, heard_ms, offline

if TYPE_CHECKING:
    from collections.abc import Sequence

    from edgeglm.fleet.health import Thresholds
    from edgeglm.fleet.store.types import DeviceSummary

_LEAST_BOARDS = 3  # of fewer, each may well have failed by itself
_SHARE = 0.9  # of the messages that were due
_LEAST_WINDOWS = 2  # of the shortest that is believed: windows of a second come unevenly


class Quiet(NamedTuple):
    """Nothing has come from any board."""

    since_ms: int  # when the last message came
    boards: int  # that spoke until then, and whose next message is due

    def reason(self, now_ms: int) -> str:
        """Return it in words."""
        return (
            f"the last message of any of {self.boards} boards came {ago(self.since_ms, now_ms)}: collector, broker or "
            "the way to it is down"
        )


def quiet(summaries: Sequence[DeviceSummary], now_ms: int, thresholds: Thresholds = THRESHOLDS) -> Quiet | None:
    """Return since when nothing comes from anywhere; None: something does, or there are too few boards to tell.

    It is found before the first of these boards is silent by itself: as soon as one message of nearly each is missing,
    where a board may miss three.

    Args:
        summaries: All boards that are collected together.
        now_ms: By the clock that ``received_ms`` is of.
        thresholds: What silence is.
    """
    boards = [(heard_ms(summary), due_s(summary)) for summary in summaries if not offline(summary)]
    last_ms = max((heard for heard, _ in boards), default=0)
    silence_s = (now_ms - last_ms) / 1000
    least_s = thresholds.least_silence_s / thresholds.silent_windows
    spoke = [
        max(due, least_s)
        for heard, due in boards
        if (last_ms - heard) / 1000 <= max(thresholds.silent_windows * due, thresholds.least_silence_s)
    ]
    missing = sum(min(silence_s / due, 1.0) for due in spoke)
    if len(spoke) < _LEAST_BOARDS or missing < _SHARE * len(spoke) or silence_s < _LEAST_WINDOWS * least_s:
        return None
    return Quiet(last_ms, len(spoke))
