"""What `edgeglm fleet up` starts: the verbs that one could start by hand, with one folder for what they keep."""

from __future__ import annotations

import os
import re
import shlex
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple
from urllib.parse import quote

from edgeglm.errors import UserError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from edgeglm.fleet.broker.settings import BrokerSettings

BROKER_FOLDER, STORE_FILE = "broker", "fleet.db"
# lines of connections that end in order, since a hundred boards would bury everything else; the collector's own trial;
# NATS' of its start, and of clients that try another version of MQTT first
_LEFT_OUT = re.compile(
    r": (New connection from |New client connected from |Client \S+ (disconnected|closed its connection)\.$)"
    r"|: Client \S+-probe already connected|Replacing old client \S+ - mid:\d+ - \S+-probe\b"
    r"|^\[\d+\] \S+ \S+ \[INF\]|\[ERR\] .* - unacceptable protocol version of 5$"
)
_PAGE_HOST = "127.0.0.1"  # from elsewhere it needs a token: that is for `edgeglm fleet serve` to be told


class Port(NamedTuple):
    """Where a part listens, and the option that chooses another."""

    host: str
    number: int
    option: str
    code: str  # of the error when somebody else has it


class Part(NamedTuple):
    """One verb; it prints its address once it is ready."""

    name: str
    arguments: list[str]  # of `edgeglm fleet`
    port: Port | None = None
    left_out: re.Pattern[str] | None = None  # lines of its log that `up` does not repeat


def store_url(folder: Path) -> str:
    """Return the address of a folder's store, as short as the current folder allows."""
    path = folder / STORE_FILE
    if path.is_absolute() and path.is_relative_to(Path.cwd()):
        path = path.relative_to(Path.cwd())
    return f"sqlite:///{quote(os.fspath(path))}"


def parts_of(
    folder: Path, settings: BrokerSettings, program: str, *, page_port: int, keeping: Sequence[str] = ()
) -> list[Part]:
    """Return what is started, in this order.

    Args:
        folder: Where everything is kept.
        settings: Of the broker.
        program: Which broker.
        page_port: Where the page listens, for this machine alone.
        keeping: The collector's options of how long rows are kept.

    Raises:
        UserError: Broker and page would listen on one port.
    """
    if page_port == settings.port:
        raise UserError(
            f"{page_port} is the broker's port",
            where="--page-port",
            hint="choose another for one of them, with --port or --page-port",
            code="fleet-ports",
        )
    broker = ["--data", str(settings.data), "--host", settings.host, "--port", str(settings.port)]
    broker += ["--broker-program", program, *(["--tls"] if settings.tls else [])]
    for name in settings.names:
        broker += ["--name", name]
    store = ["--store", store_url(folder)]
    return [
        Part(
            "broker",
            ["broker", *broker],
            Port(settings.host, settings.port, "--port", code="broker-port"),
            left_out=_LEFT_OUT,
        ),
        Part("collector", ["collect", "--broker", settings.url("collector"), *store, *keeping]),
        Part(
            "page",
            ["serve", "--host", _PAGE_HOST, "--port", str(page_port), *store],
            Port(_PAGE_HOST, page_port, "--page-port", code="page-port"),
        ),
    ]


def next_commands(folder: Path, settings: BrokerSettings, *, usual_store: str, usual_broker: str) -> list[str]:
    """Return what may be done now, in another terminal.

    Args:
        folder: Where everything is kept.
        settings: Of the broker.
        usual_store: The address that other verbs take where they are told none.
        usual_broker: Likewise.
    """
    variables = []
    if store_url(folder) != usual_store:
        variables.append(f"EDGEGLM_STORE={shlex.quote(store_url(folder))}")
        if settings.tls:
            variables.append(f"EDGEGLM_BROKER_DATA={shlex.quote(os.fspath(settings.data))}")
    if settings.url("operator") != usual_broker:
        variables.append(f"EDGEGLM_BROKER={shlex.quote(settings.url('operator'))}")
    lines = [f"export {' '.join(variables)}"] if variables else []
    if settings.tls:
        lines.append("edgeglm fleet certificate BOARD   # what a board needs to be let in")
    else:
        lines.append("edgeglm fleet simulate --devices 20 --rate 0.2   # boards to look at")
    lines.append("edgeglm fleet ls")
    if not settings.tls:
        lines.append(
            f'an agent of this machine has `mqtt = {{ host = "{settings.host}", port = {settings.port} }}` in its '
            "agent.toml; boards elsewhere need --tls"
        )
    return lines
