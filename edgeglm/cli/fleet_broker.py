"""`edgeglm fleet broker`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from edgeglm.cli.console import ConsoleLog, printing
from edgeglm.cli.fleet_options import DEFAULT_FOLDER
from edgeglm.cli.signals import stopped_by_signals

DEFAULT_DATA = f"{DEFAULT_FOLDER}/broker"

Data = Annotated[
    Path,
    typer.Option("--data", metavar="DIR", envvar="EDGEGLM_BROKER_DATA", help="What it keeps, and its authority."),
]


Role = Annotated[str, typer.Option(metavar="ROLE", help="device, collector, operator or broker.")]


def broker(
    data: Data = Path(DEFAULT_DATA),
    host: Annotated[str, typer.Option(metavar="ADDRESS", help="Where it listens.")] = "127.0.0.1",
    port: Annotated[
        int | None, typer.Option(min=1, max=65535, help="1883, or 8883 with --tls.", show_default=False)
    ] = None,
    tls: Annotated[
        bool, typer.Option("--tls", help="Let in who has a certificate of ours, with that one's rights alone.")
    ] = False,
    name: Annotated[
        list[str] | None, typer.Option(metavar="HOST", help="With --tls: what else boards reach it by; repeatable.")
    ] = None,
    fleet: Annotated[
        str | None, typer.Option(metavar="NAME", help="With --tls: the one fleet that certificates give rights to.")
    ] = None,
    broker_program: Annotated[
        str, typer.Option(metavar="NAME", help="mosquitto, nats, or auto: mosquitto where it is installed.")
    ] = "auto",
    write_config: Annotated[
        Path | None,
        typer.Option(metavar="FOLDER", help="Start nothing: write what a mosquitto elsewhere needs; takes --name."),
    ] = None,
) -> int:
    """Run one machine's broker until it is stopped; print its address once it takes connections."""
    from edgeglm.fleet.broker.programs import find_program
    from edgeglm.fleet.broker.settings import PLAIN_PORT, TLS_PORT, BrokerSettings, check_settings
    from edgeglm.fleet.broker.supervise import Supervisor

    settings = check_settings(
        BrokerSettings(
            data=data.absolute(),
            host=host,
            port=port or (TLS_PORT if tls or write_config else PLAIN_PORT),
            tls=tls or write_config is not None,  # elsewhere, it is never without
            names=tuple(name or ()),
            fleet=fleet,
        )
    )
    if write_config is not None:
        from edgeglm.fleet.broker.production import write_configuration

        with printing():
            for path in write_configuration(settings, write_config, ConsoleLog()):
                typer.echo(path)
        return 0
    log = ConsoleLog()

    def ready(address: str) -> None:
        with printing():
            typer.echo(address)

    with stopped_by_signals() as stopped:
        Supervisor(find_program(broker_program), settings, log, stop=stopped.event).run(ready)
    return stopped.code


def certificate(
    names: Annotated[
        list[str] | None,
        typer.Argument(metavar="NAME", help="The board's name in its settings; a broker's host.", show_default=False),
    ] = None,
    role: Annotated[
        str | None,
        typer.Option(metavar="ROLE", help="device, collector, operator or broker.", show_default="device; --list: all"),
    ] = None,
    names_file: Annotated[
        Path | None,
        typer.Option("--from", metavar="FILE", help="Names as well, one a line; each gets a folder of its own."),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(
            "-o",
            "--output",
            metavar="FOLDER",
            help="Where it goes; of several names, each into a folder of its name within.",
            show_default="certificates/NAME",
        ),
    ] = None,
    host: Annotated[
        list[str] | None, typer.Option(metavar="HOST", help="Of a broker: what else it is reached by; repeatable.")
    ] = None,
    days: Annotated[
        int | None, typer.Option(min=1, max=3650, help="How long it counts.", show_default="730 of a board, else 365")
    ] = None,
    renew: Annotated[bool, typer.Option("--renew", help="The holder has one already; both count.")] = False,
    only_list: Annotated[
        bool, typer.Option("--list", help="Make none: list who holds one, those first that end within 30 days.")
    ] = False,
    json: Annotated[bool, typer.Option("--json", help="With --list: print JSON.")] = False,
    data: Data = Path(DEFAULT_DATA),
) -> None:
    """Make a certificate with its key for each name, and print the files; or list them."""
    from edgeglm.fleet.broker.holders import read_names
    from edgeglm.fleet.broker.issuing import issue

    if only_list:
        if names or names_file:
            raise typer.BadParameter("--list makes none: leave NAME and --from away")
        _list_holders(data, role, json=json)
        return
    if json:
        raise typer.BadParameter("--json is of --list")
    places = dict.fromkeys(names or (), "") | (read_names(names_file) if names_file else {})
    if not places:
        raise typer.BadParameter("say whose: NAME, or --from a file of names")
    one = out if len(places) == 1 and not names_file else None
    folders = {name: one or (out or Path("certificates")) / name for name in places}
    log = ConsoleLog()
    made = issue(data, role or "device", folders, hosts=tuple(host or ()), days=days, renew=renew, places=places)
    for issued in made:
        for note in issued.notes:
            log.note(note)
        with printing():  # of each: all are made, whoever reads on
            for path in issued.files:
                typer.echo(path)


def _list_holders(data: Path, role: str | None, *, json: bool) -> None:
    from edgeglm.cli.fleet_store import terminal_width
    from edgeglm.fleet.broker.holders import counts, holders, render
    from edgeglm.fleet.plain import json_text
    from edgeglm.trust.names import check_role

    found = holders(data, None if role is None else check_role(role))
    with printing():
        if json:
            typer.echo(json_text(found))
        elif found.holders:
            typer.echo(render(found.holders, width=terminal_width()))
    typer.echo(counts(found), err=True)


def revoke(
    name: Annotated[str, typer.Argument(metavar="NAME", help="Whose certificates.")],
    role: Role = "device",
    data: Data = Path(DEFAULT_DATA),
) -> None:
    """Let a holder's certificates count no more; a broker that runs ends its connections."""
    from edgeglm.fleet.broker.issuing import take_back

    with printing():
        for serial in take_back(data, role, name):
            typer.echo(f"{serial:x}")
