"""`edgeglm fleet cmd`."""

from __future__ import annotations

from typing import Annotated

import typer

from edgeglm.cli.answer import Json
from edgeglm.cli.console import printing
from edgeglm.cli.fleet_options import DEFAULT_BROKER, DEFAULT_STORE, BrokerUrl, FleetName, StoreUrl


def command(
    device: Annotated[str, typer.Argument(metavar="DEVICE", help="A board's name, or fleet/name.")],
    op: Annotated[str, typer.Argument(metavar="OP", help="ping, status, sample, set, restart or logs.")],
    words: Annotated[
        list[str] | None,
        typer.Argument(metavar="[KEY=VALUE]...", help="What it takes, such as window_s=60.", show_default=False),
    ] = None,
    broker: BrokerUrl = DEFAULT_BROKER,
    store: StoreUrl = DEFAULT_STORE,
    fleet: FleetName = None,
    within: Annotated[str, typer.Option(metavar="TIME", help="How long the answer is waited for.")] = "30s",
    json: Json = False,
) -> None:
    """Ask a board something, or tell it; exit 4 when it refuses, or does not answer in time."""
    from edgeglm.fleet.addresses import parse_broker
    from edgeglm.fleet.answers import answer_text
    from edgeglm.fleet.commands import ask, check_within, parse_arguments, refusal
    from edgeglm.fleet.plain import json_text
    from edgeglm.fleet.seeing.finding import addressed
    from edgeglm.fleet.seeing.times import parse_span_s

    arguments = parse_arguments(op, words or [])
    within_s = check_within(parse_span_s(within, option="--within"))
    address = parse_broker(broker)
    if warning := address.warning():
        typer.echo(f"warning: {warning}", err=True)
    whom = addressed(device, fleet, store)
    answer = ask(address, whom, op, arguments, within_s=within_s, note=lambda text: typer.echo(text, err=True))
    if json:
        with printing():
            typer.echo(json_text(answer.reply))
    if not answer.reply.ok:
        raise refusal(whom, answer.reply)
    if not json:
        with printing():
            typer.echo(answer_text(whom.name, answer.reply, answer.took_s))
