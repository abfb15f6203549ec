"""`edgeglm fleet collect`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from edgeglm.cli.console import ConsoleLog, printing
from edgeglm.cli.fleet_options import DEFAULT_STORE, FleetName, StoreUrl
from edgeglm.cli.signals import stopped_by_signals

if TYPE_CHECKING:
    from edgeglm.fleet.store.keeping import Keeping

CompactAfter = Annotated[
    str | None,
    typer.Option(
        metavar="AGE",
        help="SQLite: rows that are older go from the file into Parquet files beside it (1d).",
        show_default=False,
    ),
]
KeepRaw = Annotated[
    str | None,
    typer.Option(
        metavar="AGE",
        help="Windows that are older become one an hour, histograms added up. Default: none do.",
        show_default=False,
    ),
]
KeepWindows = Annotated[
    str | None,
    typer.Option(metavar="AGE", help="Older windows are removed. Default: none are.", show_default=False),
]
KeepEvents = Annotated[
    str | None, typer.Option(metavar="AGE", help="Likewise events, and what boards lost.", show_default=False)
]
KeepResults = Annotated[
    str | None, typer.Option(metavar="AGE", help="Likewise answers of the models.", show_default=False)
]


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

    keeping = _keeping(store, compact_after, keep_raw, keep_windows, keep_events, keep_results)
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

    keeping = _keeping(store, compact_after, keep_raw, keep_windows, keep_events, keep_results)
    open_reader(store).close()  # one that is not there is not made
    with stopped_by_signals() as stopped:
        writer = open_store(store)
        try:
            done = writer.tend(keeping, stopped.event)
        finally:
            writer.close()
    typer.echo(str(done) or "nothing is old enough", err=True)
    return stopped.code


def _keeping(
    store: str,
    compact_after: str | None,
    keep_raw: str | None,
    keep_windows: str | None,
    keep_events: str | None,
    keep_results: str | None,
) -> Keeping:
    from edgeglm.errors import UserError
    from edgeglm.fleet.addresses import PostgresAddress, parse_store
    from edgeglm.fleet.seeing.times import parse_span_s
    from edgeglm.fleet.store.keeping import DAY_MS, Keeping, check_keeping

    def age_ms(text: str | None, option: str) -> int | None:
        return None if text is None else round(parse_span_s(text, option=option) * 1000)

    if compact_after is not None and isinstance(parse_store(store), PostgresAddress):
        raise UserError(
            "PostgreSQL has a table for each day and nothing to compact",
            where="--compact-after",
            hint="leave it out",
            code="keep-invalid",
        )
    return check_keeping(
        Keeping(
            age_ms(compact_after, "--compact-after") or DAY_MS,
            age_ms(keep_raw, "--keep-raw"),
            age_ms(keep_windows, "--keep-windows"),
            age_ms(keep_events, "--keep-events"),
            age_ms(keep_results, "--keep-results"),
        )
    )
