"""The HTTP input as a worker holds it, with a stub in the model's place: for tests where the server is the point."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from edgeglm_agent.inputs._base import Arrival, EndOfInput, InputContext
from edgeglm_agent.inputs.http import HttpInput
from edgeglm_agent.inputs.http.source import HttpSource

Model = Callable[[list[Arrival]], list[Any]]  # an answer or an exception for each


def doubles(arrivals: list[Arrival]) -> list[Any]:
    """Answer what a model with one output would: twice the sample, or the first of its arrays."""
    samples = [next(iter(one.sample.values())) if isinstance(one.sample, dict) else one.sample for one in arrivals]
    return [{"y": np.asarray(sample, np.float32) * 2} for sample in samples]


def context(**changed: Any) -> InputContext:
    fields: dict[str, Any] = {
        "slot": "main",
        "state_dir": Path("/nonexistent"),
        "runtime_dir": Path("/nonexistent"),
        "takes_texts": False,
        "batch_changes_answers": False,
        "input_names": ("x",),
        "messages": lambda _seconds: None,
        "metrics": lambda: "edgeglm_up 1\n",
        "healthy": lambda: True,
    }
    return InputContext(**{**fields, **changed})


class Serving:
    """A source that is served, and what its worker saw."""

    def __init__(self, source: HttpSource, model: Model) -> None:
        self.source = source
        self.url = f"http://127.0.0.1:{source.address[1]}"
        self.batches: list[int] = []
        self.faults = 0
        self.dropped = 0
        self.ended = threading.Event()
        self.hold = threading.Event()  # cleared: the model waits
        self.hold.set()
        self._model = model
        self._quit = False
        self._thread = threading.Thread(target=self._work)
        self._thread.start()

    def _work(self) -> None:
        try:
            while not self._quit:
                self.hold.wait()
                arrivals = self.source.read(0.2)
                good = [arrival for arrival in arrivals if not arrival.fault]
                self.faults += len(arrivals) - len(good)
                self.dropped += sum(arrival.dropped for arrival in arrivals)
                if not good:
                    continue
                self.hold.wait()
                self.batches.append(len(good))
                for arrival, answer in zip(good, self._model(good), strict=True):
                    assert arrival.answered is not None
                    failed = isinstance(answer, Exception)
                    arrival.answered(None if failed else answer, answer if failed else None)
        except EndOfInput:
            self.ended.set()

    def close(self) -> None:
        self._quit = True
        self.hold.set()
        self.source.close()
        self._thread.join(20)
        assert not self._thread.is_alive()

    def connect(self) -> socket.socket:
        return socket.create_connection(("127.0.0.1", self.source.address[1]), timeout=20)

    def counted(self) -> int:
        """Return how many requests the server knows of."""
        return sum(self.source.doors.counts.values())

    def ask(self, request: bytes) -> bytes:
        """Return all that comes back on a connection of its own."""
        with self.connect() as client:
            client.sendall(request)
            client.shutdown(socket.SHUT_WR)
            return b"".join(iter(lambda: client.recv(65536), b""))


@contextmanager
def serving(model: Model = doubles, *, about: InputContext | None = None, **settings: Any) -> Iterator[Serving]:
    """Serve on a free port until the block ends."""
    settings = {"port": 0, **settings}
    source = msgspec.convert({"kind": "http", **settings}, HttpInput).open(about or context())
    served = Serving(source, model)
    try:
        yield served
    finally:
        served.close()


def until(condition: Callable[[], Any], give_up_after_s: float = 20.0) -> None:
    """Wait; the limit guards against a hang."""
    end = time.monotonic() + give_up_after_s
    while not condition():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.005)
