"""`edgeglm fleet twin`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from edgeglm.cli.answer import Json
from edgeglm.cli.console import printing
from edgeglm.cli.fleet_options import DEFAULT_STORE, FleetName, StoreUrl
from edgeglm.cli.fleet_store import now_ms, reading, terminal_width


def twin(
    device: Annotated[str, typer.Argument(metavar="DEVICE", help="A board's name, or fleet/name.")],
    at: Annotated[str, typer.Option(metavar="TIME", help="The moment: how long ago (90s, 24h, 7d), or an ISO time.")],
    around: Annotated[str, typer.Option(metavar="TIME", help="How much before and after it.")] = "15m",
    store: StoreUrl = DEFAULT_STORE,
    fleet: FleetName = None,
    slot: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="Whose neighbours are compared.", show_default="that of the newest window"),
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option("-o", "--output", metavar="FOLDER", help="Write signals and inputs there.", show_default=False),
    ] = None,
    json: Json = False,
) -> None:
    """Show what a board ran, saw and said around a moment, and whether it was alone with it."""
    from edgeglm.fleet.plain import json_text
    from edgeglm.fleet.seeing.finding import find
    from edgeglm.fleet.seeing.keeping import keep
    from edgeglm.fleet.seeing.times import parse_around_ms, parse_past
    from edgeglm.fleet.seeing.twin import twin as twin_of
    from edgeglm.fleet.seeing.twin_text import render

    at_ms, around_ms = parse_past(at, now_ms=now_ms(), option="--at"), parse_around_ms(around, option="--around")
    with reading(store, fleet) as reader:
        found = twin_of(reader, find(reader, device, fleet), at_ms, around_ms, slot)
    kept = keep(found, output) if output is not None else []
    with printing():
        blocks = (sys.stdout.encoding or "").lower().replace("-", "") == "utf8"
        typer.echo(json_text(found) if json else render(found, width=terminal_width() or 80, blocks=blocks))
    if output is not None:
        typer.echo(f"{len(kept)} file{'' if len(kept) == 1 else 's'} in {output}", err=True)
