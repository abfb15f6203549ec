"""Looking at the store for everybody who looks at the page: once a second, however many they are."""

from __future__ import annotations

import asyncio
import time
from collections import OrderedDict
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import TYPE_CHECKING, TypeVar

import msgspec

from edgeglm.errors import EdgeglmError
from edgeglm.fleet.health import usual_models
from edgeglm.fleet.page.glance import Glance, Trouble
from edgeglm.fleet.page.life import SPANS, life
from edgeglm.fleet.plain import plain
from edgeglm.fleet.store.opening import open_reader

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from edgeglm.fleet.alerts.judging import Alarms, Change
    from edgeglm.fleet.alerts.webhook import Webhook
    from edgeglm.fleet.store.base import StoreReader
    from edgeglm.fleet.store.types import Device, DeviceSummary
    from edgeglm.log import Log

_PACE_S = 1.0  # from one look to the next, while somebody watches
_IDLE_S = 10.0  # while nobody does: the trend goes on
_SHARE = 4  # of the time that a look takes: waited at least
_MOST_KEPT = 64  # boards' lives
_KEPT_S = 30.0
_BOARD_STORES = 2  # so that an hour of one board does not wait for a month of another
_STANDING_S = 3600.0  # how often a webhook is told of all that stands
_Answer = TypeVar("_Answer")


class _Looking:
    """A thread with a reader of its own, opened when it is needed and again when it fails."""

    def __init__(self, store: str) -> None:
        self._store = store
        self._thread = ThreadPoolExecutor(1, "store")
        self._reader: StoreReader | None = None
        self.asked = 0  # questions without an answer as yet

    async def __call__(self, ask: Callable[[StoreReader], _Answer]) -> _Answer:
        """Return what ``ask`` finds. Raises: EdgeglmError: The store cannot be read."""
        self.asked += 1
        try:
            return await asyncio.get_running_loop().run_in_executor(self._thread, self._ask, ask)
        finally:
            self.asked -= 1

    def _ask(self, ask: Callable[[StoreReader], _Answer]) -> _Answer:
        if self._reader is None:
            self._reader = open_reader(self._store)
        try:
            return ask(self._reader)
        except LookupError:  # of what was asked for, not of the store
            raise
        except BaseException:
            self._close()
            raise

    def _close(self) -> None:
        reader, self._reader = self._reader, None
        if reader is not None:
            reader.close()

    async def close(self) -> None:
        """Let the store go."""
        await asyncio.get_running_loop().run_in_executor(self._thread, self._close)
        self._thread.shutdown(wait=False)


class Watch:
    """What is known now; and who waits for what comes next."""

    def __init__(self, store: str, fleet: str | None, alarms: Alarms, webhook: Webhook | None, log: Log) -> None:
        self.glance = Glance()
        self.summaries: Sequence[DeviceSummary] = ()
        self.look_s = 0.0  # how long the last look took
        self.watchers = 0
        self.ended = False
        self._fleet = fleet
        self._log = log
        self._fleet_store = _Looking(store)
        self._board_stores = [_Looking(store) for _ in range(_BOARD_STORES)]
        self._news = asyncio.Condition()
        self._wanted = asyncio.Event()
        self._lives: OrderedDict[tuple[Device, str, str | None], tuple[float, int, asyncio.Future[bytes]]] = (
            OrderedDict()
        )
        self.alarms = alarms
        self._webhook = webhook
        self._standing_due_s = 0.0  # at once: what ended while nobody looked is told to be over so

    async def run(self) -> None:
        """Look again and again, until it is cancelled."""
        while True:
            began = time.monotonic()
            await self.look()
            self.look_s = time.monotonic() - began
            pace_s = max(_PACE_S, _SHARE * self.look_s)
            await asyncio.sleep(pace_s)
            if not self.watchers:
                with suppress(TimeoutError):
                    # wait_for of Python 3.11 may swallow a cancellation
                    async with asyncio.timeout(max(0.0, _IDLE_S - pace_s)):
                        await self._wanted.wait()
            self._wanted.clear()

    async def look(self) -> None:
        """Look once, and tell who waits."""
        glance, now_ms, before = self.glance, _now_ms(), self.glance.head.trouble

        due = self._webhook is not None and time.monotonic() >= self._standing_due_s

        def ask(reader: StoreReader) -> tuple[list[DeviceSummary], Glance, list[Change], list[str] | None, str]:
            summaries = reader.devices(self._fleet)
            new = glance.after(summaries, reader.poison_count(), now_ms)
            changes = self.alarms.judge(summaries, new.problems, usual_models(summaries), new.nothing, now_ms)
            told = reader.identity() if self._webhook is not None and (due or changes) else ""
            return summaries, new, changes, self.alarms.ids() if due else None, told

        try:
            self.summaries, self.glance, changes, standing, store = await self._fleet_store(ask)
        except EdgeglmError as error:
            problem = error.problems[0]
            where = f"{problem.where}: " if problem.where else ""
            trouble = Trouble(plain(f"{where}{problem.message}", 500), plain(problem.hint, 500), problem.code)
            if trouble != before:
                self.glance = glance.failed(trouble)
                self._log.warn(f"the store cannot be read: {problem.message}")
        else:
            if before is not None:
                self._log.note("the store can be read again")
            if self._webhook is not None:
                self._webhook.tell(changes, standing, store=store)
                self._standing_due_s = time.monotonic() + _STANDING_S if due else self._standing_due_s
        async with self._news:
            self._news.notify_all()

    async def beyond(self, version: int, within_s: float) -> bool:
        """Wait for something newer; False: there is nothing newer within that time, or all has an end."""
        self._wanted.set()
        with suppress(TimeoutError):
            async with self._news:
                async with asyncio.timeout(within_s):
                    await self._news.wait_for(lambda: self.ended or self.glance.version > version)
        return self.glance.version > version and not self.ended

    async def life(self, device: Device, span: str, slot: str | None) -> bytes:
        """Return a board's life as JSON; who asks for the same at the same time gets the same.

        Raises:
            LookupError: There is no such board, or span.
            EdgeglmError: The store cannot be read.
        """
        if span not in SPANS:
            raise LookupError(span)
        key = (device, span, slot)
        version = self.glance.line_version("/".join(device))
        if known := self._lives.get(key):
            at_s, of_version, answer = known
            failed = answer.done() and answer.exception() is not None
            if of_version == version and time.monotonic() - at_s < _KEPT_S and not failed:
                return await asyncio.shield(answer)
        answer = asyncio.ensure_future(self._read_life(device, span, slot))
        self._lives[key] = (time.monotonic(), version, answer)
        self._lives.move_to_end(key)
        while len(self._lives) > _MOST_KEPT:
            self._lives.popitem(last=False)
        return await asyncio.shield(answer)

    async def _read_life(self, device: Device, span: str, slot: str | None) -> bytes:
        summaries, now_ms = self.summaries, _now_ms()

        def ask(reader: StoreReader) -> bytes:
            summary = reader.device(device)
            if summary is None or self._fleet not in (None, device.fleet):
                raise LookupError(device)
            usual = usual_models(one for one in summaries if one.device.fleet == device.fleet)
            return msgspec.json.encode(life(reader, summary, span, slot, now_ms, usual))

        return await min(self._board_stores, key=lambda one: one.asked)(ask)

    async def close(self) -> None:
        """Let everybody who waits go, and the store too."""
        self.ended = True
        async with self._news:
            self._news.notify_all()
        await self._fleet_store.close()
        for one in self._board_stores:
            await one.close()


def _now_ms() -> int:
    return time.time_ns() // 1_000_000
