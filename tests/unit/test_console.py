from __future__ import annotations

import pytest

from edgeglm.cli.console import ConsoleLog


class Clock:
    """A clock that a test turns."""

    now = 0.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr("edgeglm.cli.console.time", clock)
    return clock


def test_the_time_left_counts_only_what_this_run_did(clock: Clock, capsys: pytest.CaptureFixture[str]) -> None:
    log = ConsoleLog()
    log.stage("steps[0].distill")
    clock.now = 50.0  # before the training: the teacher is asked
    log.progress(800, 1000)  # done before the run was killed
    clock.now = 60.0
    log.progress(900, 1000, loss=0.5)
    lines = capsys.readouterr().err.splitlines()
    assert lines[1].strip() == "goes on from step 800 of 1000"
    assert lines[2].split() == ["900/1000", "loss", "0.5", "10", "s", "left"]


def test_each_stage_has_a_time_left_of_its_own(clock: Clock, capsys: pytest.CaptureFixture[str]) -> None:
    log = ConsoleLog()
    for seconds in (100, 1):
        log.stage("a stage")
        log.progress(0, 4)
        clock.now += seconds
        log.progress(1, 4)
    said = [line.split() for line in capsys.readouterr().err.splitlines() if "/" in line]
    assert said == [["0/4"], ["1/4", "5", "min", "left"], ["0/4"], ["1/4", "3", "s", "left"]]


def test_a_log_that_is_no_terminal_shows_the_start_each_tenth_and_a_line_every_ten_seconds(
    clock: Clock, capsys: pytest.CaptureFixture[str]
) -> None:
    log = ConsoleLog()
    log.stage("steps[0].distill")
    for second in range(26):  # a slow start
        clock.now = float(second)
        log.progress(second, 1000)
    for done in range(25, 1001):  # then fast
        clock.now += 0.001
        log.progress(done, 1000)
    shown = [line.split()[0] for line in capsys.readouterr().err.splitlines() if "/" in line]
    assert shown == ["0/1000", "10/1000", "20/1000", *(f"{tenth}00/1000" for tenth in range(1, 10)), "1000/1000"]


def test_preparation_before_the_first_step_is_shown_and_does_not_count_for_the_time_left(
    clock: Clock, capsys: pytest.CaptureFixture[str]
) -> None:
    log = ConsoleLog()
    log.stage("steps[0].distill")
    for second in (0, 5, 10, 20):  # the teacher answers
        clock.now = float(second)
        log.progress(0, 100)
    clock.now = 21.0
    log.progress(10, 100)
    said = [line.split() for line in capsys.readouterr().err.splitlines() if "/" in line]
    assert said == [["0/100"], ["0/100"], ["0/100"], ["10/100", "9", "s", "left"]]
