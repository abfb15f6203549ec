"""An open HTTP input: the server in a thread of its own, and the worker's view of it."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import math
import threading
import time
from collections import deque
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import uvicorn

from edgeglm_agent.inputs._base import Arrival, EndOfInput, InputLostError
from edgeglm_agent.inputs.http.application import Application
from edgeglm_agent.inputs.http.bodies import Bodies
from edgeglm_agent.inputs.http.connection import Doors, guarded
from edgeglm_agent.inputs.http.handover import Asked, Handover
from edgeglm_agent.inputs.http.replies import Refusal
from edgeglm_agent.worker.metrics import family

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable

    from edgeglm_agent.inputs._base import InputContext
    from edgeglm_agent.inputs.http import HttpInput

_FAULTS_AT_A_TIME = 64
_MOST_FAULTS = 1_000_000  # that wait to be counted, 8 bytes each
_SWEEP_S = 1.0
_START_S, _END_S = 30.0, 5.0


class HttpSource:
    """Samples that came over HTTP.

    Attributes:
        address: Where it listens: host and port.
        doors: Counts, and what connections share.
        healthy: Whether the worker serves.
    """

    def __init__(
        self, settings: HttpInput, context: InputContext, listening: socket.socket, *, token: str, max_batch: int
    ) -> None:
        """Serve on a socket that listens. Raises: InputLostError: The server did not start."""
        self.address: tuple[str, int] = listening.getsockname()[:2]
        self.healthy = context.healthy
        self._slot = context.slot
        self._figures = context.metrics
        self._answer_timeout_s = settings.answer_timeout_s
        self._max_pending = int(settings.max_pending_mb * 1e6)
        self._pending = 0  # bytes in hand
        self._handover = Handover(
            max_waiting=settings.max_waiting, max_batch=max_batch, max_wait_s=settings.max_wait_ms / 1000
        )
        self._open: set[Asked] = set()
        self._faults: deque[str] = deque()
        self._refused = 0  # samples that there was no room for
        self._told = 0  # of those, and of those that nobody waited for, how many the worker was told of
        self._ended = False
        self._failure: BaseException | None = None
        self.doors = Doors(
            max_connections=settings.max_connections, read_timeout_s=settings.read_timeout_s, fault=self.fault
        )
        bodies = Bodies(context, most_bytes=self._max_pending, most_samples=settings.max_waiting)
        application = Application(self, bodies, token=token, most_bytes=int(settings.max_body_mb * 1e6))
        self._server = uvicorn.Server(_config(application, settings, guarded(_protocol(), self.doors)))
        self._decoders = ThreadPoolExecutor(1, thread_name_prefix="http-images")
        self._loop: asyncio.AbstractEventLoop | None = None
        self._started = threading.Event()
        self._thread = threading.Thread(target=self._serve, args=(listening,), name="http", daemon=True)
        self._thread.start()
        self._started.wait(_START_S)
        if self._failure is not None or not self._started.is_set():
            raise InputLostError(f"the HTTP server did not start: {self._failure}")

    # the inference thread's side

    def read(self, timeout_s: float) -> list[Arrival]:
        """Return the next sample, or a batch (see ``Source.read``); once stopped, wait for what is coming in."""
        while not self._faults:
            arrivals = self._handover.read(timeout_s)
            if arrivals:
                dropped = self._refused + self._handover.skipped
                arrivals[0].dropped, self._told = dropped - self._told, dropped
                return arrivals
            if self._ended and self._handover.empty and not self._faults:
                if self._failure is not None:
                    raise InputLostError(f"the HTTP server stopped: {self._failure}")
                raise EndOfInput
            if not self.stopping or timeout_s <= 0:
                return []
        count = min(len(self._faults), _FAULTS_AT_A_TIME)
        return [Arrival(sample=None, fault=self._faults.popleft()) for _ in range(count)]

    def stop(self) -> None:
        """Refuse new connections; what has been taken in is answered (see ``Source.stop``)."""
        self.doors.stopping = True
        self._server.should_exit = True

    def close(self) -> None:
        """End the server; who still waits is told so."""
        self.doors.closing = True
        self.stop()
        if self._loop is not None:
            with contextlib.suppress(RuntimeError):  # it has ended already
                self._loop.call_soon_threadsafe(self._fail_all)
        self._thread.join(_END_S)
        self._server.force_exit = True
        self._thread.join(_END_S)
        self._decoders.shutdown(wait=False, cancel_futures=True)

    # the server's side

    @property
    def stopping(self) -> bool:
        """Whether no new connection is taken."""
        return self.doors.stopping

    def metrics(self) -> str:
        """Return the worker's figures and the server's, in the text format of Prometheus."""
        slot = {"slot": self._slot}
        counts = sorted((str(status), count) for status, count in self.doors.counts.items())
        return (
            self._figures()
            + family(
                "edgeglm_http_requests_total",
                "counter",
                "Requests by status; gone: the client left before its request was whole.",
                [({**slot, "status": status}, count) for status, count in counts],
            )
            + family("edgeglm_http_connections", "gauge", "Open connections.", [(slot, self.connections)])
            + family(
                "edgeglm_http_waiting", "gauge", "Samples that wait for the model.", [(slot, self._handover.waiting)]
            )
        )

    @property
    def connections(self) -> int:
        """How many connections are open."""
        return len(self._server.server_state.connections)

    @property
    def pending(self) -> int:
        """How many bytes of requests are in hand."""
        return self._pending

    @property
    def waiting(self) -> int:
        """How many requests wait for the model."""
        return len(self._open)

    def fault(self, reason: str) -> None:
        """Let the worker count a request that holds no sample."""
        if len(self._faults) < _MOST_FAULTS:
            self._faults.append(reason)
        if len(self._faults) == 1:
            self._handover.wake()  # or it would be counted when the next sample comes

    def hold(self, size: int) -> bool:
        """Take room for so many bytes, or give it back; False: there is none."""
        if size > 0 and self._pending + size > self._max_pending:
            return False
        self._pending += size
        return True

    def check_room(self, count: int = 1) -> None:
        """Refuse so many samples where the queue is full. Raises: Refusal (429)."""
        if not self._handover.has_room(count):
            self._refused += count
            raise self.full("too many samples wait for the model")

    def full(self, reason: str) -> Refusal:
        """Return the refusal of one request more."""
        return Refusal(429, "busy", reason, headers=((b"retry-after", b"%d" % self._handover.retry_after_s()),))

    async def in_thread(self, function: Callable[..., Any], *arguments: Any) -> Any:
        """Return what a function returns that takes long, without holding up other requests."""
        return await asyncio.get_running_loop().run_in_executor(self._decoders, function, *arguments)

    async def ask(self, samples: list[Any], trace_id: str, *, several: bool) -> tuple[list[Any], int, Exception | None]:
        """Hand samples to the inference thread, and wait.

        Returns:
            The answers; or the number of the sample that got none, and why.

        Raises:
            Refusal: The queue is full (429).
        """
        self.check_room(len(samples))
        loop = asyncio.get_running_loop()
        asked = Asked(len(samples), loop.create_future())
        self._open.add(asked)
        self._handover.put(asked, samples, trace_id, several=several)
        deadline = loop.call_later(self._answer_timeout_s, self._too_late, asked)
        try:
            error = await asked.done
        finally:
            asked.over = True
            deadline.cancel()
            self._open.discard(asked)
        return asked.answers, asked.failed, error

    def _too_late(self, asked: Asked) -> None:
        said = f"the model did not answer within {self._answer_timeout_s:g} s"
        asked.end(0, Refusal(504, "deadline", said))

    def _fail_all(self) -> None:
        self._handover.deliver()
        for asked in list(self._open):
            asked.end(0, Refusal(503, "stopped", "the model has stopped; ask again in a while"))

    def _serve(self, listening: socket.socket) -> None:
        try:
            asyncio.run(self._run(listening))
        except BaseException as error:  # of a thread: nobody else would hear of it
            self._failure = error
        finally:
            self._ended = True
            self._started.set()
            self._handover.wake()  # the inference thread need not wait any longer
            listening.close()

    async def _run(self, listening: socket.socket) -> None:
        self._loop = asyncio.get_running_loop()
        self._handover.begin(self._loop)
        serving = asyncio.create_task(self._server.serve(sockets=[listening]))
        while not (self._server.started or serving.done()):
            await asyncio.sleep(0.001)
        self._started.set()
        while not serving.done():
            now = time.monotonic()
            for connection in list(self._server.server_state.connections):
                connection.sweep(now)  # type: ignore[union-attr] # all are guarded
            await asyncio.wait([serving], timeout=_SWEEP_S)
        serving.result()


def _config(application: Application, settings: HttpInput, protocol: type[Any]) -> uvicorn.Config:
    logging.getLogger("uvicorn.error").setLevel(logging.CRITICAL + 1)  # a line for each bad request would be a flood
    return uvicorn.Config(
        application,
        http=protocol,
        ws="none",
        lifespan="off",
        interface="asgi3",
        log_config=None,
        access_log=False,
        proxy_headers=False,
        server_header=False,
        date_header=False,  # a board's clock may be wrong
        timeout_keep_alive=math.ceil(settings.keep_alive_s),
        timeout_graceful_shutdown=math.ceil(settings.answer_timeout_s + 2 * _END_S),
    )


def _protocol() -> type[Any]:
    """Return the quicker of uvicorn's HTTP parsers that is installed."""
    try:
        from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
    except ImportError:
        from uvicorn.protocols.http.h11_impl import H11Protocol

        return H11Protocol
    return HttpToolsProtocol
