"""The collector as a process: everything that a user may have got wrong is said before it begins."""

from __future__ import annotations

import asyncio
import gc
import importlib.util
from typing import TYPE_CHECKING

from edgeglm.errors import MissingExtraError
from edgeglm.fleet.addresses import parse_broker
from edgeglm.fleet.collector.run import Collector
from edgeglm.fleet.collector.shards import parse_part
from edgeglm.fleet.store.opening import open_store

if TYPE_CHECKING:
    import threading

    from edgeglm.log import Log


def collect_until(stop: threading.Event, broker: str, store: str, *, shards: str, fleet: str | None, log: Log) -> None:
    """Collect until ``stop`` is set.

    Raises:
        UserError: An address, the shards or a certificate are none.
        MissingExtraError: gmqtt is not installed.
        BusyError: Another collector writes into the store.
        StoreError, StorageError: The store cannot be opened, or is damaged.
    """
    address = parse_broker(broker)
    part = parse_part(shards, fleet)
    address.tls_context()  # files that cannot be used are the user's to mend: later they are told, and tried again
    address.password()
    if importlib.util.find_spec("gmqtt") is None:
        raise MissingExtraError(
            "gmqtt is not installed", hint="pip install 'edgeglm[fleet]'", where="edgeglm fleet collect"
        )
    writer = open_store(store)
    try:
        gc.freeze()
        gc.set_threshold(50_000, 20, 50)  # thousands of messages are in hand at any time, and none is a cycle
        log.stage(f"collecting from {address} into {store}")
        asyncio.run(Collector(address, writer, part, log).run(stop))
    finally:
        writer.close()
