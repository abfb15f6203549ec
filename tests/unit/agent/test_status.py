from __future__ import annotations

import json
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest
from edgeglm_agent import ipc
from edgeglm_agent.cli import main
from edgeglm_agent.status import (
    AgentStatus,
    BoardStatus,
    LinkStatus,
    Percentiles,
    QueueStatus,
    SlotStatus,
    ask,
    report,
)
from edgeglm_agent.status_text import amount, duration, render, table
from edgeglm_agent.wire.commands import SlotState
from edgeglm_agent.wire.telemetry import Power

FULL = AgentStatus(
    device="gate-7",
    fleet="north",
    agent="0.1.0",
    pid=812,
    uptime_s=275_000,
    rss_kb=28_000,
    slots={
        "main": SlotStatus(
            state=SlotState(
                "serving",
                1,
                "kws 1.2",
                "ab",
                "model.onnx",
                "static-int8",
                "onnxruntime 1.31.1",
                "cpu",
                why="model.tflite (tflite, static-int8): litert cannot be imported",
            ),
            input="directory",
            pid=900,
            window_s=300,
            inferences=3721,
            per_second=12.403,
            errors={"input": 2, "run": 1},
            answered=93_000,
            failed=40,
            latency_ms=Percentiles(1.2134, 1.5333, 2.0102),
            rss_kb=61_000,
        ),
        "door-camera-at-the-back": SlotStatus(
            state=SlotState(
                "quarantined",
                5,
                "visual-wake-words-96x96 2026.11.1",
                why="signal 11 five times in a row: it is tried again when it is told to, or when the agent starts",
                failures=5,
            ),
            input="rpicam",
        ),
    },
    queue=QueueStatus(rows=12, bytes=4096, quota_bytes=64_000_000),
    link=LinkStatus(
        state="connected",
        broker="broker:8883",
        version="5",
        since_s=7400,
        acknowledged_s=40,
        bytes_today=84_200,
        daily_bytes=200_000,
        refused=("acknowledgements", "plant/pump"),
        counts={"acks": 7, "refused-replayed": 1, "refused-expired": 3, "malformed-acks": 2},
    ),
    board=BoardStatus(
        model="Raspberry Pi 5 Model B Rev 1.0",
        temperature_c=61.25,
        throttled="0x50005",
        undervoltage=True,
        cpu_permille=330,
        memory_available_mb=5100,
        disk_free_mb=21_000,
        power=(Power("VDD_IN", 4100),),
    ),
)


def test_the_table_says_all_that_the_document_does() -> None:
    text = " ".join(render(FULL).split())
    for words in (
        "gate-7 of fleet north",
        "pid 812, up 3 d 4 h, 28 MB",
        "Raspberry Pi 5 Model B Rev 1.0; 61.2 C",
        "61.2 C; under-voltage (now), throttled (now); UNDER-VOLTAGE",
        "processor 33 %",
        "5.1 GB of memory free; 21 GB of disk free",
        "VDD_IN 4.10 W",
        "clock NOT synchronised",
        "connected to broker:8883 by MQTT 5 for 2 h 3 min",
        "acknowledged 40 s ago; 84.2 KB of 200 KB today",
        "today; the broker does NOT let it hear acknowledgements, plant/pump: change this device's rights there",
        "ignored: malformed-acks 2, refused-expired 3, refused-replayed 1",
        "12 rows, 4.1 KB of 64 MB; 0 lost",
        "main: serving kws 1.2, model.onnx (static-int8) in onnxruntime 1.31.1 on cpu",
        "main direct.. 5 min 12.4 93000 40 1.21 1.53 2.01 61",
        "passed over: model.tflite (tflite, static-int8): litert cannot be imported",
        "errors in the last window: input 2, run 1",
        "door-camera-at-the-back: quarantined visual-wake-words-96x96 2026.11.1 why: signal 11 five",
        "5 failures in a row",
    ):
        assert words in text, words


def test_no_line_is_wider_than_80_columns() -> None:
    assert max(map(len, render(FULL).splitlines())) <= 80


def test_an_agent_that_has_just_started_is_shown_without_figures() -> None:
    slots = {"main": SlotStatus(state=SlotState("starting"))}
    young = AgentStatus(device="d", fleet="f", agent="1", pid=1, uptime_s=0, slots=slots)
    text = render(young)
    assert "off: the settings have no [mqtt]" in text
    assert "starting" in text
    assert "no slots" in render(msgspec.structs.replace(young, slots={}))


def test_throttling_that_is_over_is_said_to_be() -> None:
    board = BoardStatus(throttled="0x50000", clock_synchronised=True)
    text = render(AgentStatus(device="d", fleet="f", agent="1", pid=1, uptime_s=0, board=board))
    assert "under-voltage (since boot), throttled (since boot)" in " ".join(text.split())


def test_why_a_slot_does_not_answer_is_said_in_its_own_words() -> None:
    waits = SlotStatus(state=SlotState("waiting", why="ended by SIGSEGV", failures=3), next_start_s=4.6)
    idle = SlotStatus(
        state=SlotState("serving", artifact="m.onnx"),
        input_gone="/dev/video0 is not there",
        errors={"input": 2},
        last_error="its content is no image",
    )
    quick = SlotStatus(state=SlotState("serving"), window_s=5, per_second=17_791.3, last_error="no image")
    text = render(msgspec.structs.replace(FULL, slots={"a": waits, "b": idle, "c": quick}))
    assert "c     -      5 s  17791" in text
    assert "    the last error, before that window: no image\n" in text
    assert "    the one before: ended by SIGSEGV\n    3 failures in a row\n    tried again in 5 s\n" in text
    assert "    nothing comes in: /dev/video0 is not there\n" in text
    assert "    errors in the last window: input 2; the last: its content is no image\n" in text


def test_a_table_cuts_its_widest_column_and_puts_numbers_in_line() -> None:
    assert table(["A", "N"], [["x" * 30, "1"], ["y", "1000"]], right_from=1, width=20) == [
        "A                  N",
        "xxxxxxxxxxxx..     1",
        "y               1000",
    ]


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, "0 s"), (0.7, "1 s"), (59.2, "59 s"), (60, "1 min"), (3725, "1 h 2 min"), (90_000, "1 d 1 h")],
)
def test_a_duration_has_its_two_largest_units(seconds: float, text: str) -> None:
    assert duration(seconds) == text


@pytest.mark.parametrize(
    ("size", "text"), [(0, "0 bytes"), (999, "999 bytes"), (4096, "4.1 KB"), (123_456, "123 KB"), (5.1e9, "5.1 GB")]
)
def test_an_amount_has_at_most_three_digits(size: float, text: str) -> None:
    assert amount(size) == text


class Supervisor:
    """A socket that answers as the supervisor's does, or as `answer` says."""

    def __init__(self, folder: Path, answer: bytes) -> None:
        self.folder = folder
        self.asked: list[object] = []
        self._answer = answer
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(str(folder / "supervisor.sock"))
        self._listener.listen()
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def _serve(self) -> None:
        connection, _ = self._listener.accept()
        with connection:
            self.asked += ipc.receive(connection, ipc.Frames(from_worker=True)) or []
            connection.sendall(self._answer)

    def close(self) -> None:
        self._thread.join(10)
        self._listener.close()


@pytest.fixture
def supervisor(tmp_path: Path) -> Iterator[Supervisor]:
    running = Supervisor(tmp_path, report(FULL))
    yield running
    running.close()


def test_the_supervisor_is_asked_once_and_answers_the_document(supervisor: Supervisor) -> None:
    assert ask(supervisor.folder) == FULL
    assert supervisor.asked == [ipc.StatusRequest()]


def settings_file(folder: Path) -> str:
    """A file in which all but the runtime_dir is wrong: status does not mind."""
    (folder / "agent.toml").write_text("runtime_dir = '.'\nversion = 99\n[mqtt]\ntls.key = 'gone'\n")
    return str(folder / "agent.toml")


def test_the_command_prints_a_table(supervisor: Supervisor, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["status", settings_file(supervisor.folder)]) == 0
    assert capsys.readouterr().out == render(FULL) + "\n"


def test_the_command_prints_json(supervisor: Supervisor, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["status", "--json", settings_file(supervisor.folder)]) == 0
    document = json.loads(capsys.readouterr().out)
    assert document["schema"] == 1
    assert document["slots"]["main"]["latency_ms"]["p99"] == 2.0102


def test_no_agent_here_is_one_clear_error(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["status", settings_file(tmp_path)]) == 4
    printed = capsys.readouterr()
    assert printed.out == ""
    assert printed.err.startswith(f"{tmp_path}: no agent runs here\n\nhint: start it")
    assert printed.err.endswith("code: agent-not-running\n")


def test_a_socket_that_nobody_listens_on_is_no_agent(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with socket.socket(socket.AF_UNIX) as left_behind:
        left_behind.bind(str(tmp_path / "supervisor.sock"))
    assert main(["status", settings_file(tmp_path)]) == 4
    assert "code: agent-not-running" in capsys.readouterr().err


@pytest.mark.parametrize(
    "answer",
    [
        pytest.param(b"", id="closed"),
        pytest.param(b"\x00\x00", id="cut-off"),
        pytest.param(b"\x00\x00\x00\x02hi", id="nonsense"),
        pytest.param(ipc.frame(ipc.StatusReport(b"[]")), id="other-document"),
    ],
)
def test_an_answer_that_is_none_is_one_clear_error(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], answer: bytes
) -> None:
    running = Supervisor(tmp_path, answer)
    try:
        assert main(["status", settings_file(tmp_path)]) == 4
    finally:
        running.close()
    assert "the agent gives no answer" in capsys.readouterr().err
