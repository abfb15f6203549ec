"""When which board is told what was committed: as late as it grants, so that one acknowledgement covers much."""

from __future__ import annotations

import heapq
import itertools
from typing import TYPE_CHECKING

from edgeglm_agent.wire.telemetry import encode_ack, pack_runs

if TYPE_CHECKING:
    from collections.abc import Mapping

    from edgeglm.fleet.collector.intake import Owed
    from edgeglm.fleet.store.types import Known, Stream

_SPARE = 1000
_SHARE = 0.9  # of what a board grants: the rest is for the way


class _Pending:
    __slots__ = ("due", "known", "topic")

    def __init__(self, due: float, topic: str, known: Known) -> None:
        self.due, self.topic, self.known = due, topic, known


class Acknowledging:
    """What boards are to be told, each in its time."""

    def __init__(self) -> None:
        self._pending: dict[Stream, _Pending] = {}
        self._dues: list[tuple[float, int, Stream]] = []
        self._order = itertools.count()
        self._at_once: dict[Stream, _Pending] = {}  # of boards that wait for nothing

    def committed(self, owed: Mapping[Stream, Owed], known: Mapping[Stream, Known], now: float) -> None:
        """Take what a commit has made of streams, and how long their boards wait (``now``: a monotonic clock's)."""
        for stream, one in owed.items():
            there = known.get(stream)
            if there is None:  # what came of it was put aside
                continue
            if one.within_s <= 0:
                self._at_once[stream] = _Pending(now, one.topic, there)
                self._pending.pop(stream, None)  # that is told with it
                continue
            due = now + one.within_s * _SHARE
            pending = self._pending.get(stream)
            if pending is None:
                self._pending[stream] = _Pending(due, one.topic, there)
            else:
                pending.known = there
                if due >= pending.due:
                    continue
                pending.due = due
            heapq.heappush(self._dues, (due, next(self._order), stream))
        if len(self._dues) > 2 * len(self._pending) + _SPARE:  # mostly of what was told earlier than it had to be
            self._dues = [(one.due, next(self._order), stream) for stream, one in self._pending.items()]
            heapq.heapify(self._dues)

    def due_at(self) -> float | None:
        """Return when the next is due; None: nothing is."""
        if self._at_once:
            return 0.0
        return self._dues[0][0] if self._dues else None

    def due(self, now: float, now_ms: int) -> list[tuple[str, bytes]]:
        """Take away what is due: topic and message each; ``now_ms``: our clock, for boards without one."""
        out = [(one.topic, _said(stream, one.known, now_ms)) for stream, one in self._at_once.items()]
        self._at_once.clear()
        while self._dues and self._dues[0][0] <= now:
            due, _, stream = heapq.heappop(self._dues)
            pending = self._pending.get(stream)
            if pending is None or pending.due != due:
                continue  # it was told earlier, or is due at another time
            del self._pending[stream]
            out.append((pending.topic, _said(stream, pending.known, now_ms)))
        return out


def _said(stream: Stream, known: Known, now_ms: int) -> bytes:
    beyond = pack_runs(known.beyond) if known.beyond else b""
    return encode_ack(stream.epoch, known.through, beyond, now_ms=now_ms)
