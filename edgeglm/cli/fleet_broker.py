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
        list[str], typer.Argument(metavar="NAME...", help="The board's name in its settings; a broker's host.")
    ],
    role: Role = "device",
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
    data: Data = Path(DEFAULT_DATA),
) -> None:
    """Make a certificate with its key for each name, and print the files."""
    from edgeglm.fleet.broker.issuing import issue

    one = out if len(names) == 1 else None
    folders = {name: one or (out or Path("certificates")) / name for name in names}
    log = ConsoleLog()
    with printing():
        for issued in issue(data, role, folders, hosts=tuple(host or ()), days=days, renew=renew):
            for note in issued.notes:
                log.note(note)
            for path in issued.files:
                typer.echo(path)


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
