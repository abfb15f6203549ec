"""Options that several verbs of the fleet take."""

from __future__ import annotations

from typing import Annotated

import typer

DEFAULT_FOLDER = "fleet"  # in the current folder
DEFAULT_STORE = f"sqlite:///{DEFAULT_FOLDER}/fleet.db"
DEFAULT_BROKER = "mqtt://localhost"  # as `edgeglm fleet broker` starts it
PAGE_PORT = 8480

StoreUrl = Annotated[
    str,
    typer.Option(
        "--store",
        metavar="URL",
        envvar="EDGEGLM_STORE",
        help="Where what came is kept: sqlite:///FILE, or postgresql://USER@HOST/DATABASE with its password in "
        "PGPASSWORD or ~/.pgpass.",
    ),
]

BrokerUrl = Annotated[
    str,
    typer.Option(
        "--broker",
        metavar="URL",
        envvar="EDGEGLM_BROKER",
        help="mqtt://HOST:PORT, or mqtts://USER@HOST?ca=FILE&certificate=FILE&key=FILE&password_file=FILE; "
        "a password may also be in EDGEGLM_MQTT_PASSWORD.",
    ),
]


def _checked_fleet(name: str | None) -> str | None:
    from edgeglm_agent.wire import WireError
    from edgeglm_agent.wire.topics import check_name

    from edgeglm.errors import UserError
    from edgeglm.fleet.plain import plain

    try:
        return name if name is None else check_name(name, "fleet")
    except WireError as error:
        raise UserError(plain(error), where="--fleet", code="fleet-name") from error


FleetName = Annotated[
    str | None,
    typer.Option("--fleet", metavar="NAME", callback=_checked_fleet, help="Only this fleet.", show_default=False),
]
