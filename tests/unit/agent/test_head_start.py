"""A worker's process that is started before it is known whose it will be."""

from __future__ import annotations

import os
import socket
from pathlib import Path

from edgeglm_agent import ipc
from edgeglm_agent.supervisor.head_start import HeadStart


def test_a_process_that_waits_becomes_the_worker_it_is_told_to_be(tmp_path: Path) -> None:
    path = str(tmp_path / "s")
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(path)
        listener.listen()
        listener.settimeout(60)  # guards against a hang
        with HeadStart() as head_start:
            pid = head_start.take(path, "door")
        connection, _ = listener.accept()
        with connection:
            assert ipc.receive(connection, ipc.Frames(from_worker=True)) == [ipc.Hello("door", pid)]
            connection.sendall(ipc.frame(ipc.Stop()))
            assert os.waitpid(pid, 0) == (pid, 0)


def test_nobody_is_left_where_nobody_was_needed() -> None:
    with HeadStart() as head_start:
        pid = head_start.pid
        assert Path(f"/proc/{pid}").exists()
    assert not Path(f"/proc/{pid}").exists()
    assert head_start.take("s", "door") == 0
