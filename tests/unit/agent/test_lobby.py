"""Who comes to the agent's socket: workers are handed on, and nobody else holds anything for long."""

from __future__ import annotations

import gc
import os
import selectors
import socket
import stat
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from edgeglm_agent import ipc
from edgeglm_agent.inputs.replay import ReplayInput
from edgeglm_agent.settings.types import Settings, Slot
from edgeglm_agent.supervisor.lobby import Lobby
from edgeglm_agent.supervisor.run import Supervisor


def open_files() -> int:
    gc.collect()  # what an earlier test left must not be closed between two counts
    return len(list(Path("/proc/self/fd").iterdir()))


class Loop:
    """A lobby, and a loop that serves it for as long as something is there."""

    def __init__(self, folder: Path) -> None:
        self.path = str(folder / "supervisor.sock")
        self.selector = selectors.DefaultSelector()
        self.workers: list[tuple[socket.socket, ipc.Hello, list[Any]]] = []
        self.lobby = Lobby(
            self.path, self.selector, worker=self._worker, answer=lambda request: type(request).__name__.encode()
        )

    def _worker(self, connection: socket.socket, _: ipc.Frames, hello: ipc.Hello, more: list[Any]) -> bool:
        self.workers.append((connection, hello, more))
        return hello.slot == "main"

    def run(self) -> None:
        while ready := self.selector.select(0):
            for key, _ in ready:
                key.data()

    def comes(self, said: bytes = b"") -> socket.socket:
        stranger = socket.socket(socket.AF_UNIX)
        stranger.settimeout(0)
        stranger.connect(self.path)
        stranger.sendall(said)
        self.run()
        return stranger


@pytest.fixture
def loop(tmp_path: Path) -> Iterator[Loop]:
    loop = Loop(tmp_path)
    yield loop
    loop.lobby.close()
    assert not Path(loop.path).exists()
    loop.selector.close()


def test_the_socket_is_this_users_alone_whatever_the_umask_is(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        loop = Loop(tmp_path)
        assert os.umask(0) == 0, "what comes after is made as ever"
    finally:
        os.umask(before)
    found = Path(loop.path).stat()
    assert (stat.S_ISSOCK(found.st_mode), stat.S_IMODE(found.st_mode)) == (True, 0o600)
    loop.lobby.close()
    loop.selector.close()


def test_a_worker_is_handed_on_with_what_it_said_behind_its_greeting(loop: Loop) -> None:
    hello, idle = ipc.frame(ipc.Hello("main", 4711)), ipc.frame(ipc.Idle("done"))
    worker = loop.comes(hello[:7])
    assert loop.workers == []  # half a message is none
    worker.sendall(hello[7:] + idle)
    loop.run()
    ((connection, said, more),) = loop.workers
    assert (said, more) == (ipc.Hello("main", 4711), [ipc.Idle("done")])
    connection.sendall(b"heard")
    assert worker.recv(10) == b"heard"
    refused = loop.comes(ipc.frame(ipc.Hello("mian", 4711)))
    assert refused.recv(10) == b""
    connection.close()


@pytest.mark.parametrize("request_", [ipc.StatusRequest(), ipc.RestartRequest("main")])
def test_who_asks_is_answered_and_let_go(loop: Loop, request_: ipc.StatusRequest | ipc.RestartRequest) -> None:
    asks = loop.comes(ipc.frame(request_))
    assert (asks.recv(20), asks.recv(20)) == (type(request_).__name__.encode(), b"")


@pytest.mark.parametrize(
    "said",
    [
        pytest.param(b"\xff" * 100, id="too long"),
        pytest.param(b"\0\0\0\x02\xc1\xc1", id="nonsense"),
        pytest.param(ipc.frame(ipc.Idle("done")), id="no greeting"),
        pytest.param(ipc.frame(ipc.Hello("main", 1)), id="another's number"),
        pytest.param(ipc.frame(ipc.Hello("main", -1)), id="everyone's number"),
    ],
)
def test_who_speaks_nonsense_is_let_go(loop: Loop, said: bytes) -> None:
    assert loop.comes(said).recv(10) == b""
    assert loop.workers == []


def test_those_who_say_nothing_hold_few_files_and_not_for_long(loop: Loop) -> None:
    before = open_files()
    silent = [loop.comes() for _ in range(100)]
    assert open_files() - before - len(silent) <= 64
    assert silent[0].recv(1) == b""  # the oldest give way
    worker = loop.comes(ipc.frame(ipc.Hello("main", 4711)))
    assert len(loop.workers) == 1
    loop.lobby.tick(time.monotonic() + 31)
    assert silent[-1].recv(1) == b""
    for one in (*silent, worker, loop.workers[0][0]):
        one.close()
    assert open_files() == before


def test_the_end_of_a_worker_counts_before_the_next_is_greeted(tmp_path: Path) -> None:
    """A commit may take longer than systemd takes to start the next one: both are found at once then."""
    slot = Slot(model=str(tmp_path / "none"), input=ReplayInput(path="x.npz"))
    folders = {"state_dir": str(tmp_path / "state"), "runtime_dir": str(tmp_path / "run")}
    supervisor = Supervisor(Settings(workers="external", slots={"main": slot}, **folders))  # type: ignore[arg-type]
    frames = ipc.Frames(from_worker=True)
    ours, theirs = socket.socketpair()
    assert supervisor.workers.greet(ours, frames, ipc.Hello("main", 4711), [ipc.Idle("the file has ended")])
    theirs.close()
    supervisor.slots["main"].gone()
    ours, theirs = socket.socketpair()
    assert supervisor.workers.greet(ours, frames, ipc.Hello("main", 4712), [])
    assert supervisor.slots["main"].state.why == "the file has ended"
    (held,) = ipc.receive(theirs, ipc.Frames(from_worker=False)) or ()
    assert isinstance(held, ipc.Hold)
    supervisor.slots["main"].gone()
    supervisor.workers.close()
    supervisor.outbox.close()
