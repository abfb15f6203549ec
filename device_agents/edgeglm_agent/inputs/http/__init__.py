"""Input kind ``http``: ``POST /v1/infer``, answered by the model; ``/healthz`` and ``/metrics`` beside it.

``bodies`` reads what is sent, ``application`` decides about a request, ``connection`` about a connection; ``source``
runs the server in a thread of its own, and hands samples to the inference thread.
"""

from __future__ import annotations

import errno
import ipaddress
import os
import socket
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from msgspec import Meta

from edgeglm_agent.inputs._base import Input, InputContext, InputError, InputLostError
from edgeglm_agent.logs import hide, log
from edgeglm_agent.needs import UVICORN, Need
from edgeglm_agent.settings.hosts import is_address
from edgeglm_agent.settings.types import SecretPath

if TYPE_CHECKING:
    from edgeglm_agent.inputs.http.source import HttpSource

_AtLeastOne = Annotated[int, Meta(ge=1)]
_Seconds = Annotated[float, Meta(gt=0, le=86400)]
_SHORTEST_TOKEN = 16  # characters: shorter ones are guessed
_BACKLOG = 1024  # connections that the kernel has accepted and we have not
_NOT_NOW = (errno.EADDRINUSE, errno.EADDRNOTAVAIL, errno.ENETDOWN)  # another still drains; the network is not up yet


class HttpInput(Input, tag="http", frozen=True, kw_only=True):
    """Answer requests over HTTP."""

    host: str = "127.0.0.1"  # address to listen on; another than this machine's own needs a token
    port: Annotated[int, Meta(ge=0, le=65535)] = 8080  # 0: any that is free
    token_file: SecretPath | None = None  # its first line is what requests carry: `Authorization: Bearer <token>`
    anyone: bool = False  # listen beyond this machine without a token: whoever reaches the port may ask
    max_body_mb: Annotated[float, Meta(gt=0, le=1024)] = 8.0  # of one request; more is answered 413
    max_pending_mb: Annotated[float, Meta(gt=0, le=65536)] = 64.0  # of all requests in hand; more is answered 429
    max_waiting: _AtLeastOne = 64  # samples that wait for the model; more are answered 429
    max_connections: _AtLeastOne = 512  # at a time; more are answered 503
    read_timeout_s: _Seconds = 30.0  # for a client to send its request, and to take its answer
    answer_timeout_s: _Seconds = 10.0  # for the model to answer; later is 504
    keep_alive_s: _Seconds = 60.0  # that a connection may lie idle between two requests
    max_batch: Annotated[int, Meta(ge=1, le=4096)] = 1  # samples that are run together
    max_wait_ms: Annotated[float, Meta(ge=0, le=10_000)] = 0.0  # that the first of a batch waits for others; 0: none
    batch_anyway: bool = False  # also where a batch changes the model's answers a little (dynamic INT8)

    def needs(self) -> tuple[Need, ...]:
        """Return what has to be installed."""
        return (UVICORN,)

    def open(self, context: InputContext) -> HttpSource:
        """Return the open source, which listens already. Raises: InputError, InputLostError."""
        self.check_needs()
        from edgeglm_agent.inputs.http.source import HttpSource

        self._check_sizes()
        token = self._token()
        most = self.max_batch
        if most > 1 and context.batch_changes_answers and not self.batch_anyway:
            log(
                "warning",
                "not batching: this model's answer to a sample depends on those beside it (dynamic INT8); "
                "`batch_anyway = true` batches all the same",
                slot=context.slot,
            )
            most = 1
        return HttpSource(self, context, self._listening(token), token=token, max_batch=most)

    def check(self) -> None:
        """See ``Input.check``. Raises: InputError: Sizes, or who may ask; of a name, that is seen when it is opened."""
        self._check_sizes()
        named = self.token_file is not None
        if named and os.access(str(self.token_file), os.R_OK):  # one that is not there is another error
            self._token()
        if is_address(self.host):
            self._check_reach(self.host, "named" if named else "")

    def _check_sizes(self) -> None:
        if self.max_pending_mb < self.max_body_mb:
            raise InputError(
                f"{self.max_pending_mb:g} MB for all requests, and {self.max_body_mb:g} MB for one",
                key="max_pending_mb",
                hint="let it be at least `max_body_mb`",
            )

    def _check_reach(self, address: str, token: str) -> None:
        if not (ipaddress.ip_address(address.partition("%")[0]).is_loopback or token or self.anyone):
            raise InputError(
                f"{self.host} can be reached by others, and no token is asked of them",
                key="host",
                hint="name a `token_file`, or say `anyone = true` where the network keeps others out",
            )

    def _token(self) -> str:
        if self.token_file is None:
            return ""
        try:
            lines = Path(self.token_file).read_text(encoding="ascii").splitlines()
        except (OSError, UnicodeDecodeError) as error:
            why = error.strerror if isinstance(error, OSError) else "it is not plain ASCII"
            raise InputError(f"cannot read {self.token_file}: {why}", key="token_file") from error
        token = lines[0].strip() if lines else ""
        if len(token) < _SHORTEST_TOKEN or not token.isprintable() or " " in token:
            raise InputError(
                f"the first line of {self.token_file} is no token of at least {_SHORTEST_TOKEN} characters",
                key="token_file",
                hint=f"make one: head -c 24 /dev/urandom | base64 > {self.token_file}",
            )
        hide(token)
        return token

    def _listening(self, token: str) -> socket.socket:
        """Return the bound socket. Raises: InputError, InputLostError."""
        try:
            family, _, _, _, address = socket.getaddrinfo(
                self.host, self.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
            )[0]
        except OSError as error:
            raise InputError(f"`{self.host}` is no address: {error.strerror}", key="host") from error
        self._check_reach(str(address[0]), token)
        # the protocol's number is said, since asyncio looks at it before it lets small packets go at once
        listening = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
        try:
            listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listening.bind(address)
            listening.listen(_BACKLOG)
        except OSError as error:
            listening.close()
            said = f"cannot listen on {self.host}:{self.port}: {error.strerror}"
            if error.errno in _NOT_NOW:
                raise InputLostError(said) from error
            raise InputError(said, key="port" if error.errno == errno.EACCES else "host") from error
        return listening
