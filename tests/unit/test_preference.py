from __future__ import annotations

from typing import Any

import pytest

from edgeglm.choice.preference import preferred_order, why_first
from edgeglm.report.types import ArtifactSide, BudgetResult, Parity, Verdict
from tests.support.report_parts import paired


def artifact(path: str, **changes: Any) -> ArtifactSide:
    return ArtifactSide(**({"format": "onnx", "scheme": "static-int8", "path": path, "sha256": ""} | changes))


def verdict(path: str) -> Verdict:
    return Verdict(key="budget.size_mb", artifact=path, limit=1.0, measured=2.0, message="too large")


@pytest.mark.parametrize(
    ("worse", "budget"),
    [
        pytest.param({}, BudgetResult(met=False, violations=[verdict("worse")]), id="missed a line"),
        pytest.param({}, BudgetResult(met=None, undecided=[verdict("worse")]), id="has an open line"),
        pytest.param(
            {"parity": Parity(samples=1, max_abs=1, max_ref=1, cosine=0.5, argmax_agreement=0.5, passed=False)},
            BudgetResult(met=True),
            id="disagrees with its source",
        ),
        pytest.param({"drop": paired(50, 0, 100)}, BudgetResult(met=True), id="provably lost accuracy"),
        pytest.param({"speedup": 0.1}, BudgetResult(met=True), id="is slower"),
    ],
)
def test_an_artifact_is_not_preferred_when_it(worse: dict[str, Any], budget: BudgetResult) -> None:
    plain = {"size_ratio": 4.0, "speedup": 2.0, "drop": paired(0, 0, 100)}
    sides = [artifact("worse", **(plain | {"speedup": 3.0} | worse)), artifact("good", **plain)]
    assert preferred_order(sides, budget, metric_judged=False, same_machine=True) == [1, 0]


def why(first: ArtifactSide, second: ArtifactSide, *, same_machine: bool = True, **budget: Any) -> str:
    judged = BudgetResult(**({"met": True} | budget))
    return why_first(first, second, judged, metric_judged=False, same_machine=same_machine)


def test_what_put_an_artifact_first_is_said() -> None:
    plain = {"speedup": 2.0, "drop": paired(0, 0, 100)}
    good, other = artifact("good", **plain), artifact("other", **plain)
    assert "misses no line" in why(good, other, violations=[verdict("other")])
    assert "undecided" in why(good, other, undecided=[verdict("other")])
    assert "no proven loss" in why(good, artifact("other", drop=paired(50, 0, 100)))
    assert why(good, other) == "before the next in the recipe; by speed on this host neither comes first"
    plain["speedup_ci95"] = (1.9, 2.1)
    assert "no quantized one is faster" in why(artifact("float", scheme="none", **plain), artifact("int8", **plain))
    assert why(good, other, same_machine=False).startswith("first in the recipe; this host is not what the target is")


def timed(median: float, low: float, high: float, *, scheme: str = "static-int8") -> ArtifactSide:
    return artifact(f"{median}-{scheme}", scheme=scheme, speedup=median, speedup_ci95=(low, high))


@pytest.mark.parametrize(
    ("first", "second", "said"),
    [
        pytest.param(timed(3, 2.8, 3.2), timed(2, 1.9, 2.1), "even at the low end of its interval", id="apart"),
        pytest.param(
            timed(1.2, 1.15, 1.25),
            timed(1.19, 1.1, 1.24),
            "by the median, though their intervals overlap",
            id="overlap",
        ),
        pytest.param(
            timed(1.2, 1.15, 1.25),
            timed(1.22, 1.1, 1.3),
            "by the low end of its interval, though not by the median",
            id="of two quantized the less scattered one",
        ),
        pytest.param(
            timed(1.2, 1.1, 1.3, scheme="none"),
            timed(1.22, 1.2, 1.25, scheme="none"),
            "by the high end of its interval, though not by the median",
            id="of two float ones the more scattered one",
        ),
        pytest.param(
            timed(0.853, 0.838, 0.862),
            timed(0.847, 0.830, 0.860),
            "by the median, though their intervals overlap; slower than the original",
            id="both slower than the original",
        ),
    ],
)
def test_of_speed_no_more_is_said_than_was_measured(first: ArtifactSide, second: ArtifactSide, said: str) -> None:
    assert preferred_order([second, first], BudgetResult(met=True), metric_judged=False, same_machine=True) == [1, 0]
    assert why(first, second) == f"faster on this host than the next{',' * said.startswith('even')} {said}"


def line(path: str, key: str, limit: float, measured: float) -> Verdict:
    return Verdict(key=f"budget.{key}", artifact=path, limit=limit, measured=measured, message="")


@pytest.mark.parametrize(
    ("near", "far"),
    [
        pytest.param([("size_mb", 1.0, 1.1)], [("size_mb", 1.0, 9.0)], id="of one line"),
        pytest.param([("min_speedup", 3.0, 2.9)], [("min_speedup", 3.0, 1.0)], id="of a line that is a least"),
        pytest.param([("metric_drop", 0.0, 0.01)], [("metric_drop", 0.0, 0.6)], id="of a line that allows nothing"),
        pytest.param(
            [("size_mb", 1.0, 1.01), ("min_speedup", 2.0, 1.98)], [("metric_drop", 0.01, 0.5)], id="of more lines"
        ),
    ],
)
def test_when_all_miss_the_budget_the_least_bad_comes_first(
    near: list[tuple[str, float, float]], far: list[tuple[str, float, float]]
) -> None:
    sides = [artifact("far", speedup=9.0), artifact("near", speedup=1.0)]
    lines = [*(line("far", *found) for found in far), *(line("near", *found) for found in near)]
    budget = BudgetResult(met=False, violations=lines)
    assert preferred_order(sides, budget, metric_judged=True, same_machine=True) == [1, 0]
    assert "the least bad" in why_first(sides[1], sides[0], budget, metric_judged=True, same_machine=True)


def test_what_misses_a_line_and_answers_something_else_is_worse_than_what_misses_it_by_more() -> None:
    wrong = Parity(samples=1, max_abs=1, max_ref=1, cosine=0.5, argmax_agreement=0.5, passed=False)
    sides = [artifact("wrong", parity=wrong), artifact("large")]
    budget = BudgetResult(met=False, violations=[line("wrong", "size_mb", 1.0, 1.1), line("large", "size_mb", 1.0, 4)])
    assert preferred_order(sides, budget, metric_judged=True, same_machine=True) == [1, 0]


def test_how_far_a_speed_is_missed_does_not_turn_round_what_an_earlier_run_chose() -> None:
    sides = [artifact("a"), artifact("b")]
    lines = [line("a", "min_speedup", 4.0, 2.0), line("b", "min_speedup", 4.0, 2.1)]
    budget = BudgetResult(met=False, violations=lines)
    assert preferred_order(sides, budget, metric_judged=True, same_machine=True) == [1, 0]
    assert preferred_order(sides, budget, metric_judged=True, same_machine=True, before=["a", "b"]) == [0, 1]


def test_for_another_machine_the_recipes_order_stands() -> None:
    sides = [artifact("slow", speedup=1.0), artifact("fast", speedup=9.0)]
    assert preferred_order(sides, BudgetResult(met=True), metric_judged=False, same_machine=False) == [0, 1]


def test_for_another_machine_a_missed_budget_still_counts() -> None:
    sides = [artifact("missed", speedup=1.0), artifact("met", speedup=9.0)]
    budget = BudgetResult(met=False, violations=[verdict("missed")])
    assert preferred_order(sides, budget, metric_judged=False, same_machine=False) == [1, 0]


def test_a_loss_that_the_budget_allows_does_not_count_against_the_faster() -> None:
    sides = [
        artifact("exact", speedup=1.0, drop=paired(0, 0, 100)),
        artifact("fast", speedup=9.0, drop=paired(50, 0, 100)),
    ]
    assert preferred_order(sides, BudgetResult(met=True), metric_judged=True, same_machine=True) == [1, 0]


def test_int8_comes_first_only_where_it_is_faster_beyond_doubt() -> None:
    plain = artifact("float", scheme="none", speedup=2.0, speedup_ci95=(1.9, 2.1))
    doubtful = artifact("doubtful", speedup=2.2, speedup_ci95=(2.0, 2.4))
    certain = artifact("certain", speedup=2.5, speedup_ci95=(2.4, 2.6))
    assert preferred_order([doubtful, plain], BudgetResult(met=True), metric_judged=True, same_machine=True) == [1, 0]
    assert preferred_order([plain, certain], BudgetResult(met=True), metric_judged=True, same_machine=True) == [1, 0]
