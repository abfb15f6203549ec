"""`edgeglm fleet serve`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from edgeglm.cli.console import ConsoleLog, printing
from edgeglm.cli.fleet_options import DEFAULT_STORE, PAGE_PORT, FleetName, StoreUrl
from edgeglm.cli.signals import stopped_by_signals


def serve(
    store: StoreUrl = DEFAULT_STORE,
    fleet: FleetName = None,
    host: Annotated[
        str, typer.Option(metavar="ADDRESS", help="Where it listens; other than on this machine alone, with a token.")
    ] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="0: any that is free.")] = PAGE_PORT,
    name: Annotated[
        list[str] | None,
        typer.Option(
            metavar="HOST", help="What else browsers know it by, with a token; repeatable.", show_default=False
        ),
    ] = None,
    token_file: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="Ask for the token in it; it is made where there is none.",
            show_default="page.token beside the store (fleet/page.token), where a token is needed",
        ),
    ] = None,
    rules: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Of what is an alarm.", show_default="those that come with edgeglm"),
    ] = None,
    webhook: Annotated[
        str | None,
        typer.Option(
            metavar="URL", envvar="EDGEGLM_WEBHOOK", help="Who is told of alarms, by POST.", show_default=False
        ),
    ] = None,
) -> int:
    """Show the fleet as a web page, live, until it is stopped; print its address."""
    from edgeglm.fleet.page.serve import serve_until
    from edgeglm.fleet.page.settings import PageSettings

    settings = PageSettings(
        store=store,
        fleet=fleet,
        host=host,
        port=port,
        names=tuple(name or ()),
        token_file=token_file,
        rules=rules,
        webhook=webhook,
    )

    def ready(address: str) -> None:
        with printing():
            typer.echo(address)

    with stopped_by_signals() as stopped:
        serve_until(stopped.event, settings, ready, ConsoleLog())
    return stopped.code
