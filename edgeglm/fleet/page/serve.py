"""The page as a process: everything that a user may have got wrong is said before it begins."""

from __future__ import annotations

import asyncio
import importlib.util
import sys
from contextlib import contextmanager, suppress
from functools import partial
from typing import TYPE_CHECKING

from edgeglm.errors import EdgeglmError, MissingExtraError
from edgeglm.files import private_folder
from edgeglm.fleet.addresses import parse_store
from edgeglm.fleet.alerts.judging import Alarms
from edgeglm.fleet.alerts.reading import load_rules
from edgeglm.fleet.alerts.webhook import Webhook
from edgeglm.fleet.page.settings import address, check_settings, listening_socket, own_names
from edgeglm.fleet.page.watch import Watch
from edgeglm.fleet.seeing.finding import check_fleet
from edgeglm.fleet.store.opening import open_reader

if TYPE_CHECKING:
    import socket
    import threading
    from collections.abc import Callable, Iterator

    from edgeglm.fleet.page.settings import PageSettings
    from edgeglm.log import Log

_LOOK_S = 0.1  # how often is looked for the wish to stop
_PATIENCE_S = 3  # with connections that take nothing when all ends


def serve_until(stop: threading.Event, settings: PageSettings, ready: Callable[[str], None], log: Log) -> None:
    """Serve until ``stop`` is set.

    Args:
        stop: Ends it, whoever is connected.
        settings: Where, and what.
        ready: Called with the page's address once it answers.
        log: Where is said what happens.

    Raises:
        UserError: An address, a name, the token's file or the rules are none, or the store has other fleets alone.
        MissingExtraError: Starlette, uvicorn or prometheus_client is not installed.
        EnvironmentFailedError: The port is taken.
    """
    check_settings(settings)
    parse_store(settings.store)
    _check_fleet(settings)
    alarms = Alarms(load_rules(settings.rules))
    for package in ("starlette", "uvicorn", "prometheus_client"):
        if importlib.util.find_spec(package) is None:
            raise MissingExtraError(
                f"{package} is not installed", hint="pip install 'edgeglm[fleet]'", where="edgeglm fleet serve"
            )
    from edgeglm.fleet.page.access import token_of

    if settings.needs_token and settings.token_file is None:
        private_folder(settings.token_path.parent)  # as the collector makes it, whichever comes first
    token, new = token_of(settings.token_path) if settings.needs_token else (None, False)
    judging = (settings.fleet or "", str(settings.rules.absolute()) if settings.rules else "")
    webhook = Webhook(settings.webhook, log, judging=judging) if settings.webhook else None
    watch = partial(Watch, settings.store, settings.fleet, alarms, webhook, log)
    listening = listening_socket(settings)
    try:
        shown = address(settings, listening.getsockname()[1])
        if token is not None and new and sys.stderr.isatty():  # elsewhere it is a log, which others may read
            log.note(f"the token is in {settings.token_path}, readable by you alone; this link has it, this once:")
            log.note(f"{shown}login#{token}")
        elif token is not None:
            log.note(f"the token that it asks for is in {settings.token_path}")
        asyncio.run(_serve(stop, settings, token, listening, lambda: ready(shown), watch))
    finally:
        if webhook is not None:
            webhook.close()
        listening.close()


def _check_fleet(settings: PageSettings) -> None:
    """Refuse a fleet that the store does not have; what cannot be read yet is shown on the page once it can be."""
    if settings.fleet is None:
        return
    try:
        reader = open_reader(settings.store)
    except EdgeglmError:
        return
    try:
        there = reader.fleets()
    except EdgeglmError:
        return
    finally:
        reader.close()
    check_fleet(there, settings.fleet)


async def _serve(
    stop: threading.Event,
    settings: PageSettings,
    token: str | None,
    listening: socket.socket,
    ready: Callable[[], None],
    make_watch: Callable[[], Watch],
) -> None:
    import uvicorn

    from edgeglm.fleet.page.app import Page

    class Server(uvicorn.Server):
        @contextmanager
        def capture_signals(self) -> Iterator[None]:
            yield  # they are ours

    watch = make_watch()
    app = Page(watch, token).app(own_names(settings))
    server = Server(
        uvicorn.Config(
            app,
            log_config=None,
            access_log=False,
            server_header=False,
            proxy_headers=False,
            lifespan="off",
            ws="none",
            timeout_graceful_shutdown=_PATIENCE_S,
        )
    )
    looking = asyncio.ensure_future(watch.run())
    serving = asyncio.ensure_future(server.serve([listening]))
    try:
        while not server.started and not serving.done():
            await asyncio.sleep(0.01)
        if server.started:
            ready()
        while not stop.is_set() and not serving.done() and not looking.done():
            await asyncio.wait([serving, looking], timeout=_LOOK_S, return_when=asyncio.FIRST_COMPLETED)
    finally:
        looking.cancel()
        with suppress(asyncio.CancelledError):
            await looking
        await watch.close()
        server.should_exit = True
        await serving
