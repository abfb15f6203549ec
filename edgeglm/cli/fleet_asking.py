"""`edgeglm fleet cmd`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from edgeglm.cli.answer import Json
from edgeglm.cli.console import printing
from edgeglm.cli.fleet_options import DEFAULT_BROKER, DEFAULT_STORE, BrokerUrl, FleetName, StoreUrl

if TYPE_CHECKING:
    from edgeglm_agent.wire.commands import Reply

    from edgeglm.fleet.addresses import BrokerAddress
    from edgeglm.fleet.store.types import Device


def command(
    device: Annotated[
        str, typer.Argument(metavar="DEVICE", help="A board's name, or fleet/name; 'gate-*' or '*': several.")
    ],
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
    """Ask a board something, or tell it, or many; exit 4 when one refuses, or does not answer in time."""
    from edgeglm.fleet.addresses import parse_broker
    from edgeglm.fleet.answers import answer_text
    from edgeglm.fleet.commands import ask, check_within, parse_arguments, refusal
    from edgeglm.fleet.plain import json_text
    from edgeglm.fleet.seeing.finding import addressed, is_pattern
    from edgeglm.fleet.seeing.times import parse_span_s

    arguments = parse_arguments(op, words or [])
    within_s = check_within(parse_span_s(within, option="--within"))
    address = parse_broker(broker)
    if warning := address.warning():
        typer.echo(f"warning: {warning}", err=True)
    if is_pattern(device):
        _ask_many(address, device, op, arguments, within_s, store, fleet, json)
        return
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


def _ask_many(
    address: BrokerAddress,
    pattern: str,
    op: str,
    arguments: dict[str, Any],
    within_s: float,
    store: str,
    fleet: str | None,
    json: bool,
) -> None:
    from edgeglm.fleet.answers import answer_text
    from edgeglm.fleet.commands_to_many import ask_many, check_for_many, left_over
    from edgeglm.fleet.plain import json_text
    from edgeglm.fleet.seeing.finding import matching

    if not json:
        check_for_many(op)
    devices = matching(pattern, fleet, store)
    typer.echo(f"{op} to {len(devices)} boards; answers are waited for {within_s:g} s", err=True)

    def heard(device: Device, reply: Reply, took_s: float) -> None:
        if reply.ok and not json:
            with printing():  # of each: the others are waited for, and judged, whoever reads on
                typer.echo(answer_text("/".join(device), reply, took_s))

    answers = ask_many(address, devices, op, arguments, within_s=within_s, heard=heard)
    if json:
        with printing():
            told = [{"fleet": each.fleet, "device": each.name, "reply": answers.replies.get(each)} for each in devices]
            typer.echo(json_text(told))
    if (error := left_over(answers, op, within_s)) is not None:
        raise error
