"""`edgeglm fleet simulate`."""

from __future__ import annotations

from typing import Annotated

import typer

from edgeglm.cli.answer import Json, answer
from edgeglm.cli.fleet_options import DEFAULT_BROKER, BrokerUrl


def simulate(
    broker: BrokerUrl = DEFAULT_BROKER,
    profile: Annotated[
        str, typer.Option(metavar="FILE", help="A YAML file, or one of ours: calm, trouble, capacity.")
    ] = "calm",
    devices: Annotated[int | None, typer.Option(min=1, max=1_000_000, help="In place of the profile's.")] = None,
    duration: Annotated[
        float | None, typer.Option(min=0.1, metavar="SECONDS", help="In place of the profile's.")
    ] = None,
    rate: Annotated[
        float | None, typer.Option(min=0.0001, max=1000, help="Messages a second of each device, in place of windows.")
    ] = None,
    acknowledged: Annotated[
        int | None,
        typer.Option(
            min=1, max=10_000, metavar="ROWS", help="Closed loop: rows that each device keeps on its way to the store."
        ),
    ] = None,
    ack_within: Annotated[
        float | None, typer.Option(min=0, max=86_400, metavar="SECONDS", help="What the collector is granted.")
    ] = None,
    seed: Annotated[int | None, typer.Option(min=0, help="In place of the profile's.")] = None,
    processes: Annotated[int, typer.Option(min=1, max=256, help="Among which the devices are divided.")] = 1,
    json: Json = False,
) -> int:
    """Simulate boards that speak to a broker as real ones do; say what was sent, acknowledged and how late.

    Exit 4 when rows were left without an acknowledgement, or devices without a connection.
    """
    from edgeglm.cli.console import ConsoleLog
    from edgeglm.cli.signals import stopped_by_signals
    from edgeglm.fleet.simulate.reading import load_profile, with_options
    from edgeglm.fleet.simulate.session import simulate as run
    from edgeglm.fleet.simulate.summary import render

    wanted = with_options(
        load_profile(profile),
        devices=devices,
        duration_s=duration,
        rate=rate,
        in_flight=acknowledged,
        ack_within_s=ack_within,
        seed=seed,
    )
    log = ConsoleLog()
    with stopped_by_signals() as stopped:
        summary = run(wanted, broker, processes=processes, log=log, stop=stopped.event)
    answer(summary, render, json=json)
    if stopped.code:
        return stopped.code
    if summary.never:
        why = f": {summary.last_failure}" if summary.refused else " in this time"
        log.warn(f"{summary.never:,} of {summary.devices:,} devices never connected{why}")
    if summary.rows.outstanding:
        log.warn(f"{summary.rows.outstanding:,} rows have no acknowledgement: does a collector take them?")
    return 4 if summary.never or summary.rows.outstanding else 0
