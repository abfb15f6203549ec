"""Where the page listens, and what it is called."""

from __future__ import annotations

import socket
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from edgeglm.errors import EnvironmentFailedError, UserError
from edgeglm.fleet.addresses import PostgresAddress, parse_store
from edgeglm.trust.names import is_host, is_loopback

if TYPE_CHECKING:
    from collections.abc import Iterator

PORT = 8480
TOKEN_FILE = "page.token"  # noqa: S105 - its name, beside the store
_FOLDER = Path("fleet")  # where it lies when the store is a database
_BACKLOG = 256


class PageSettings(msgspec.Struct, frozen=True, kw_only=True):
    """What ``fleet serve`` is started with."""

    store: str
    fleet: str | None = None  # None: every one
    host: str = "127.0.0.1"
    port: int = PORT  # 0: any that is free
    names: tuple[str, ...] = ()  # what else people call this machine in their browsers
    token_file: Path | None = None  # None: one beside the store, where a token is needed
    rules: Path | None = None  # of alarms; None: those that come with edgeglm
    webhook: str | None = None  # who is told of alarms

    @property
    def needs_token(self) -> bool:
        """Whether others may reach it, themselves or by a proxy, so that whoever asks has to show a token."""
        return not is_loopback(self.host) or bool(self.names) or self.token_file is not None

    @property
    def token_path(self) -> Path:
        """Where the token is. Raises: UserError: The store's address is none."""
        if self.token_file is not None:
            return self.token_file
        store = parse_store(self.store)
        return (_FOLDER if isinstance(store, PostgresAddress) else store.parent) / TOKEN_FILE


def check_settings(settings: PageSettings) -> PageSettings:
    """Return the settings. Raises: UserError: A name or address is none."""
    for option, hosts in (("--host", (settings.host,)), ("--name", settings.names)):
        for host in hosts:
            if not is_host(host):
                raise UserError(
                    f"`{host}` is neither an address nor a host's name",
                    where=option,
                    hint="--host 127.0.0.1 for this machine alone, 0.0.0.0 for all of its networks",
                    code="page-host",
                )
    return settings


def listening_socket(settings: PageSettings) -> socket.socket:
    """Return a socket that listens. Raises: EnvironmentFailedError: The address is not ours, or the port is taken."""
    try:
        found = socket.getaddrinfo(settings.host, settings.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        family, kind, protocol, _, address = found[0]
        listening = socket.socket(family, kind, protocol)
        try:
            listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listening.bind(address)
            listening.listen(_BACKLOG)
            listening.setblocking(False)
        except BaseException:
            listening.close()
            raise
    except OSError as error:
        raise EnvironmentFailedError(
            f"cannot listen on {settings.host} port {settings.port}: {error.strerror or error}",
            where="--port" if settings.port else "--host",
            hint="another program may have it: choose another with --port",
            code="page-port",
        ) from error
    return listening


def address(settings: PageSettings, port: int) -> str:
    """Return what people on this machine type into a browser."""
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(settings.host, settings.host)  # noqa: S104 - compared, not bound
    return f"http://{f'[{host}]' if ':' in host else host}:{port}/"


def own_names(settings: PageSettings) -> Iterator[str]:
    """Yield the names that a browser may know this machine by, in lower case."""
    yield "localhost"
    yield socket.gethostname().lower()
    yield from (name.lower() for name in (settings.host, *settings.names))
