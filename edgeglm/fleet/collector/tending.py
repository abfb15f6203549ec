"""The store's upkeep beside the collector: in a thread of its own, at half the speed, and soon over at the end."""

from __future__ import annotations

import asyncio
import threading
from contextlib import suppress
from typing import TYPE_CHECKING

from edgeglm.errors import EdgeglmError

if TYPE_CHECKING:
    from edgeglm.fleet.store.base import StoreWriter
    from edgeglm.fleet.store.keeping import Keeping, Tended
    from edgeglm.log import Log

_FIRST_S = 60.0  # what waited while the collector was away comes first
_PAUSE_S = 900.0  # days end rarely
_LAST_S = 10.0  # that a step is waited for at the end: one that hangs may be left, as a kill leaves it


async def tend(store: StoreWriter, keeping: Keeping, log: Log) -> None:
    """Do what is due again and again, until cancelled. What goes wrong is told once, and tried again."""
    told = ""
    await asyncio.sleep(_FIRST_S)
    while True:
        try:
            done = await _tended(store, keeping)
        except EdgeglmError as error:
            if error.code != told:
                told = error.code
                problem = error.problems[0]
                log.warn(f"{problem.where}: {problem.message}; older rows stay as they are ({problem.hint})")
        else:
            told = ""
            if str(done):
                log.note(str(done))
        await asyncio.sleep(_PAUSE_S)


async def _tended(store: StoreWriter, keeping: Keeping) -> Tended:
    loop, ending = asyncio.get_running_loop(), threading.Event()
    result: asyncio.Future[Tended] = loop.create_future()

    def settle(done: Tended | None, error: Exception | None) -> None:
        if result.done():  # nobody waits any more
            return
        if error is not None:
            result.set_exception(error)
        elif done is not None:
            result.set_result(done)

    def run() -> None:
        done, failed = None, None
        try:
            done = store.tend(keeping, ending, paced=True)
        except Exception as error:  # for whoever waits
            failed = error
        with suppress(RuntimeError):  # the loop has ended
            loop.call_soon_threadsafe(settle, done, failed)

    thread = threading.Thread(target=run, name="tend", daemon=True)
    thread.start()
    try:
        return await result
    finally:
        ending.set()
        thread.join(_LAST_S)
