"""What systemd hears: one datagram a call, on a real socket."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
from edgeglm_agent.service import Service


@pytest.fixture(params=["file", "abstract"])
def manager(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[socket.socket, str]]:
    """A socket that listens as systemd does, and its name as systemd writes it."""
    name = str(tmp_path / "notify") if request.param == "file" else f"@edgeglm-agent-test-{os.getpid()}-{tmp_path.name}"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listening:
        listening.bind(name.replace("@", "\0", 1) if name.startswith("@") else name)
        listening.settimeout(10)
        yield listening, name


def heard(listening: socket.socket) -> list[str]:
    return listening.recv(4096).decode().split("\n")


def silent(listening: socket.socket) -> bool:
    listening.setblocking(False)
    try:
        listening.recv(4096)
    except BlockingIOError:
        return True
    return False


def test_it_says_ready_status_watchdog_and_stopping(manager: tuple[socket.socket, str]) -> None:
    listening, name = manager
    service = Service({"NOTIFY_SOCKET": name, "WATCHDOG_USEC": "60000000", "WATCHDOG_PID": str(os.getpid())})
    assert service.ready("waiting for 2 workers")
    assert heard(listening) == ["READY=1", "STATUS=waiting for 2 workers"]
    assert service.alive()
    assert heard(listening) == ["WATCHDOG=1"]
    assert service.status("serving main")
    assert heard(listening) == ["STATUS=serving main"]
    assert service.stopping()
    assert heard(listening) == ["STOPPING=1"]
    assert service.alive_every_s == 20


def test_words_that_have_not_changed_are_not_sent_again(manager: tuple[socket.socket, str]) -> None:
    listening, name = manager
    service = Service({"NOTIFY_SOCKET": name})
    assert service.status("serving main")
    heard(listening)
    assert not service.status("serving main")
    assert silent(listening)


def test_a_line_break_in_the_status_is_no_second_field(manager: tuple[socket.socket, str]) -> None:
    listening, name = manager
    Service({"NOTIFY_SOCKET": name}).status("refused:\nREADY=1")
    assert heard(listening) == ["STATUS=refused: READY=1"]


def test_nothing_reaches_a_terminal_by_way_of_the_status(manager: tuple[socket.socket, str]) -> None:
    listening, name = manager
    Service({"NOTIFY_SOCKET": name}).status("main: \x1b[2J\0serving " + "x" * 10_000)
    (line,) = heard(listening)
    assert line.startswith("STATUS=main: [2J serving x")
    assert len(line) < 600


def test_a_watchdog_of_another_process_is_not_fed(manager: tuple[socket.socket, str]) -> None:
    listening, name = manager
    service = Service({"NOTIFY_SOCKET": name, "WATCHDOG_USEC": "60000000", "WATCHDOG_PID": str(os.getppid())})
    assert not service.watched
    assert service.alive_every_s is None
    assert not service.alive()
    assert silent(listening)


def test_children_inherit_nothing_of_it(manager: tuple[socket.socket, str]) -> None:
    environ = {"NOTIFY_SOCKET": manager[1], "WATCHDOG_USEC": "1", "WATCHDOG_PID": "1", "PATH": "/bin"}
    Service(environ)
    assert environ == {"PATH": "/bin"}


@pytest.mark.parametrize("address", ["", "@", "relative", "vsock:2:1234", "/nowhere/notify"])
def test_where_nothing_listens_nothing_is_said_and_nothing_fails(address: str) -> None:
    service = Service({"NOTIFY_SOCKET": address, "WATCHDOG_USEC": "abc"})
    assert not service.ready()
    assert not service.alive()
    assert not service.stopping()


def test_a_manager_that_does_not_read_does_not_hold_the_loop(manager: tuple[socket.socket, str]) -> None:
    _, name = manager
    service = Service({"NOTIFY_SOCKET": name})
    while service.status(os.urandom(8).hex()):
        pass  # ends when the socket's queue is full
    assert not service.ready()
