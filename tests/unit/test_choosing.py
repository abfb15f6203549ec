from __future__ import annotations

from typing import Any

from edgeglm.choice.choosing import mark_dominated
from edgeglm.report.types import ArtifactSide
from tests.support.reports import accuracy, latency


def side(path: str, correct: int, size_bytes: int, p50: float, **more: Any) -> ArtifactSide:
    return ArtifactSide(
        format="onnx",
        scheme="none",
        path=path,
        sha256=path,
        metric=accuracy(correct, 100),
        size_bytes=size_bytes,
        latency_ms=latency(p50),
        **more,
    )


def fronts(*sides: ArtifactSide, same_machine: bool = True) -> dict[str, str]:
    marked = mark_dominated(sides, same_machine=same_machine)
    assert all(one.pareto == (one.dominated_by == "") for one in marked)
    return {one.path: one.dominated_by for one in marked}


def test_what_is_worse_in_everything_is_dominated_by_what_is_better() -> None:
    assert fronts(side("good", 95, 100, 1.0), side("bad", 90, 200, 2.0)) == {"good": "", "bad": "good"}


def test_what_is_better_in_one_thing_stays_on_the_front() -> None:
    sides = side("right", 99, 300, 3.0), side("small", 90, 100, 3.0), side("fast", 90, 300, 1.0)
    assert set(fronts(*sides).values()) == {""}


def test_latencies_within_2_percent_are_the_same() -> None:
    assert fronts(side("small", 95, 100, 1.01), side("large", 95, 200, 1.0)) == {"small": "", "large": "small"}
    assert fronts(side("small", 95, 100, 1.05), side("large", 95, 200, 1.0)) == {"small": "", "large": ""}


def test_equal_ones_do_not_dominate_each_other() -> None:
    assert fronts(side("a", 95, 100, 1.0), side("b", 95, 100, 1.0)) == {"a": "", "b": ""}


def test_for_another_machine_the_order_of_the_rule_stands_for_speed() -> None:
    sides = (side("first", 95, 200, 9.0), side("second", 95, 200, 1.0), side("third", 95, 100, 9.0))
    assert fronts(*sides, same_machine=False) == {"first": "", "second": "first", "third": ""}
