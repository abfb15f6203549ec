"""A real store, filled by the real writer as a collector would."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

from edgeglm_agent.wire.telemetry import row_of

from edgeglm.fleet.store.opening import open_reader, open_store
from edgeglm.fleet.store.types import Arrivals, Device, IncomingBatch, IncomingReply, IncomingState, Poison, Stream
from tests.support.fleet.boards import NOW_MS

if TYPE_CHECKING:
    from edgeglm_agent.wire.commands import Reply, State
    from edgeglm_agent.wire.telemetry import Body

    from edgeglm.fleet.store.base import StoreReader

EPOCH = b"12345678"


class Filled:
    """What boards have sent; each call is committed."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "fleet.db"
        self.url = f"sqlite:///{self.path}"
        self._sent: Counter[Device] = Counter()
        self._writer = open_store(self.url)

    def send(self, device: Device, *bodies: Body, received_ms: int = NOW_MS) -> Filled:
        """Rows of a board, one batch."""
        first = self._sent[device] + 1
        self._sent[device] += len(bodies)
        rows = tuple(row_of(first + index, body) for index, body in enumerate(bodies))
        self._writer.commit(Arrivals(batches=[IncomingBatch(Stream(device, EPOCH), rows, received_ms)]))
        return self

    def say(self, device: Device, state: State, received_ms: int = NOW_MS) -> Filled:
        """A birth or a will."""
        self._writer.commit(Arrivals(states=[IncomingState(device, state, received_ms)]))
        return self

    def answer(self, device: Device, reply: Reply, received_ms: int = NOW_MS) -> Filled:
        """An answer to a command."""
        self._writer.commit(Arrivals(replies=[IncomingReply(device, reply, received_ms)]))
        return self

    def poison(self, count: int, received_ms: int = NOW_MS) -> Filled:
        """Messages that nobody can read."""
        self._writer.commit(Arrivals(poison=[Poison("a/topic", "no batch", b"?", received_ms)] * count))
        return self

    def close(self) -> None:
        """Let the writer go: nobody collects."""
        self._writer.close()

    def reader(self) -> StoreReader:
        """Look at it."""
        return open_reader(self.url)
