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
    assert lines[1].split() == ["800/1000"]
    assert lines[2].split() == ["900/1000", "loss", "0.5", "10", "s", "left"]


def test_each_stage_has_a_time_left_of_its_own(clock: Clock, capsys: pytest.CaptureFixture[str]) -> None:
    log = ConsoleLog()
    for seconds in (100, 1):
        log.stage("a stage")
        log.progress(0, 4)
        clock.now += seconds
        log.progress(1, 4)
    said = [line.split() for line in capsys.readouterr().err.splitlines() if "/" in line]
    assert said == [["1/4", "5", "min", "left"], ["1/4", "3", "s", "left"]]
