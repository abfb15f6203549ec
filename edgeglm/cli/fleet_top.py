"""`edgeglm fleet top`."""

from __future__ import annotations

from typing import Annotated, Literal

import typer

from edgeglm.cli.console import printing
from edgeglm.cli.fleet_options import DEFAULT_STORE, FleetName, StoreUrl
from edgeglm.cli.fleet_store import now_ms, reading, terminal_width
from edgeglm.cli.signals import stopped_by_signals


def top(
    store: StoreUrl = DEFAULT_STORE,
    fleet: FleetName = None,
    sort: Annotated[
        Literal["problem", "p95", "errors", "temperature", "drift", "rate", "device"],
        typer.Option(help="What comes first; the left and right keys change it."),
    ] = "problem",
    every: Annotated[str, typer.Option(metavar="TIME", help="From one look at the store to the next.")] = "2s",
) -> int:
    """Watch the boards, those that hurt most first; without a terminal, show them once."""
    from edgeglm.fleet.seeing.listing import NONE_YET, counts
    from edgeglm.fleet.seeing.live import watch
    from edgeglm.fleet.seeing.screen import is_terminal
    from edgeglm.fleet.seeing.times import parse_span_s
    from edgeglm.fleet.seeing.top import in_order, look, table

    every_s = parse_span_s(every, option="--every")
    with reading(store, fleet) as reader:
        seen = look(reader.devices(fleet), now_ms())
    if not is_terminal():
        with printing():
            if seen.lines:
                typer.echo("\n".join(table(in_order(seen.lines, sort), terminal_width())))
        typer.echo(counts(seen.boards) if seen.boards else NONE_YET.rstrip(), err=True)
        return 0
    with stopped_by_signals() as stopped:
        watch(store, fleet, seen, sort=sort, every_s=every_s, stop=stopped.event)
    return stopped.code
