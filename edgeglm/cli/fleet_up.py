"""`edgeglm fleet up`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from edgeglm.cli.console import ConsoleLog, printing
from edgeglm.cli.fleet_keeping import CompactAfter, KeepEvents, KeepRaw, KeepResults, KeepWindows, keeping_of
from edgeglm.cli.fleet_options import DEFAULT_FOLDER, DEFAULT_STORE, PAGE_PORT
from edgeglm.cli.signals import stopped_by_signals


def up(
    data: Annotated[Path, typer.Option("--data", metavar="DIR", help="What all of it keeps.")] = Path(DEFAULT_FOLDER),
    host: Annotated[str, typer.Option(metavar="ADDRESS", help="Where the broker listens.")] = "127.0.0.1",
    port: Annotated[
        int | None, typer.Option(min=1, max=65535, help="The broker's: 1883, or 8883 with --tls.", show_default=False)
    ] = None,
    tls: Annotated[
        bool, typer.Option("--tls", help="Let in who has a certificate of ours, with that one's rights alone.")
    ] = False,
    name: Annotated[
        list[str] | None,
        typer.Option(metavar="HOST", help="With --tls: what else boards reach it by; repeatable.", show_default=False),
    ] = None,
    broker_program: Annotated[
        str, typer.Option(metavar="NAME", help="mosquitto, nats, or auto: mosquitto where it is installed.")
    ] = "auto",
    page_port: Annotated[
        int, typer.Option(min=1, max=65535, help="Where the page listens, for this machine alone.")
    ] = PAGE_PORT,
    compact_after: CompactAfter = None,
    keep_raw: KeepRaw = None,
    keep_windows: KeepWindows = None,
    keep_events: KeepEvents = None,
    keep_results: KeepResults = None,
) -> int:
    """Run broker, collector and page until they are stopped; print their addresses once all of them work."""
    from edgeglm.fleet.broker.programs import find_program
    from edgeglm.fleet.broker.settings import PLAIN_PORT, TLS_PORT, BrokerSettings, check_settings
    from edgeglm.fleet.up.parts import BROKER_FOLDER, next_commands, parts_of, store_url
    from edgeglm.fleet.up.run import Up

    settings = check_settings(
        BrokerSettings(
            data=data.absolute() / BROKER_FOLDER,
            host=host,
            port=port or (TLS_PORT if tls else PLAIN_PORT),
            tls=tls,
            names=tuple(name or ()),
        )
    )
    ages = (compact_after, keep_raw, keep_windows, keep_events, keep_results)
    keeping_of(store_url(data.absolute()), *ages)
    options = ("--compact-after", "--keep-raw", "--keep-windows", "--keep-events", "--keep-results")
    keeping = [word for option, age in zip(options, ages, strict=True) if age is not None for word in (option, age)]
    find_program(broker_program)  # what is not installed is said before anything begins
    log = ConsoleLog()

    def ready(addresses: dict[str, str]) -> None:
        with printing():
            for part, address in addresses.items():
                typer.echo(f"{part:<9}  {address}")
        log.stage("ready; in another terminal:")
        usual_broker = f"mqtt://127.0.0.1:{PLAIN_PORT}"
        for line in next_commands(data, settings, usual_store=DEFAULT_STORE, usual_broker=usual_broker):
            log.note(line)

    parts = parts_of(data.absolute(), settings, broker_program, page_port=page_port, keeping=keeping)
    with stopped_by_signals() as stopped:
        Up(data.absolute(), parts, log, stop=stopped.event).run(ready)
    return stopped.code
