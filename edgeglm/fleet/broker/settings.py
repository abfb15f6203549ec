"""What a broker is started with."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Literal
from urllib.parse import urlencode

import msgspec
from edgeglm_agent.wire import WireError
from edgeglm_agent.wire.topics import check_name

from edgeglm.errors import UserError
from edgeglm.trust.names import Role, files_in, is_host, is_loopback

LOCAL = "local"  # what certificates are called that a broker makes by itself, for who works beside it
PLAIN_PORT, TLS_PORT = 1883, 8883
ProgramName = Literal["auto", "mosquitto", "nats"]


class BrokerSettings(msgspec.Struct, frozen=True, kw_only=True):
    """Where a broker listens, what it keeps where, and whom it lets in."""

    data: Path  # everything it keeps; absolute
    host: str = "127.0.0.1"
    port: int = PLAIN_PORT
    tls: bool = False
    names: tuple[str, ...] = ()  # what else it is reached by: its certificate has them
    fleet: str | None = None  # with TLS, all that certificates give rights to; None: every fleet

    @property
    def address(self) -> str:
        """What clients on this machine are told."""
        host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(self.host, self.host)  # noqa: S104 - compared, not bound
        shown = f"[{host}]" if ":" in host else host
        return f"{'mqtts' if self.tls else 'mqtt'}://{shown}:{self.port}"

    @property
    def identities(self) -> Path:
        """The folder of its own certificates, and of theirs who work beside it."""
        return self.data / "tls"

    def url(self, role: Role) -> str:
        """Return the address for who works beside it, with what it shows and trusts."""
        if not self.tls:
            return self.address
        files = files_in(self.identities, role, LOCAL)
        named = {"ca": files.authority, "certificate": files.certificate, "key": files.key}
        return f"{self.address}?{urlencode({key: str(path) for key, path in named.items()}, safe='/')}"

    @property
    def trust(self) -> Path:
        """The folder of the authority and of what it has signed."""
        return self.data / "trust"


def check_settings(settings: BrokerSettings) -> BrokerSettings:
    """Return the settings.

    Raises:
        UserError: A name or address is none, or anybody on the network could write.
    """
    for option, hosts in (("--host", (settings.host,)), ("--name", settings.names)):
        for host in hosts:
            if not is_host(host):
                raise UserError(
                    f"`{host}` is neither an address nor a host's name",
                    where=option,
                    hint="--host 127.0.0.1 for this machine alone, 0.0.0.0 for all of its networks (with --tls)",
                    code="broker-host",
                )
    if settings.names and not settings.tls:
        raise UserError(
            "a name goes into the broker's certificate, and there is none without TLS",
            where="--name",
            hint="add --tls",
            code="broker-host",
        )
    if not settings.tls and not is_loopback(settings.host):
        raise UserError(
            f"without TLS everybody who reaches {settings.host} could read and write as every board",
            where="--host",
            hint="add --tls, or leave --host away: the broker then listens on 127.0.0.1 alone",
            code="broker-exposed",
        )
    if settings.fleet is not None:
        if not settings.tls:
            raise UserError(
                "a fleet is kept apart by what certificates give rights to, and there are none without TLS",
                where="--fleet",
                hint="add --tls",
                code="broker-fleet",
            )
        try:
            check_name(settings.fleet, "fleet")
        except WireError as error:
            raise UserError(
                str(error), where="--fleet", hint="name it as the boards' settings do", code="broker-fleet"
            ) from error
    if re.search(r"[\x00-\x1f]", str(settings.data)):
        raise UserError(
            "a control character in the path of the data folder",
            where="--data",
            hint="choose another folder",
            code="broker-folder",
        )
    return settings
