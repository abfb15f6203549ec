from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from edgeglm.boards import BOARDS
from edgeglm.choice.board_rule import compare_speed
from edgeglm.choice.choosing import mark_dominated
from edgeglm.choice.preference import Faults
from edgeglm.measure.traits import Traits
from edgeglm.report.types import ArtifactSide
from tests.support.report_parts import accuracy, latency

CNN = Traits(family="convolutional", mixed=False, table_share=0.0, macs=10_000_000, params=80_000)
TINY = Traits(family="convolutional", mixed=False, table_share=0.0, macs=20_000, params=800)


def side(path: str, correct: int, size_bytes: int, p50: float = 1.0, *, word: str = "onnx none") -> ArtifactSide:
    file_format, scheme = word.split()
    return ArtifactSide(
        format=file_format,
        scheme=scheme,
        path=path,
        sha256=path,
        metric=accuracy(correct, 100),
        size_bytes=size_bytes,
        latency_ms=latency(p50),
    )


SOUND = Faults(missed=0, over=1.0, undecided=0, broken=False, lost=False)


def fronts(
    *sides: ArtifactSide, target: str = "", traits: Traits | None = CNN, against: dict[str, Faults] | None = None
) -> dict[str, str]:
    """Return path -> what dominates it; ``target`` is a board that is not this host."""
    board, found = BOARDS[target or "x86-64"], [(against or {}).get(one.path, SOUND) for one in sides]
    marked = mark_dominated(sides, found, same_machine=not target, board=board, traits=traits)
    assert all(one.pareto == (one.dominated_by == "") for one in marked)
    return {one.path: one.dominated_by for one in marked}


def test_what_is_worse_in_everything_is_dominated_by_what_is_better() -> None:
    assert fronts(side("good", 95, 100, 1.0), side("bad", 90, 200, 2.0)) == {"good": "", "bad": "good"}


@pytest.mark.parametrize(
    "fault",
    [
        pytest.param({"broken": True}, id="answers something else"),
        pytest.param({"missed": 1, "over": 1.2}, id="misses a line"),
        pytest.param({"undecided": 1}, id="has an open line"),
        pytest.param({"lost": True}, id="has a proven loss"),
    ],
)
def test_a_file_dominates_none_against_which_less_speaks(fault: dict[str, Any]) -> None:
    better, worse, worst = side("better", 95, 100, 1.0), side("worse", 95, 200, 2.0), side("worst", 95, 300, 3.0)
    found = replace(SOUND, **fault)
    alone = fronts(better, worse, worst, against={"better": found})
    assert alone == {"better": "", "worse": "", "worst": "worse"}
    alike = fronts(better, worse, against={"better": found, "worse": found})
    assert alike == {"better": "", "worse": "better"}
    more = fronts(better, worse, against={"better": found, "worse": replace(found, missed=2, over=3.0)})
    assert more == {"better": "", "worse": "better"}


def test_what_misses_a_line_by_more_dominates_none_that_misses_it_by_less() -> None:
    far, near = (replace(SOUND, missed=1, over=over) for over in (1.5, 1.1))
    sides = side("better", 95, 100, 1.0), side("worse", 95, 200, 2.0)
    assert set(fronts(*sides, against={"better": far, "worse": near}).values()) == {""}
    assert fronts(*sides, against={"better": near, "worse": far}) == {"better": "", "worse": "better"}


def test_what_is_better_in_one_thing_stays_on_the_front() -> None:
    sides = side("right", 99, 300, 3.0), side("small", 90, 100, 3.0), side("fast", 90, 300, 1.0)
    assert set(fronts(*sides).values()) == {""}


def test_latencies_within_2_percent_are_the_same() -> None:
    assert fronts(side("small", 95, 100, 1.01), side("large", 95, 200, 1.0)) == {"small": "", "large": "small"}
    assert fronts(side("small", 95, 100, 1.05), side("large", 95, 200, 1.0)) == {"small": "", "large": ""}


def test_equal_ones_do_not_dominate_each_other() -> None:
    assert fronts(side("a", 95, 100, 1.0), side("b", 95, 100, 1.0)) == {"a": "", "b": ""}


def test_for_a_board_neither_the_place_nor_this_hosts_latency_stands_for_speed() -> None:
    first = side("first", 95, 200, 1.0, word="onnx none")  # the rule for a Pi names neither
    second = side("second", 95, 200, 9.0, word="tflite fp16")
    for sides in ((first, second), (second, first)):
        assert set(fronts(*sides, target="rpi5").values()) == {""}


def test_for_a_board_two_of_one_scheme_are_compared_by_size_and_metric_alone() -> None:
    word = "tflite static-int8"
    sides = side("small", 90, 100, word=word), side("right", 95, 200, word=word), side("poor", 89, 150, word=word)
    for order in (sides, sides[::-1]):
        assert fronts(*order, target="rpi5") == {"small": "", "right": "", "poor": "small"}


def test_for_a_board_what_the_rule_calls_slower_is_dominated_when_it_is_worse_in_all_else() -> None:
    fast, slow = side("fast", 95, 100, 9.0, word="tflite static-int8"), side("slow", 94, 200, 1.0, word="tflite none")
    assert fronts(slow, fast, target="rpi5") == {"slow": "fast", "fast": ""}
    assert fronts(slow, side("fast", 93, 100, word="tflite static-int8"), target="rpi5") == {"slow": "", "fast": ""}


def test_for_a_board_what_the_rule_does_not_name_is_dominated_by_nothing_of_another_kind() -> None:
    sides = side("named", 95, 100, word="tflite static-int8"), side("unnamed", 90, 400, word="onnx none")
    assert set(fronts(*sides, target="rpi5").values()) == {""}
    assert set(fronts(*sides, target="rpi5", traits=None).values()) == {""}


@pytest.mark.parametrize(
    ("one", "other", "found"),
    [
        pytest.param("tflite static-int8", "onnx static-int8", -1, id="both named"),
        pytest.param("tflite none", "onnx static-int8", 1, id="named the other way round"),
        pytest.param("onnx static-int8", "onnx static-int8", 0, id="the same kind"),
        pytest.param("onnx static-int8", "onnx none", None, id="one is not named"),
        pytest.param("onnx none", "onnx weight-only-int4", None, id="none is named"),
    ],
)
def test_the_rule_of_a_board_orders_what_it_names_and_no_more(one: str, other: str, found: int | None) -> None:
    kinds = [(word.split()[0], word.split()[1]) for word in (one, other)]
    assert compare_speed(kinds[0], kinds[1], BOARDS["rpi5"], CNN) == found


def test_of_a_tiny_network_float_is_faster_than_integers_and_no_more_is_known_of_it() -> None:
    board = BOARDS["rpi5"]
    assert compare_speed(("onnx", "none"), ("tflite", "static-int8"), board, TINY) == -1
    assert compare_speed(("tflite", "static-int8"), ("onnx", "none"), board, TINY) == 1
    assert compare_speed(("tflite", "none"), ("onnx", "none"), board, TINY) is None
    assert compare_speed(("onnx", "none"), ("onnx", "fp16"), board, TINY) is None
