"""An input of the agent: gauges that send their readings over the network, one datagram a sample."""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING, Annotated

from edgeglm_agent.inputs._base import Arrival, EndOfInput, Input, InputContext, InputError, InputLostError
from msgspec import Meta

if TYPE_CHECKING:
    from edgeglm_agent.inputs._base import Source

_MOST_BYTES = 65536


class UdpInput(Input, tag="udp-gauges", frozen=True, kw_only=True):
    """Readings that gauges send as text: `0.1 0.2 0.3 0.4`."""

    port: Annotated[int, Meta(ge=1, le=65535)]  # that gauges send to
    address: str = "127.0.0.1"  # of this board that is listened on

    def check(self) -> None:
        """Refuse what can work nowhere, so that `edgeglm-agent check` says it. Raises: InputError."""
        if self.address.startswith("ff"):
            raise InputError("a group's address cannot be listened on", key="address", hint="name one of this board")

    def open(self, context: InputContext) -> Source:
        """Listen. Raises: InputLostError."""
        return Datagrams(self.address, self.port)


class Datagrams:
    """What has arrived, one sample at a time."""

    def __init__(self, address: str, port: int) -> None:
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._stopped = False
        try:
            self._socket.bind((address, port))
        except OSError as error:
            self._socket.close()
            raise InputLostError(f"cannot listen on {address}:{port}: {error}") from error

    def read(self, timeout_s: float) -> list[Arrival]:
        """Return the next reading. Raises: EndOfInput."""
        import numpy as np  # not at the top: the supervisor reads the settings, and goes without

        if self._stopped:
            raise EndOfInput("told to stop")
        self._socket.settimeout(max(timeout_s, 0.001))
        try:
            data, (sender, _) = self._socket.recvfrom(_MOST_BYTES)
        except TimeoutError:
            return []
        try:
            sample = np.array(data.decode().split(), dtype=np.float32)
        except ValueError as error:
            return [Arrival(sample=None, name=sender, fault=f"no line of numbers: {error}")]
        return [Arrival(sample=sample, name=sender)]

    def stop(self) -> None:
        """Take in nothing new."""
        self._stopped = True

    def close(self) -> None:
        """Let go of the port."""
        self._socket.close()
