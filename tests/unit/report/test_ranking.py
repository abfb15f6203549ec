from __future__ import annotations

from typing import Any

import msgspec

from edgeglm.report.ranking import front_of, why_best, why_not
from edgeglm.report.types import ArtifactSide, BudgetResult, Parity, Report, Side, Verdict
from tests.support.report_parts import HOST, accuracy, latency, paired


def side(scheme: str, p50: float, *, chosen: bool = False, **more: Any) -> ArtifactSide:
    path = "model.onnx" if chosen else f"model.{scheme}.onnx"
    fields = {"format": "onnx", "path": path, "sha256": "", "candidate": True, "speedup": 4.0 / p50, **more}
    return ArtifactSide(scheme=scheme, latency_ms=latency(p50), chosen=chosen, **fields)


def report(*artifacts: ArtifactSide, **changes: Any) -> Report:
    fields: dict[str, Any] = {
        "name": "x", "target": "x86-64", "recipe": {"budget": {"size_mb": 1.0}}, "baseline": Side(), "steps": [],
        "artifacts": list(artifacts), "budget": BudgetResult(met=True), "host": HOST, **changes,
    }  # fmt: skip
    return Report(**fields)


def test_only_what_was_slower_in_this_run_is_called_slower() -> None:
    taken, slow, fast = side("static-int8", 2.0, chosen=True), side("none", 3.0), side("fp16", 1.9)
    run = report(taken, slow, fast, order_kept=True)
    assert why_not(run, slow) == "slower on this host than ONNX static-int8: 3.00 ms against 2.00 ms"
    said = why_not(run, fast)
    assert "slower" not in said
    assert said.startswith("an earlier run of the same files chose ONNX static-int8")
    assert "in this run 1.90 ms against 2.00 ms" in said
    assert "an earlier run" in why_best(run)


def test_what_is_faster_but_not_beyond_doubt_is_said_so() -> None:
    taken = side("none", 2.0, chosen=True, speedup_ci95=(1.9, 2.1))
    said = why_not(report(taken, side("static-int8", 1.9, speedup_ci95=(1.8, 2.4))), side("static-int8", 1.9))
    assert said == "not faster on this host than ONNX float32 beyond doubt: 1.90 ms against 2.00 ms"


def test_what_reads_as_fast_is_not_called_slower() -> None:
    taken, other = side("none", 0.014, chosen=True), side("fp16", 0.01401)
    assert why_not(report(taken, other), other) == "no faster on this host than ONNX float32: both take 0.0140 ms"


def test_for_a_board_the_rule_put_it_behind_and_a_proven_loss_is_named_before_that() -> None:
    taken, other = side("static-int8", 2.0, chosen=True), side("none", 1.0)
    assert why_not(report(taken, other, target="rpi5"), other) == "behind ONNX static-int8 by the rule for the rpi5"
    lossy = side("weight-only-int8", 1.0, drop=paired(50, 0, 100))
    assert why_not(report(taken, lossy), lossy) == "it has a proven loss, and ONNX static-int8 has none"


def test_a_file_that_was_not_written_is_not_called_by_a_path() -> None:
    better = side("fp16", 1.0)
    beaten = side("none", 3.0, dominated_by=better.path)
    assert why_not(report(side("static-int8", 2.0, chosen=True), better, beaten), beaten).startswith("ONNX fp16 is no")


def test_what_is_better_than_the_file_taken_too_is_no_reason() -> None:
    best = side("static-int8", 2.0, chosen=True, metric=accuracy(95, 100), size_bytes=100)
    more = {"format": "openvino", "dominated_by": best.path, "metric": accuracy(94, 100)}
    taken = side("none", 3.0, chosen=True, size_bytes=400, path="model.xml", **more)
    slower = side("fp16", 4.0, size_bytes=200, **more)
    said = "slower on this host than OpenVINO float32: 4.00 ms against 3.00 ms"
    assert why_not(report(best, taken, slower), slower) == said
    larger = side("fp16", 4.0, size_bytes=500, **more)
    said = "OpenVINO float32 is no worse in anything and better in something"
    assert why_not(report(best, taken, larger), larger) == said
    on_front = msgspec.structs.replace(taken, dominated_by="")
    assert why_not(report(best, on_front, slower), slower).startswith("ONNX static-int8 is no worse")


def test_of_a_report_that_says_nothing_of_it_a_file_of_wrong_answers_beats_none() -> None:
    wrong = Parity(samples=1, max_abs=1, max_ref=1, cosine=0.5, argmax_agreement=0.5, passed=False)
    small = side("weight-only-int4", 1.0, metric=accuracy(95, 100), size_bytes=100)
    sound = side("static-int8", 2.0, chosen=True, metric=accuracy(95, 100), size_bytes=200)
    assert list(front_of(report(sound, small)).values()) == [False, True]
    broken = msgspec.structs.replace(small, parity=wrong)
    assert list(front_of(report(sound, broken)).values()) == [True, True]


def verdict(side: ArtifactSide, *, measured: float = 1.0) -> Verdict:
    return Verdict(key="budget.size_mb", artifact=side.path, limit=1.0, measured=measured, message="")


def test_an_open_line_is_no_reason_where_the_file_taken_has_the_same() -> None:
    taken, slow = side("static-int8", 2.0, chosen=True), side("none", 3.0)
    open_of_both = {"undecided": [verdict(taken)], "passed_over_undecided": [verdict(slow)]}
    run = report(taken, slow, budget=BudgetResult(met=None, **open_of_both))
    assert why_not(run, slow) == "slower on this host than ONNX static-int8: 3.00 ms against 2.00 ms"
    alone = report(taken, slow, budget=BudgetResult(met=True, passed_over_undecided=[verdict(slow)]))
    said = "1 line of the budget could not be decided, and of ONNX static-int8 none"
    assert why_not(alone, slow) == said


def test_where_the_file_taken_misses_the_line_too_how_far_decides() -> None:
    taken, other = side("static-int8", 2.0, chosen=True), side("none", 3.0)
    missed = {"violations": [verdict(taken, measured=1.2)], "passed_over": [verdict(other, measured=1.5)]}
    run = report(taken, other, budget=BudgetResult(met=False, **missed))
    assert why_not(run, other) == "misses size_mb: 1.50 times over its limits, and ONNX static-int8 1.20 times"
    as_far = {"violations": [verdict(taken)], "passed_over": [verdict(other)]}
    run = report(taken, other, budget=BudgetResult(met=False, **as_far))
    assert why_not(run, other).startswith("slower on this host")
    run = report(taken, other, budget=BudgetResult(met=True, passed_over=[verdict(other)]))
    assert why_not(run, other) == "misses size_mb"
