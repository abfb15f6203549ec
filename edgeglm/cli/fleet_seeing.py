"""Verbs of the fleet that look at what came: ls, show, logs, export, poison, and forget."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Literal

import typer

from edgeglm.cli.answer import Json
from edgeglm.cli.console import ConsoleLog, printing
from edgeglm.cli.fleet_options import DEFAULT_STORE, FleetName, StoreUrl
from edgeglm.cli.fleet_store import now_ms, reading, terminal_width

MOST_POISON = 1000  # as many as a store keeps

DeviceName = Annotated[str, typer.Argument(metavar="DEVICE", help="A board's name, or fleet/name.")]
SomeDevice = Annotated[str | None, typer.Argument(metavar="[DEVICE]", help="A board's name, or fleet/name.")]
Since = Annotated[str, typer.Option(metavar="TIME", help="How long ago (90s, 24h, 7d), or an ISO time.")]


def list_boards(
    store: StoreUrl = DEFAULT_STORE,
    fleet: FleetName = None,
    only_problems: Annotated[
        bool, typer.Option("--problems", help="Only boards with problems, the worst first, with the reasons.")
    ] = False,
    problem: Annotated[
        list[str] | None,
        typer.Option(metavar="KIND", help="Likewise, with problems of this kind; repeatable.", show_default=False),
    ] = None,
    json: Json = False,
) -> None:
    """List the boards, and what is wrong with them."""
    from edgeglm.fleet.plain import json_text
    from edgeglm.fleet.seeing.listing import (
        NONE_YET,
        Listing,
        board_lines,
        counts,
        nothing_comes,
        only,
        render,
        render_problems,
        worst_first,
    )

    with reading(store, fleet) as reader:
        summaries, at_ms = reader.devices(fleet), now_ms()
        boards = board_lines(summaries, at_ms)
        unreadable = reader.poison_count()
    nothing = nothing_comes(summaries, at_ms)
    if problem:
        boards, only_problems = only(boards, problem), True
    shown = worst_first(boards) if only_problems else boards
    with printing():
        if json:
            typer.echo(json_text(Listing(boards=shown, unreadable=unreadable, nothing_comes=nothing)))
        elif shown:
            width = terminal_width()
            typer.echo(render_problems(shown, width=width) if only_problems else render(shown, now_ms(), width=width))
    typer.echo(counts(boards) if boards else NONE_YET.rstrip(), err=True)
    if nothing:
        typer.echo(nothing.reason, err=True)
    if unreadable:
        typer.echo(f"{unreadable} messages or rows could not be read, ever: edgeglm fleet poison", err=True)


def show(
    device: DeviceName,
    store: StoreUrl = DEFAULT_STORE,
    fleet: FleetName = None,
    since: Since = "24h",
    json: Json = False,
) -> None:
    """Show one board: what it is, what it runs, how it did, what happened."""
    from edgeglm.fleet.plain import json_text
    from edgeglm.fleet.seeing.card import card
    from edgeglm.fleet.seeing.card_text import render
    from edgeglm.fleet.seeing.finding import find
    from edgeglm.fleet.seeing.times import OPEN_END_MS, parse_time
    from edgeglm.fleet.store.types import Span

    at_ms = now_ms()
    span = Span(parse_time(since, now_ms=at_ms, option="--since"), OPEN_END_MS)
    with reading(store, fleet) as reader:
        found = card(reader, find(reader, device, fleet), span, at_ms)
    with printing():
        typer.echo(json_text(found) if json else render(found, at_ms, width=terminal_width() or 80))


def logs(
    device: SomeDevice = None,
    store: StoreUrl = DEFAULT_STORE,
    fleet: FleetName = None,
    since: Since = "24h",
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on with what comes in, until stopped.")] = False,
) -> int:
    """Print what happened, an event a line."""
    from edgeglm.cli.signals import stopped_by_signals
    from edgeglm.fleet.seeing.events import event_line
    from edgeglm.fleet.seeing.events import follow as follow_events
    from edgeglm.fleet.seeing.finding import find
    from edgeglm.fleet.seeing.times import OPEN_END_MS, parse_time
    from edgeglm.fleet.store.types import Span

    since_ms = parse_time(since, now_ms=now_ms(), option="--since")
    with reading(store, fleet) as reader:
        one = find(reader, device, fleet).device if device else None
        if not follow:
            with printing():
                for event in reader.events(Span(since_ms, OPEN_END_MS), one, fleet):
                    typer.echo(event_line(event, with_fleet=fleet is None and one is None))
            return 0
        with stopped_by_signals() as stopped, printing():
            for event in follow_events(reader, since_ms, one, fleet, stop=stopped.event, log=ConsoleLog()):
                typer.echo(event_line(event, with_fleet=fleet is None and one is None))
                sys.stdout.flush()  # whoever reads a pipe is to see it now
    return stopped.code


def export(
    device: SomeDevice = None,
    store: StoreUrl = DEFAULT_STORE,
    fleet: FleetName = None,
    what: Annotated[
        Literal["windows", "events", "results", "gaps"], typer.Option(help="What to write; results are answers.")
    ] = "windows",
    file_format: Annotated[
        Literal["csv", "parquet"] | None,
        typer.Option("--format", help="Default: as the file's name ends, else csv.", show_default=False),
    ] = None,
    since: Since = "24h",
    until: Annotated[
        str | None, typer.Option(metavar="TIME", help="Likewise; default: all there is.", show_default=False)
    ] = None,
    output: Annotated[
        Path | None, typer.Option("-o", "--output", metavar="FILE", help="Default: stdout.", show_default=False)
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace a file that is there.")] = False,
) -> None:
    """Write windows, events, answers or gaps as CSV or Parquet, a row each."""
    from edgeglm.fleet.seeing.export import check_target, format_of, rows, told, write
    from edgeglm.fleet.seeing.finding import find
    from edgeglm.fleet.seeing.times import OPEN_END_MS, check_span, parse_time
    from edgeglm.fleet.store.types import Span

    at_ms = now_ms()
    since_ms = parse_time(since, now_ms=at_ms, option="--since")
    until_ms = parse_time(until, now_ms=at_ms, option="--until") if until else OPEN_END_MS
    check_span(Span(since_ms, until_ms))
    kind = file_format or format_of(output)
    check_target(output, kind, force=force)
    with reading(store, fleet) as reader, printing():
        one = find(reader, device, fleet).device if device else None
        found = told(rows(reader, what, Span(since_ms, until_ms), fleet, one), what, ConsoleLog())
        count = write(found, what, kind, output, force=force)
        typer.echo(f"{count} {what}" + (f" in {output}" if output else ""), err=True)


def poison(
    store: StoreUrl = DEFAULT_STORE,
    last: Annotated[int, typer.Option(min=1, max=MOST_POISON, metavar="N", help="Show so many, the newest.")] = 20,
    json: Json = False,
) -> None:
    """List the messages and rows that could not be read, the newest first, with the reason."""
    from edgeglm.fleet.plain import json_text
    from edgeglm.fleet.seeing.quarantine import counts, quarantine, render

    with reading(store) as reader:
        found = quarantine(reader, last)
    with printing():
        if json:
            typer.echo(json_text(found))
        elif found.messages:
            typer.echo(render(found, width=terminal_width()))
    typer.echo(counts(found), err=True)


def forget(
    device: DeviceName,
    store: StoreUrl = DEFAULT_STORE,
    fleet: FleetName = None,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
) -> None:
    """Remove everything that is known of a board."""
    from edgeglm.errors import UserError
    from edgeglm.fleet.plain import plain
    from edgeglm.fleet.seeing.finding import find
    from edgeglm.fleet.store.opening import open_store

    with reading(store, fleet) as reader:
        found = find(reader, device, fleet).device
    name = plain("/".join(found), 130)
    if not yes:
        if not sys.stdin.isatty():
            raise UserError(
                f"what is known of {name} would be removed for good, and there is nobody to ask",
                hint="--yes, if that is meant",
                code="forget-unasked",
            )
        if not typer.confirm(f"remove everything that is known of {name}?", err=True):
            typer.echo("nothing was removed", err=True)
            return
    writer = open_store(store)
    try:
        count = writer.forget(found)
    finally:
        writer.close()
    typer.echo(f"{count} rows of {name} removed; should it send again, it comes as a new board", err=True)
