from __future__ import annotations

from typing import Any

import msgspec

from edgeglm.recipe import Budget
from edgeglm.report.findings import BUDGET_LINES, artifact_name, headline, host_note, state_of
from edgeglm.report.ranking import best_artifact
from edgeglm.report.remarks import did_not_pay, notes_on, steps_that_did_not_pay
from edgeglm.report.types import ArtifactSide, BudgetResult, Report, Side, StepSide, Verdict
from tests.support.edge_reports import bare_report
from tests.support.report_parts import HOST, latency
from tests.support.reports import cifar_report


def artifact(path: str = "a.onnx", **changes: Any) -> ArtifactSide:
    fields: dict[str, Any] = {"format": "onnx", "scheme": "static-int8", "path": path, "sha256": "", **changes}
    return ArtifactSide(**fields)


def report(*artifacts: ArtifactSide, **changes: Any) -> Report:
    fields: dict[str, Any] = {
        "name": "x", "target": "rpi5", "recipe": {"budget": {"size_mb": 1.0}},
        "baseline": Side(latency_ms=latency(4.0)), "steps": [], "artifacts": list(artifacts),
        "budget": BudgetResult(met=True), "host": HOST, **changes,
    }  # fmt: skip
    return Report(**fields)


def verdict(path: str, key: str = "budget.size_mb") -> Verdict:
    return Verdict(key=key, artifact=path, limit=1.0, measured=2.0, message=f"{path}: too big.")


def test_the_verdict_says_what_follows_from_it() -> None:
    met = headline(report(artifact()))
    assert (met.state, met.title) == ("met", "Budget met")
    missed = BudgetResult(met=False, violations=[verdict("a.onnx")])
    failed = headline(report(artifact(), budget=missed))
    assert failed.state == "missed"
    assert "a.onnx costs more" in failed.meaning
    assert "rejected/" in failed.meaning
    kept = headline(report(artifact(), budget=missed, recipe={"on_violation": "best-effort"}))
    assert "rejected/" not in kept.meaning
    assert "written all the same" in kept.meaning
    opened = headline(report(artifact(), budget=BudgetResult(met=None, undecided=[verdict("a.onnx")])))
    assert opened.state == "undecided"


def test_no_file_is_called_faster_on_any_number_of_threads_unless_it_is_beyond_doubt() -> None:
    both = {"speedup": 1.5, "speedup_ci95": (1.4, 1.6), "speedup_extra": {"threads=2": 1.02}}
    doubtful = artifact(**both, speedup_extra_ci95={"threads=2": (0.95, 1.1)})
    assert did_not_pay(report(doubtful), doubtful) == [
        "No faster than the baseline on this host beyond doubt: 1.02x on 2 threads, 95 % interval 0.95 to 1.10."
    ]
    certain = artifact(**both, speedup_extra_ci95={"threads=2": (1.01, 1.03)})
    assert did_not_pay(report(certain), certain) == []
    slower = artifact(speedup=1.04, speedup_ci95=(0.9, 1.2))
    assert did_not_pay(report(slower), slower)[0].startswith("No faster than the baseline on this host beyond doubt")
    older = artifact(**both)
    assert did_not_pay(report(older), older) == []


def test_no_budget_is_not_called_a_met_one() -> None:
    assert headline(bare_report()).state == "none"
    assert headline(report(artifact(), recipe={"budget": {"size_mb": None}})).state == "none"
    assert headline(report(artifact(), recipe={"budget": "?"})).state == "none"


def test_all_artifacts_that_missed_are_said_together() -> None:
    budget = BudgetResult(met=False, violations=[verdict("a.onnx"), verdict("b.onnx")])
    both = headline(report(artifact("a.onnx"), artifact("b.onnx"), budget=budget))
    assert both.meaning.startswith("All artifacts cost more")
    two_of_three = headline(report(artifact("a.onnx"), artifact("b.onnx"), artifact("c.onnx"), budget=budget))
    assert two_of_three.meaning.startswith("a.onnx and b.onnx cost more")


def test_each_artifact_stands_for_itself() -> None:
    budget = BudgetResult(
        met=False, violations=[verdict("a.onnx")], undecided=[verdict("b.onnx", "budget.metric_drop")]
    )
    found = report(artifact("a.onnx"), artifact("b.onnx"), artifact("c.onnx"), budget=budget)
    assert [state_of(found, side) for side in found.artifacts] == ["missed", "undecided", "met"]
    assert state_of(found, found.artifacts[1], "size_mb") == "met"


def test_the_best_artifact_is_the_one_that_the_manifest_puts_first() -> None:
    best = best_artifact(report(artifact("first"), artifact("second", speedup=9.0)))
    assert best is not None
    assert best.path == "first"


def test_a_report_without_artifacts_has_no_best() -> None:
    assert best_artifact(report()) is None


def test_an_artifact_that_is_no_smaller_or_no_faster_says_so() -> None:
    slow = artifact(size_ratio=0.98, speedup=0.74, latency_ms=latency(5.4))
    said = " ".join(did_not_pay(report(slow), slow))
    assert "No smaller than the baseline" in said
    assert "0.98x" in said
    assert "No faster than the baseline on this host: 0.74x" in said
    exact = artifact(size_ratio=1.0, speedup=1.0)
    assert len(did_not_pay(report(exact), exact)) == 2
    good = artifact(size_ratio=4.0, speedup=2.0, speedup_extra={"threads=2": 1.2})
    assert did_not_pay(report(good), good) == []


def test_an_artifact_that_is_slow_with_two_threads_alone_says_so() -> None:
    side = artifact(speedup=1.5, speedup_extra={"threads=2": 0.9})
    (said,) = did_not_pay(report(side), side)
    assert "0.90x on 2 threads" in said


def test_quantizing_that_gained_no_speed_says_so() -> None:
    plain = artifact("plain.onnx", scheme="none", latency_ms=latency(1.0), speedup=4.0)
    slower = artifact("int8.onnx", latency_ms=latency(1.5), speedup=2.7)
    found = report(plain, slower)
    assert did_not_pay(found, plain) == []
    (said,) = did_not_pay(found, slower)
    assert "plain.onnx takes 1.00 ms" in said
    step = StepSide(index=0, step="prune", latency_ms=latency(1.2))
    assert "the compressed network in float32" in did_not_pay(report(slower, steps=[step]), slower)[0]


def test_a_step_that_cut_parameters_but_no_time_says_so() -> None:
    before = Side(params=100, latency_ms=latency(4.0))
    cut = StepSide(index=0, step="prune", params=50, latency_ms=latency(4.1))
    trained = StepSide(index=1, step="distill", params=50, latency_ms=latency(4.2))
    (said,) = steps_that_did_not_pay(report(artifact(), baseline=before, steps=[cut, trained]))
    assert said.startswith("Step 1, prune,")
    fast = msgspec.structs.replace(cut, latency_ms=latency(3.0))
    assert steps_that_did_not_pay(report(artifact(), baseline=before, steps=[fast])) == []


def test_host_figures_are_named_host_figures() -> None:
    said = host_note(cifar_report())
    assert "this host (x86_64, Intel Xeon Platinum 8481C)" in said
    assert "measure on the rpi5 itself" in said
    assert "the one that will serve it" in host_note(report(artifact(), target="x86-64"))


def test_artifacts_are_named_by_format_and_scheme() -> None:
    assert artifact_name(artifact()) == "ONNX static-int8"
    assert artifact_name(artifact(format="tflite", scheme="none")) == "TFLite float32"
    assert artifact_name(artifact(format="new", scheme="int4")) == "new int4"


def test_what_did_not_pay_is_said_once_although_the_run_warned_of_it_too() -> None:
    warned = ["no faster than the baseline on this host: 0.74x; of little meaning", "something else"]
    slow = artifact(speedup=0.74, size_ratio=0.5, warnings=warned)
    assert notes_on(report(slow), slow) == [
        "something else",
        "No smaller than the baseline: its size ratio is 0.50x.",
        "No faster than the baseline on this host: 0.74x on 1 thread. The rpi5 runs integers differently: measure "
        "there before you choose.",
    ]
    fine = artifact(speedup=2.0, warnings=["something else"])
    assert notes_on(report(fine), fine) == ["something else"]


def test_quantizing_is_judged_for_this_host_alone_when_the_target_is_another() -> None:
    step = StepSide(index=0, step="prune", latency_ms=latency(1.2))
    slower = artifact(latency_ms=latency(1.5))
    assert "measure there" in did_not_pay(report(slower, steps=[step]), slower)[0]
    assert "measure there" not in did_not_pay(report(slower, steps=[step], target="x86-64"), slower)[0]


def test_every_line_that_a_recipe_may_set_has_words_of_its_own() -> None:
    assert list(BUDGET_LINES) == [field.name for field in msgspec.structs.fields(Budget)]
