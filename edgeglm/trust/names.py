"""Who holds certificates, and what they are called."""

from __future__ import annotations

import ipaddress
import re
from typing import TYPE_CHECKING, Literal, NamedTuple, get_args

from edgeglm_agent.wire import WireError
from edgeglm_agent.wire.topics import check_name

from edgeglm.errors import UserError

if TYPE_CHECKING:
    from datetime import datetime
    from pathlib import Path

Role = Literal["device", "collector", "operator", "broker", "probe"]
ISSUED_ROLES: tuple[Role, ...] = ("device", "collector", "operator", "broker")  # the probe is the broker's own
SCHEME = "edgeglm"
_HOST_NAME = re.compile(r"[A-Za-z0-9]([A-Za-z0-9._-]{0,251}[A-Za-z0-9])?\Z")


class Certificate(NamedTuple):
    """One that was issued."""

    role: Role
    name: str
    serial: int
    ends: datetime
    hosts: tuple[str, ...]  # of a broker
    pem: bytes

    @property
    def uri(self) -> str:
        """Its name, which is no other's, also where the holder has several."""
        return uri_of(self.role, self.name, self.serial)


class Identity(NamedTuple):
    """A certificate and its key, as they go to the holder."""

    certificate: Certificate
    key: bytes  # PEM, not encrypted


class Files(NamedTuple):
    """Where an identity lies."""

    authority: Path
    certificate: Path
    key: Path


def files_in(folder: Path, role: Role, name: str) -> Files:
    """Return where in a folder an identity lies: ``gate-7.pem`` of a board, ``operator-ada.pem`` of others."""
    stem = name if role == "device" else f"{role}-{name}"
    return Files(folder / "fleet-ca.pem", folder / f"{stem}.pem", folder / f"{stem}.key")


def user_of(role: Role, name: str) -> str:
    """Return the common name, which a broker takes for the user.

    A board's is its own name. That of others has a colon, which no board's name can have, so that no board can be
    called as to have their rights.
    """
    return name if role == "device" else f"role:{role}"


def uri_of(role: Role, name: str, serial: int) -> str:
    """Return the name that a certificate shares with no other: ``edgeglm:device/gate-7/5f3a...``."""
    return f"{SCHEME}:{role}/{name}/{serial:x}"


def holder_of(uri: str) -> tuple[Role, str]:
    """Return role and name. Raises: ValueError: It is no such name."""
    scheme, _, rest = uri.partition(":")
    role, name, _ = rest.split("/")
    if scheme != SCHEME or role not in get_args(Role):
        raise ValueError(uri)
    return role, name  # type: ignore[return-value]


def check_role(role: str, among: tuple[Role, ...] = ISSUED_ROLES) -> Role:
    """Return the role. Raises: UserError: There is none of this name."""
    if role not in among:
        raise UserError(
            f"there is no role `{role}`",
            where="--role",
            hint=f"one of {', '.join(ISSUED_ROLES)}",
            code="certificate-role",
        )
    return role


def check_holder(role: str, name: str, *, among: tuple[Role, ...] = get_args(Role)) -> Role:
    """Return the role.

    Raises:
        UserError: There is none of this name, or who has it cannot be called so.
    """
    role = check_role(role, among)
    if role == "broker":
        if not is_host(name):
            raise UserError(
                f"`{name}` is neither an address nor a host's name",
                hint="a broker is called as its clients reach it: broker.example.org",
                code="certificate-name",
            )
        return "broker"
    try:
        check_name(name, role)
    except WireError as error:
        raise UserError(
            str(error), hint="a board's certificate has the name in its settings (`device`)", code="certificate-name"
        ) from error
    return role


def is_host(text: str) -> bool:
    """Tell whether this is an address, or can be a host's name."""
    return address_of(text) is not None or _HOST_NAME.match(text) is not None


def address_of(text: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    """Return an address, or None: it is none."""
    try:
        return ipaddress.ip_address(text)
    except ValueError:
        return None


def is_loopback(host: str) -> bool:
    """Tell whether only this machine reaches it."""
    address = address_of(host)
    return host == "localhost" if address is None else address.is_loopback
