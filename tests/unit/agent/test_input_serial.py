from __future__ import annotations

import os
import time
import tty
from pathlib import Path
from typing import Any

import pytest
from edgeglm_agent.inputs._base import EndOfInput, InputError, InputLostError, Source
from edgeglm_agent.inputs.serial import SerialInput

from tests.support.inputs import context, read_one, until


class Board:
    """The other end of a serial line: a pseudo-terminal, which the kernel treats as one."""

    def __init__(self) -> None:
        self._end, other = os.openpty()
        tty.setraw(other)
        self.device = os.ttyname(other)
        self._other = other  # held, or the line would hang up before the agent is there

    def say(self, text: str | bytes) -> None:
        os.write(self._end, text.encode() if isinstance(text, str) else text)

    def pull_out(self) -> None:
        for number in (self._end, self._other):
            os.close(number)


@pytest.fixture
def board() -> Board:
    return Board()


def opened(board: Board, tmp_path: Path, *, of: dict[str, Any] | None = None, **settings: Any) -> Source:
    source = SerialInput(device=board.device, **settings).open(context(tmp_path, **(of or {})))
    time.sleep(0.15)  # the line is quiet: what comes next is a whole line
    return source


def test_each_line_is_a_sample(board: Board, tmp_path: Path) -> None:
    source = opened(board, tmp_path)
    board.say("1.5,2\r\n3,")
    board.say("4\n\n")
    assert [read_one(source).sample.tolist() for _ in range(2)] == [[1.5, 2], [3, 4]]
    source.close()


def test_lines_are_cut_into_windows(board: Board, tmp_path: Path) -> None:
    source = opened(board, tmp_path, length=3, stride=2, delimiter=" ")
    board.say("".join(f"{number} {number * 10}\n" for number in range(7)))
    windows = [read_one(source).sample[:, 0].tolist() for _ in range(3)]
    assert windows == [[0, 1, 2], [2, 3, 4], [4, 5, 6]]
    source.close()


def test_a_line_that_cannot_be_read_is_a_fault_and_begins_the_window_anew(board: Board, tmp_path: Path) -> None:
    source = opened(board, tmp_path, length=2)
    board.say(b"1\n2\n\xffgarbage\n3\n4,4\n5\n6\n")
    found = [read_one(source) for _ in range(4)]
    assert [arrival.fault and arrival.fault[:5] for arrival in found] == ["", "it is", "2 num", ""]
    assert found[3].sample.tolist() == [[5], [6]]
    source.close()


def test_a_model_of_texts_gets_lines_as_texts(board: Board, tmp_path: Path) -> None:
    source = opened(board, tmp_path, of={"takes_texts": True})
    board.say("door open\n")
    assert read_one(source).sample == "door open"
    source.close()


def test_the_end_of_a_line_that_was_being_sent_is_no_line(board: Board, tmp_path: Path) -> None:
    source = SerialInput(device=board.device).open(context(tmp_path))
    board.say("3.5\n1.5\n")  # may be the end of 123.5
    assert read_one(source).sample.tolist() == [1.5]
    source.close()


def test_noise_without_line_ends_is_a_fault_and_does_not_grow(board: Board, tmp_path: Path) -> None:
    source = opened(board, tmp_path)
    for _ in range(20):
        board.say(b"x" * 4000)
        time.sleep(0.002)
    board.say(b"\n1\n2\n")
    first = read_one(source)
    assert first.fault
    assert len(first.fault) < 300
    assert until(lambda: read_one(source).sample is not None)
    source.close()


def test_the_end_of_a_line_that_is_too_long_is_no_line(board: Board, tmp_path: Path) -> None:
    source = opened(board, tmp_path, of={"takes_texts": True})
    for _ in range(20):
        board.say(b"x" * 4000)
        time.sleep(0.002)
    board.say(b" 123.5\nnext\n")
    told = [read_one(source)]
    while told[-1].sample != "next":
        told.append(read_one(source))
    assert len(told) == 2, [str(one.sample)[-20:] for one in told]
    assert told[0].sample is None
    assert told[0].fault == "a line of more than 65536 bytes: is `baud` the sender's?"
    source.close()


def test_an_empty_line_is_no_text(board: Board, tmp_path: Path) -> None:
    source = opened(board, tmp_path, of={"takes_texts": True})
    board.say(b"\xef\xbb\xbf\n \t\n\r\n\xc2\xa0\ndoor open\n")  # a byte order mark, blanks
    assert read_one(source).sample == "door open"
    source.close()


def test_a_window_holds_no_hole_where_another_slot_has_taken_the_line_over(board: Board, tmp_path: Path) -> None:
    first = opened(board, tmp_path, of={"slot": "a"})
    second = opened(board, tmp_path, of={"slot": "b"}, length=2)
    second.read(0.0)  # it has asked
    board.say("1\n")
    assert read_one(first).sample.tolist() == [1]
    assert second.read(0.2) == []
    first.close()
    board.say("2\n")  # nobody reads: it is lost
    assert second.read(0.5) == []  # until the line is quiet: what comes next is a whole one
    board.say("3\n4\n")
    assert read_one(second).sample.tolist() == [[3], [4]]
    second.close()


def test_a_line_that_is_pulled_out_is_lost_and_found_again(board: Board, tmp_path: Path) -> None:
    source = opened(board, tmp_path)
    board.pull_out()
    with pytest.raises(InputLostError, match=board.device):
        until(lambda: source.read(0.5))
    source.close()
    with pytest.raises(InputLostError):
        opened(board, tmp_path)
    plugged_in = Board()
    source = opened(plugged_in, tmp_path)
    plugged_in.say("7\n")
    assert read_one(source).sample.tolist() == [7]
    source.close()


def test_two_slots_share_one_line_and_both_get_all(board: Board, tmp_path: Path) -> None:
    first = opened(board, tmp_path, of={"slot": "a"})
    second = opened(board, tmp_path, of={"slot": "b"}, length=2, stride=2)
    second.read(0.0)  # it has asked
    board.say("1\n2\n3\n4\n")
    assert [read_one(first).sample.tolist() for _ in range(4)] == [[1], [2], [3], [4]]
    assert [read_one(second).sample.tolist() for _ in range(2)] == [[[1], [2]], [[3], [4]]]
    first.close()
    second.close()


def test_stopping_ends_it(board: Board, tmp_path: Path) -> None:
    source = opened(board, tmp_path)
    assert source.read(0.0) == []
    source.stop()
    with pytest.raises(EndOfInput):
        source.read(60.0)
    source.close()


def test_what_cannot_be_a_serial_line_is_refused(board: Board, tmp_path: Path) -> None:
    with pytest.raises(InputError) as speed:
        SerialInput(device=board.device, baud=12345).open(context(tmp_path))
    assert speed.value.key == "baud"
    assert "115200" in speed.value.hint
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match="no serial port"):
        SerialInput(device=str(tmp_path / "file")).open(context(tmp_path))
    with pytest.raises(InputLostError, match="cannot be opened"):
        SerialInput(device="/dev/not-there").open(context(tmp_path))
