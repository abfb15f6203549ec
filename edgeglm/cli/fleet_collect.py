"""`edgeglm fleet collect`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from edgeglm.cli.console import ConsoleLog, printing
from edgeglm.cli.fleet_keeping import CompactAfter, KeepEvents, KeepRaw, KeepResults, KeepWindows, keeping_of
from edgeglm.cli.fleet_options import DEFAULT_STORE, FleetName, StoreUrl
from edgeglm.cli.signals import stopped_by_signals


def collect(
    broker: Annotated[
        str,
        typer.Option(
            "--broker",
            metavar="URL",
            envvar="EDGEGLM_BROKER",
            help="mqtt://HOST:PORT, or mqtts://USER@HOST:PORT?ca=FILE&certificate=FILE&key=FILE&password_file=FILE",
        ),
    ],
    store: StoreUrl = DEFAULT_STORE,
    shards: Annotated[str, typer.Option(metavar="RANGE", help="Its share of the boards, such as 00-7f.")] = "00-ff",
    fleet: FleetName = None,
    compact_after: CompactAfter = None,
    keep_raw: KeepRaw = None,
    keep_windows: KeepWindows = None,
    keep_events: KeepEvents = None,
    keep_results: KeepResults = None,
    alive: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Touched every 10 s while it works, for probes.", show_default=False),
    ] = None,
) -> int:
    """Keep what boards send, and tell them so once it is on the disk; print the store once connected."""
    from edgeglm.fleet.collector.service import collect_until

    def ready() -> None:
        with printing():
            typer.echo(store)

    keeping = keeping_of(store, compact_after, keep_raw, keep_windows, keep_events, keep_results)
    with stopped_by_signals() as stopped:
        collect_until(
            stopped.event,
            broker,
            store,
            shards=shards,
            fleet=fleet,
            log=ConsoleLog(),
            keeping=keeping,
            alive=alive,
            ready=ready,
        )
    return stopped.code


def compact(
    store: StoreUrl = DEFAULT_STORE,
    compact_after: CompactAfter = None,
    keep_raw: KeepRaw = None,
    keep_windows: KeepWindows = None,
    keep_events: KeepEvents = None,
    keep_results: KeepResults = None,
) -> int:
    """Do now what the collector does beside its work: move, merge and remove what is old enough."""
    from edgeglm.fleet.store.opening import open_reader, open_store

    keeping = keeping_of(store, compact_after, keep_raw, keep_windows, keep_events, keep_results)
    open_reader(store).close()  # one that is not there is not made
    with stopped_by_signals() as stopped:
        writer = open_store(store)
        try:
            done = writer.tend(keeping, stopped.event)
        finally:
            writer.close()
    typer.echo(str(done) or "nothing is old enough", err=True)
    return stopped.code
