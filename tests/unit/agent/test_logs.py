from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest
from edgeglm_agent.logs import Logger
from edgeglm_agent.settings.types import Log


class Written:
    """A logger whose lines lie in a file."""

    def __init__(self, path: Path, **settings: Any) -> None:
        self.path = path
        self.descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        self.logger = Logger(Log(**settings), descriptor=self.descriptor)
        self.log = self.logger.log

    def text(self) -> str:
        return self.path.read_text(encoding="utf-8")

    def lines(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.text().splitlines()]


@pytest.fixture
def written(tmp_path: Path) -> Written:
    return Written(tmp_path / "log")


def test_a_line_says_when_how_bad_what_and_of_which_sample(written: Written) -> None:
    written.log("warning", "input lost", trace_id="00c0ffee00c0ffee", slot="main", tries=3, why=OSError("no camera"))
    (line,) = written.lines()
    assert line.pop("at").endswith("Z")
    assert line == {
        "level": "warning",
        "message": "input lost",
        "trace_id": "00c0ffee00c0ffee",
        "slot": "main",
        "tries": 3,
        "why": "OSError: no camera",
    }


def test_text_is_one_line_too(tmp_path: Path) -> None:
    written = Written(tmp_path / "log", format="text")
    written.log("error", "worker\ncrashed", slot="main", why="signal 11, in `run`", codes=[1, 2], empty="")
    (line,) = written.text().splitlines()
    at, rest = line.split("  ", 1)
    assert at.endswith("Z")
    assert rest == 'error    worker crashed  slot=main  why="signal 11, in `run`"  codes=[1,2]  empty=""'


def test_lines_below_the_level_are_dropped(tmp_path: Path) -> None:
    written = Written(tmp_path / "log", level="warning")
    for level in ("debug", "info", "warning", "error"):
        written.log(level, level)  # type: ignore[arg-type]
    assert [line["message"] for line in written.lines()] == ["warning", "error"]


@pytest.mark.parametrize(
    "name", ["password", "passwd", "PASSPHRASE", "api_key", "api-key", "bearer_token", "client_secret", "Authorization"]
)
def test_a_value_whose_name_says_that_it_is_secret_is_not_written(written: Written, name: str) -> None:
    written.log("info", "settings", **{name: "hunter2!", "nested": {"deep": [{name: "hunter2!"}]}, "user": "kim"})
    assert "hunter2!" not in written.text()
    assert written.lines()[0]["user"] == "kim"


@pytest.mark.parametrize("name", ["key", "passed_over", "compass", "path", "bypassed"])
def test_names_that_only_look_alike_are_written(written: Written, name: str) -> None:
    written.log("info", "settings", **{name: "tensorrt"})
    assert written.lines()[0][name] == "tensorrt"


def test_a_number_is_no_secret(written: Written) -> None:
    written.log("info", "read", tokens=512)
    assert written.lines()[0]["tokens"] == 512


def test_a_known_secret_is_not_written_wherever_it_stands(written: Written) -> None:
    written.logger.hide("hunter2!")
    written.logger.hide("hunter2!more")
    error = ValueError("login of kim with hunter2!more refused")
    written.log("error", "hunter2! in the message", why=error, lines=["ok", "pw=hunter2!"], table={"x": "hunter2!"})
    assert "hunter2" not in written.text()
    assert "more" not in written.text()
    assert written.lines()[0]["why"] == "ValueError: login of kim with *** refused"


def test_what_is_hidden_is_hidden_in_what_the_command_logs_sends_too(written: Written) -> None:
    written.logger.hide("hunter2!")
    written.log("info", "said hunter2!")
    assert "hunter2" not in "".join(written.logger.recent())


def test_too_short_a_secret_does_not_blank_common_words(written: Written) -> None:
    written.logger.hide("a")
    written.logger.hide("")
    written.log("info", "a camera")
    assert written.lines()[0]["message"] == "a camera"


def test_a_password_in_an_address_is_not_written(written: Written) -> None:
    written.log("warning", "cannot open rtsp://kim:pa55:w@10.0.0.7:554/a?b=c@d", url="http://kim:pa55@cam/", to="a:b@c")
    assert "pa55" not in written.text()
    assert written.lines()[0]["message"] == "cannot open rtsp://kim:***@10.0.0.7:554/a?b=c@d"
    assert written.lines()[0]["to"] == "a:b@c"


@pytest.mark.parametrize(
    "said",
    [
        "rtsp://cam/live?user=admin&password=hunter22: Connection refused",
        "rtsp://kim:p@hunter22@cam/live",
        "rtspsrc location=rtsp://cam user-id=kim user-pw='hunter22 hunter22' ! decodebin",
    ],
)
def test_a_password_in_a_query_or_a_pipeline_is_not_written(written: Written, said: str) -> None:
    written.log("warning", "input-lost", why=said, more=[said], error=OSError(said))
    assert "hunter22" not in written.text()
    assert "cam" in written.lines()[0]["why"]


def test_what_json_cannot_hold_is_written_all_the_same(written: Written) -> None:
    written.log("info", "odd", raw=b"\xff\x00", path=Path("/a/b"), many={1}, lone="\udcff", nan=float("nan"), big=2**70)
    (line,) = written.lines()
    assert (line["raw"], line["path"], line["many"], line["nan"]) == ("2 bytes", "/a/b", [1], None)


def test_a_field_does_not_overwrite_what_each_line_has(written: Written) -> None:
    written.log("info", "x", at="noon")
    assert (written.lines()[0]["at_"], written.lines()[0]["message"]) == ("noon", "x")


def test_a_value_without_end_is_cut(written: Written) -> None:
    written.log("info", "long", why="x" * 100_000)
    assert len(written.text()) < 10_000
    assert written.lines()[0]["why"].endswith("(100000 characters)")


def test_a_line_that_repeats_is_written_ten_times_then_counted(
    written: Written, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = 100.0
    monkeypatch.setattr("edgeglm_agent.logs.time.monotonic", lambda: now)
    for number in range(1000):
        written.log("warning", "frame dropped", number=number)
    written.log("info", "something else")
    assert [line["message"] for line in written.lines()] == ["frame dropped"] * 10 + ["something else"]
    now = 161.0
    written.log("info", "something else")
    told = written.lines()[11]
    assert (told["message"], told["level"], told["held_back"]) == ("frame dropped", "warning", 990)
    written.log("warning", "frame dropped", number=1000)  # a new minute
    assert written.lines()[-1]["number"] == 1000


def test_what_was_held_back_is_told_at_the_end(written: Written) -> None:
    for _ in range(12):
        written.log("info", "again")
    written.logger.flush()
    assert written.lines()[-1]["held_back"] == 2


def test_messages_that_all_differ_take_no_memory_without_end(written: Written) -> None:
    for number in range(2000):
        written.log("info", f"message {number}")
    assert len(written.logger._repeated) <= 256
    assert len(written.logger.recent()) == 200
    assert written.logger.recent(1) == [written.text().splitlines()[-1]]


def test_a_closed_stderr_stops_nobody(written: Written) -> None:
    os.close(written.descriptor)
    written.log("error", "nobody hears")
    assert written.logger.unwritten == 1


def test_threads_write_whole_lines(written: Written) -> None:
    def write(name: int) -> None:
        for number in range(50):
            written.log("info", f"thread {name} line {number}", filler="x" * 200)

    threads = [threading.Thread(target=write, args=(name,)) for name in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(written.lines()) == 200


def test_journald_is_told_the_level(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "log"
    path.touch()
    monkeypatch.setenv("JOURNAL_STREAM", f"{path.stat().st_dev}:{path.stat().st_ino}")
    written = Written(path)
    written.log("error", "on fire")
    assert written.text().startswith('<3>{"at":')
    monkeypatch.setenv("JOURNAL_STREAM", "1:2")
    assert not Written(tmp_path / "other").logger._journal


def test_logging_brings_neither_logging_nor_numpy() -> None:
    code = (
        "import sys, edgeglm_agent.logs; print([m for m in ('numpy', 'logging', 'asyncio', 'ssl') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
