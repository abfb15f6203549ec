"""The collector: one loop that takes in, and one thread that writes to the store.

All that came in while the last transaction was committed is the next one, or the next few where that is much, and a
quarter of a second's worth where it is little. A message is acknowledged to the broker when it is committed, and the
board hears when it wants to.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections import deque
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec

from edgeglm.errors import EnvironmentFailedError
from edgeglm.fleet.collector.acknowledging import Acknowledging
from edgeglm.fleet.collector.intake import Intake
from edgeglm.fleet.collector.link import Link
from edgeglm.fleet.collector.writing import write

if TYPE_CHECKING:
    import threading
    from collections.abc import Callable

    from edgeglm.fleet.addresses import BrokerAddress
    from edgeglm.fleet.collector.intake import Owed
    from edgeglm.fleet.collector.link import Unacknowledged
    from edgeglm.fleet.collector.shards import Part
    from edgeglm.fleet.store.base import StoreWriter
    from edgeglm.fleet.store.types import Arrivals, Committed, Stream
    from edgeglm.log import Log

_MOST_BYTES = 64 << 20  # in hand: above it nothing more is read from the broker
_MOST_ROWS = 4096  # of a transaction, and the message that goes beyond it
_MOST_AT_ONCE = 4 << 20  # bytes likewise: what is read and bound to statements is there several times for that moment
_PACE_S = 0.25  # from one commit to the next, while little waits: each costs a sync, and every page that it touches
_ENOUGH = 2000  # messages that are no longer waited with
_FIRST_WAIT_S = 0.5
_LONGEST_WAIT_S = 30.0
_LONG_S = 10.0  # for one commit: that is told, and when stopping it is no longer waited for
_LOOK_S = 0.2  # how often is looked for the wish to stop
_MINUTE_S = 60.0
_HOPELESS = ("store-damaged", "store-newer")


class Counts(msgspec.Struct):
    """What was done since they were last told."""

    messages: int = 0
    commits: int = 0
    rows: int = 0
    duplicates: int = 0
    taken_back: int = 0
    put_off: int = 0
    poison: int = 0
    outdated_states: int = 0
    acknowledgements: int = 0

    def add(self, messages: int, done: Committed) -> None:
        """Count one commit."""
        self.messages += messages
        self.commits += 1
        self.rows += done.new_rows
        self.duplicates += done.duplicates
        self.taken_back += done.taken_back
        self.put_off += done.put_off
        self.poison += done.poison
        self.outdated_states += done.outdated_states

    def join(self, others: Counts) -> None:
        """Count what others count, too."""
        for name in self.__struct_fields__:
            setattr(self, name, getattr(self, name) + getattr(others, name))

    def __str__(self) -> str:
        """Return them as a line of the log: what is not zero, and the rows."""
        named = {
            "rows": self.rows,
            "messages": self.messages,
            "commits": self.commits,
            "acknowledgements": self.acknowledgements,
            "came again": self.duplicates,
            "put aside as unreadable": self.poison,
            "under numbers used before": self.taken_back,
            "put off": self.put_off,
            "late wills": self.outdated_states,
        }
        return ", ".join(f"{count} {name}" for name, count in named.items() if count or name == "rows")


class _Portion(NamedTuple):
    """What one transaction takes."""

    arrivals: Arrivals
    owed: dict[Stream, Owed]
    messages: int
    bytes: int
    taken: Unacknowledged


class Collector:
    """One process' part of a fleet."""

    def __init__(
        self, address: BrokerAddress, store: StoreWriter, part: Part, log: Log, ready: Callable[[], None] | None = None
    ) -> None:
        self._store = store
        self._log = log
        self._intake = Intake(part, log)
        self._portions: deque[_Portion] = deque()
        self._acknowledging = Acknowledging()
        # of this store: who collects the same boards into another one has messages of their own
        self.client_id = f"{part.client_id}-{store.identity()}"
        self._link = Link(address, self.client_id, part.filters, self, log, ready)
        self._came, self._enough, self._owes = asyncio.Event(), asyncio.Event(), asyncio.Event()
        self._ending = asyncio.Event()
        self._stopping = False
        self._in_hand = 0  # bytes
        self.counts = Counts()  # since they were told last
        self._all = Counts()

    async def run(self, stop: threading.Event) -> None:
        """Collect until ``stop`` is set; then commit and acknowledge what is in hand.

        Raises:
            StoreError: The store is damaged.
        """
        asyncio.get_running_loop().set_exception_handler(self._left_over)
        link = asyncio.ensure_future(self._link.run())
        commits = asyncio.ensure_future(self._commits())
        others = [asyncio.ensure_future(self._acknowledge()), asyncio.ensure_future(self._tell())]
        try:
            await self._until(stop, link, commits, *others)
            self._stopping = True
            self._link.pause(True)
            self._came.set()
            self._enough.set()
            self._ending.set()
            await commits
            self._send_due(float("inf"))
        finally:
            for task in (link, commits, *others):
                task.cancel()
            await asyncio.gather(link, commits, *others, return_exceptions=True)
        self._all.join(self.counts)
        self._log.stage(f"stopped: {self._all}")

    def message(self, topic: str | bytes, payload: bytes, *, retained: bool) -> bool:
        """Take one message; False: we are stopping."""
        if self._stopping:
            return False
        if self._intake.rows >= _MOST_ROWS or self._intake.bytes >= _MOST_AT_ONCE:
            self._divide()
        self._in_hand += self._intake.take(topic, payload, retained=retained)
        if self._in_hand > _MOST_BYTES:
            self._link.pause(True)
        self._came.set()
        if self._intake.messages >= _ENOUGH:
            self._enough.set()
        return True

    def _left_over(self, _: asyncio.AbstractEventLoop, told: dict[str, Any]) -> None:
        """Hear of what nobody waits for: connections that break."""
        error = told.get("exception")
        if not isinstance(error, OSError | asyncio.CancelledError | None):
            self._log.warn(f"a bug of edgeglm: {error!r}")

    @staticmethod
    async def _until(stop: threading.Event, *tasks: asyncio.Future[None]) -> None:
        """Return when told to stop; raise what one of the tasks raises."""
        while not stop.is_set():
            done, _ = await asyncio.wait(tasks, timeout=_LOOK_S, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                task.result()

    def _divide(self) -> None:
        """Let what came so far be a transaction of its own."""
        intake = self._intake
        if intake.messages:
            self._portions.append(
                _Portion(intake.arrivals, intake.owed, intake.messages, intake.bytes, self._link.taken())
            )
            intake.clear()

    async def _commits(self) -> None:
        """Commit what has come, again and again; end when stopping and nothing is left."""
        loop = asyncio.get_running_loop()
        with ThreadPoolExecutor(1, "commit") as thread:
            began = -_PACE_S
            while True:
                if not self._portions:
                    await self._came.wait()
                    with suppress(TimeoutError):
                        async with asyncio.timeout(began + _PACE_S - loop.time()):
                            await self._enough.wait()
                    began = loop.time()
                    self._came.clear()
                    if not self._stopping:
                        self._enough.clear()
                    self._divide()
                if self._portions:
                    portion = self._portions.popleft()
                    done = await self._commit(portion.arrivals, thread)
                    if done is None:
                        return
                    self._committed(portion, done)
                if self._stopping and not self._portions and not self._intake.messages:
                    return

    def _committed(self, portion: _Portion, done: Committed) -> None:
        self.counts.add(portion.messages, done)
        self._acknowledging.committed(portion.owed, done.known, asyncio.get_running_loop().time())
        self._owes.set()
        self._link.acknowledge(portion.taken)
        self._in_hand -= portion.bytes
        if self._in_hand <= _MOST_BYTES and not self._stopping:
            self._link.pause(False)

    async def _commit(self, arrivals: Arrivals, thread: ThreadPoolExecutor) -> Committed | None:
        """Commit, however often it takes; None: told to stop before the store could take it."""
        loop = asyncio.get_running_loop()
        wait_s, told = _FIRST_WAIT_S, ""
        while True:
            try:
                done = await self._answered(loop.run_in_executor(thread, self._kept, arrivals))
            except EnvironmentFailedError as error:
                if error.code in _HOPELESS:
                    raise
                if error.code != told:
                    told = error.code
                    self._log.warn(
                        f"{error.problems[0].where}: {error.problems[0].message}; nothing is acknowledged until it "
                        f"can be kept ({error.problems[0].hint})"
                    )
                if self._stopping:
                    return None
                with suppress(TimeoutError):  # unless told to stop meanwhile
                    async with asyncio.timeout(wait_s * random.uniform(0.5, 1.5)):  # noqa: S311
                        await self._ending.wait()
                wait_s = min(wait_s * 2, _LONGEST_WAIT_S)
            else:
                if told:
                    self._log.stage("the store takes what comes again")
                return done

    async def _answered(self, writing: asyncio.Future[Committed]) -> Committed:
        """Wait for the store; one that hangs is told of, and when stopping let go: what it was given comes again."""
        loop = asyncio.get_running_loop()
        began, ending_at, told = loop.time(), 0.0, False
        while not (await asyncio.wait({writing}, timeout=1.0))[0]:
            now = loop.time()
            if now - began > _LONG_S and not told:
                told = True
                self._log.warn(f"the store has not answered for {_LONG_S:.0f} s; nothing is acknowledged until it does")
            ending_at = ending_at or (now if self._stopping else 0.0)
            if ending_at and now - ending_at > _LONG_S:
                self._store.abandon()
        return writing.result()

    def _kept(self, arrivals: Arrivals) -> Committed:
        """Write it and commit: in the thread that does nothing else."""
        done = write(self._store, arrivals, self._log)
        self._store.flush()
        return done

    async def _acknowledge(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            due_at = self._acknowledging.due_at()
            wait_s = None if due_at is None else max(0.0, due_at - loop.time())
            if not self._link.connected and due_at is not None:
                wait_s = max(wait_s or 0.0, 1.0)  # it keeps
            with suppress(TimeoutError):
                # wait_for of Python 3.11 swallows a cancellation that comes as the event is set: the end would never be
                async with asyncio.timeout(wait_s):
                    await self._owes.wait()
            self._owes.clear()
            self._send_due(loop.time())

    def _send_due(self, now: float) -> None:
        if self._link.connected:
            due = self._acknowledging.due(now, time.time_ns() // 1_000_000)
            self._link.publish(due)
            self.counts.acknowledgements += len(due)

    async def _tell(self) -> None:
        while True:
            await asyncio.sleep(_MINUTE_S)
            self._log.note(str(self.counts))
            self._all.join(self.counts)
            self.counts = Counts()
