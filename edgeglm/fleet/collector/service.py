"""The collector as a process: everything that a user may have got wrong is said before it begins."""

from __future__ import annotations

import asyncio
import gc
import importlib.util
from contextlib import suppress
from typing import TYPE_CHECKING

from edgeglm.errors import MissingExtraError
from edgeglm.files import storage_errors
from edgeglm.fleet.addresses import parse_broker
from edgeglm.fleet.collector.broker_trial import tell_what_it_drops
from edgeglm.fleet.collector.certificates import tell_what_ends
from edgeglm.fleet.collector.run import Collector
from edgeglm.fleet.collector.shards import parse_part
from edgeglm.fleet.collector.tending import tend
from edgeglm.fleet.store.keeping import Keeping
from edgeglm.fleet.store.opening import open_store

if TYPE_CHECKING:
    import threading
    from collections.abc import Callable, Coroutine
    from pathlib import Path
    from typing import Any

    from edgeglm.log import Log

_BEAT_S = 10.0


def collect_until(
    stop: threading.Event,
    broker: str,
    store: str,
    *,
    shards: str,
    fleet: str | None,
    log: Log,
    keeping: Keeping | None = None,
    alive: Path | None = None,
    ready: Callable[[], None] | None = None,
) -> None:
    """Collect until ``stop`` is set.

    Args:
        stop: Ends it, in order.
        broker: Its address.
        store: Its address.
        shards: The part of the boards, such as ``00-7f``.
        fleet: The one fleet to take; None: all.
        log: Is told what happens.
        keeping: What the store keeps, and how long; None: everything.
        alive: A file that is touched as long as it works, for who looks whether it hangs.
        ready: Is called once, when it is connected and has subscribed to everything.

    Raises:
        UserError: An address, the shards or a certificate are none.
        MissingExtraError: gmqtt is not installed.
        BusyError: Another collector writes into the store.
        StoreError, StorageError: The store cannot be opened, or is damaged; or ``alive`` cannot be written.
    """
    address = parse_broker(broker)
    part = parse_part(shards, fleet)
    address.tls_context()  # files that cannot be used are the user's to mend: later they are told, and tried again
    address.password()
    if warning := address.warning():
        log.warn(warning)
    if importlib.util.find_spec("gmqtt") is None:
        raise MissingExtraError(
            "gmqtt is not installed", hint="pip install 'edgeglm[fleet]'", where="edgeglm fleet collect"
        )
    writer = open_store(store)
    try:
        gc.freeze()
        gc.set_threshold(50_000, 20, 50)  # thousands of messages are in hand at any time, and none is a cycle
        log.stage(f"collecting from {address} into {store}")
        collector = Collector(address, writer, part, log, ready)  # first: it may refuse, and leave the others unmade
        trial = tell_what_it_drops(address, part, log, client_id=collector.client_id)
        beside = [trial, tell_what_ends(address, log), tend(writer, keeping or Keeping(), log)]
        asyncio.run(_collect(collector, stop, alive, beside))
    finally:
        writer.close()


async def _collect(
    collector: Collector, stop: threading.Event, alive: Path | None, others: list[Coroutine[Any, Any, None]]
) -> None:
    beside = [asyncio.ensure_future(one) for one in others]
    for task in beside:
        task.add_done_callback(lambda task: None if task.cancelled() else task.result())  # a bug of ours is told
    if alive is not None:
        with storage_errors(alive):
            alive.touch(mode=0o644)
        beside.append(asyncio.ensure_future(_beat(alive)))
    try:
        await collector.run(stop)
    finally:
        for task in beside:
            task.cancel()
        await asyncio.gather(*beside, return_exceptions=True)
        if alive is not None:
            with suppress(OSError):
                alive.unlink()


async def _beat(alive: Path) -> None:
    """Show that the loop turns: a broker or a store that is away is no reason to be started again."""
    while True:
        await asyncio.sleep(_BEAT_S)
        with suppress(OSError):  # who looks sees that it gets old
            alive.touch()
