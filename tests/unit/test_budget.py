from __future__ import annotations

from typing import Any

import msgspec
import pytest

from edgeglm.boards import BOARDS
from edgeglm.budget import judge
from edgeglm.errors import BudgetMissedError
from edgeglm.pipeline.run import check_budget
from edgeglm.recipe.types import Budget
from edgeglm.report.types import (
    ArtifactSide,
    BudgetResult,
    ClassResult,
    Drop,
    Host,
    Latency,
    Metric,
    Report,
    Side,
    SliceResult,
    SplitResult,
)
from edgeglm.tasks.statistics import drop_interval, samples_needed, wilson_interval

HOST = Host(machine="x86_64", cpu="", cores=2, memory_bytes=1, features=[], system="Linux", python="3.11", versions={})


def latency(p50: float, p95: float | None = None) -> Latency:
    return Latency(p50=p50, p95=p95 or p50, p99=p95 or p50, threads=1, batch=1, runs=200, runtime="onnxruntime 1.31.1")


def metric(correct: int, n: int) -> Metric:
    return Metric(name="accuracy", value=correct / n, n=n, ci95=wilson_interval(correct, n), higher_is_better=True)


def drop(worse: int, better: int, n: int) -> Drop:
    return Drop(value=(worse - better) / n, ci95=drop_interval(worse, better, n), n=n, worse=worse, better=better)


def of_class(label: str, worse: int, better: int, n: int) -> ClassResult:
    found = drop(worse, better, n)
    return ClassResult(label=label, n=n, recall=0.9, drop=found.value, ci95=found.ci95, worse=worse, better=better)


def artifact(**changes: Any) -> ArtifactSide:
    fields: dict[str, Any] = {"format": "onnx", "scheme": "static-int8", "path": "model.onnx", "sha256": "", **changes}
    return ArtifactSide(**fields)


def judged(side: ArtifactSide, *, board: str = "x86-64", machine: str = "x86_64", **lines: float) -> BudgetResult:
    host = Host(
        machine=machine, cpu="", cores=2, memory_bytes=1, features=[], system="Linux", python="3.11", versions={}
    )
    baseline = Side(metric=metric(900, 1000), latency_ms=latency(4.0))
    return judge(baseline, [side], Budget(**lines), BOARDS[board], host)


def test_a_recipe_without_a_budget_is_neither_met_nor_undecided() -> None:
    assert judged(artifact()) == BudgetResult(met=None)


@pytest.mark.parametrize(
    ("worse", "better", "n", "met"),
    [
        pytest.param(1, 1, 2000, True, id="whole interval within"),
        pytest.param(90, 5, 2000, False, id="whole interval beyond"),
        pytest.param(9, 2, 500, None, id="limit inside"),
    ],
)
def test_the_metric_is_judged_by_its_paired_interval(worse: int, better: int, n: int, met: bool | None) -> None:
    lost = drop(worse, better, n)
    result = judged(artifact(metric=metric(int(0.9 * n), n), drop=lost), metric_drop=0.01)
    assert result.met is met
    found = [*result.violations, *result.undecided]
    assert [(v.key, v.artifact, v.limit, v.measured, v.ci95) for v in found] == (
        [] if met else [("budget.metric_drop", "model.onnx", 0.01, lost.value, lost.ci95)]
    )


def test_an_undecided_metric_names_the_samples_that_would_tell() -> None:
    lost = drop(9, 6, 500)  # 0.6 pt lost, limit 2 pt
    (verdict,) = judged(artifact(metric=metric(450, 500), drop=lost), metric_drop=0.02).undecided
    assert verdict.n_needed == samples_needed(lost, 0.02)
    assert verdict.n_needed is not None
    assert verdict.n_needed > 500
    about = float(f"{verdict.n_needed:.2g}")
    assert f"about {about:,.0f} evaluation samples would tell" in verdict.message
    assert "accuracy is 0.6 pt worse" in verdict.message
    assert "500 samples" in verdict.message


def test_a_loss_at_the_limit_itself_promises_no_number_of_samples() -> None:
    (verdict,) = judged(artifact(metric=metric(450, 500), drop=drop(5, 0, 500)), metric_drop=0.01).undecided
    assert verdict.n_needed is None
    assert "more samples are unlikely to tell" in verdict.message


def test_every_split_is_judged_and_named() -> None:
    fine, bad = drop(0, 0, 5000), drop(500, 0, 5000)
    side = artifact(
        metric=metric(4500, 5000), drop=fine, splits={"night": SplitResult(metric=metric(4000, 5000), drop=bad)}
    )
    result = judged(side, metric_drop=0.01)
    assert result.met is False
    (verdict,) = result.violations
    assert "split `night`" in verdict.message


def test_a_metric_whose_drop_was_not_measured_is_undecided() -> None:
    result = judged(artifact(metric=metric(9, 10)), metric_drop=0.01)
    assert result.met is None
    assert result.undecided[0].measured is None


def test_one_entry_names_the_worst_class_and_the_next() -> None:
    rows = [
        of_class("cat", 20, 0, 50),
        of_class("dog", 25, 0, 50),
        of_class("owl", 0, 0, 5000),
        of_class("fox", 15, 0, 50),
    ]
    result = judged(artifact(per_class=rows), per_class_drop=0.03)
    assert result.met is False
    (verdict,) = result.violations
    assert not result.undecided
    assert verdict.measured == 0.5
    assert "recall of `dog`" in verdict.message
    assert "also beyond it: `cat`, `fox`" in verdict.message
    assert "owl" not in verdict.message


def test_a_class_of_fewer_than_30_samples_is_not_judged() -> None:
    rows = [of_class("rare", 29, 0, 29), of_class("owl", 0, 0, 5000)]
    assert judged(artifact(per_class=rows), per_class_drop=0.03).met is True


def test_a_class_without_any_sample_leaves_the_line_undecided_and_is_named() -> None:
    rows = [ClassResult(label="ghost", n=0, recall=None), of_class("owl", 0, 0, 5000)]
    result = judged(artifact(per_class=rows), per_class_drop=0.03)
    assert result.met is None
    assert "no evaluation sample of `ghost` (0)" in result.undecided[0].message


def test_a_verdict_on_classes_names_those_it_could_not_judge() -> None:
    rows = [of_class("rare", 0, 0, 29), of_class("cat", 20, 0, 50), ClassResult(label="ghost", n=0, recall=None)]
    (verdict,) = judged(artifact(per_class=rows), per_class_drop=0.03).violations
    assert "recall of `cat`" in verdict.message
    assert "Not judged, with fewer than 30 samples: `rare` (29), `ghost` (0)." in verdict.message


def chancy(correct: int, n: int) -> Metric:
    return msgspec.structs.replace(metric(correct, n), chance=0.25)


@pytest.mark.parametrize(
    ("before", "after", "met"),
    [
        pytest.param(chancy(256, 1000), chancy(256, 1000), None, id="neither is better than chance"),
        pytest.param(chancy(256, 1000), chancy(900, 1000), True, id="the recipe trained it"),
        pytest.param(chancy(900, 1000), chancy(900, 1000), True, id="both are better"),
    ],
)
@pytest.mark.parametrize("line", ["metric_drop", "per_class_drop", "per_slice_drop"])
def test_nothing_is_met_by_what_is_no_better_than_chance(
    before: Metric, after: Metric, met: bool | None, line: str
) -> None:
    classes, slices = [of_class("owl", 0, 0, 5000)], [of_slice("d=a", 0, 0, 5000)]
    side = artifact(metric=after, drop=drop(0, 0, 1000), per_class=classes, slices=slices)
    result = judge(Side(metric=before), [side], Budget(**{line: 0.05}), BOARDS["x86-64"], HOST)
    assert result.met is met
    assert [verdict.key for verdict in result.undecided] == ([] if met else [f"budget.{line}"])


@pytest.mark.parametrize("line", ["metric_drop", "per_slice_drop"])
def test_a_further_split_at_chance_is_undecided_on_its_own(line: str) -> None:
    def split(found: Metric) -> dict[str, SplitResult]:
        return {"night": SplitResult(metric=found, drop=drop(0, 0, 1000), slices=[of_slice("d=a", 0, 0, 1000)])}

    side = artifact(metric=chancy(900, 1000), drop=drop(0, 0, 1000), splits=split(chancy(240, 1000)))
    baseline = Side(metric=chancy(900, 1000), splits=split(chancy(250, 1000)))
    (verdict,) = judge(baseline, [side], Budget(**{line: 0.05}), BOARDS["x86-64"], HOST).undecided
    assert "proves nothing on split `night`" in verdict.message


def test_classes_that_are_all_too_small_leave_the_line_undecided() -> None:
    (verdict,) = judged(artifact(per_class=[of_class("rare", 0, 0, 29)]), per_class_drop=0.03).undecided
    assert verdict.n_needed == 30


def test_an_unharmed_class_of_few_samples_is_undecided_and_says_how_many_would_tell() -> None:
    (verdict,) = judged(artifact(per_class=[of_class("7", 0, 0, 36)]), per_class_drop=0.03).undecided
    assert verdict.n_needed is not None
    assert 100 < verdict.n_needed < 150  # z^2 / (n + z^2) <= 0.03
    assert "about 120 samples of `7`" in verdict.message


def test_a_class_without_an_interval_is_judged_by_its_value() -> None:
    lost = ClassResult(label="cat", n=50, recall=0.8, drop=0.04)
    assert judged(artifact(per_class=[lost]), per_class_drop=0.03).met is False
    assert judged(artifact(per_class=[lost]), per_class_drop=0.04).met is True


@pytest.mark.parametrize(
    ("line", "limit", "changes", "met"),
    [
        ("size_mb", 2.0, {"size_bytes": 2_000_000}, True),
        ("size_mb", 2.0, {"size_bytes": 2_000_001}, False),
        ("size_mb", 2.0, {}, None),
        ("peak_rss_mb", 80.0, {"peak_rss_bytes": 79_000_000}, True),
        ("peak_rss_mb", 80.0, {"peak_rss_bytes": 81_000_000}, False),
        ("peak_rss_mb", 80.0, {}, None),
        ("host_latency_p95_ms", 0.1, {"latency_ms": latency(0.05, 0.1)}, True),
        ("host_latency_p95_ms", 0.1, {"latency_ms": latency(0.05, 0.11)}, False),
        ("host_latency_p95_ms", 0.1, {}, None),
        ("min_speedup", 1.5, {"speedup": 1.5}, True),
        ("min_speedup", 1.5, {"speedup": 1.49}, False),
        ("min_speedup", 1.5, {}, None),
    ],
)
def test_what_is_measured_is_judged_by_its_value(
    line: str, limit: float, changes: dict[str, Any], met: bool | None
) -> None:
    result = judged(artifact(**changes), **{line: limit})
    assert result.met is met
    for verdict in [*result.violations, *result.undecided]:
        assert verdict.key == f"budget.{line}"
        assert verdict.message.startswith("model.onnx: ")
        assert verdict.message.endswith(".")
        assert f"budget.{line}" in verdict.message


@pytest.mark.parametrize(
    ("interval", "met"),
    [((1.5, 1.6), True), ((1.4, 1.49), False), ((1.4, 1.5), None), ((1.49, 1.7), None)],
)
def test_a_speedup_is_judged_by_its_interval(interval: tuple[float, float], met: bool | None) -> None:
    side = artifact(speedup=1.55, speedup_ci95=interval, latency_ms=latency(2.58))
    result = judged(side, min_speedup=1.5)
    assert result.met is met
    for verdict in [*result.violations, *result.undecided]:
        assert (verdict.key, verdict.limit, verdict.measured, verdict.ci95) == (
            "budget.min_speedup",
            1.5,
            1.55,
            interval,
        )
        assert "4.00 ms to 2.58 ms, 95 % interval 1.4" in verdict.message


def test_an_undecided_speedup_says_what_would_tell() -> None:
    (verdict,) = judged(artifact(speedup=1.55, speedup_ci95=(1.41, 1.72)), min_speedup=1.5).undecided
    assert "its speed-up on this host is 1.55x (95 % interval 1.41x to 1.72x)" in verdict.message
    assert "the limit of `budget.min_speedup`, 1.5x, lies inside the interval" in verdict.message
    assert "Measure again on a quieter machine" in verdict.message


def test_a_host_of_another_architecture_cannot_decide_the_speedup() -> None:
    result = judged(artifact(speedup=9.0), board="rpi5", min_speedup=1.5)
    assert result.met is None
    (verdict,) = result.undecided
    assert verdict.measured == 9.0
    assert "Measure it on the board" in verdict.message
    assert "rpi5" in verdict.message


@pytest.mark.parametrize("machine", ["arm64", "aarch64"])
def test_a_host_of_the_boards_architecture_decides_whatever_it_is_called(machine: str) -> None:
    assert judged(artifact(speedup=9.0), board="rpi5", machine=machine, min_speedup=1.5).met is True


def test_a_missed_line_outweighs_an_undecided_one_and_every_artifact_is_judged() -> None:
    big = artifact(path="a.onnx", size_bytes=9_000_000)
    unknown = artifact(path="b.onnx")
    result = judge(Side(), [big, unknown], Budget(size_mb=1.0), BOARDS["x86-64"], HOST)
    assert result.met is False
    assert [v.artifact for v in result.violations] == ["a.onnx"]
    assert [v.artifact for v in result.undecided] == ["b.onnx"]


def test_a_metric_that_should_be_low_is_judged_in_its_bad_direction() -> None:
    rmse = Metric(name="rmse", value=0.5, n=1000, ci95=(0.4, 0.6), higher_is_better=False)
    side = artifact(metric=rmse, drop=Drop(value=0.2, ci95=(0.15, 0.25), n=1000, worse=700, better=300))
    (verdict,) = judged(side, metric_drop=0.1).violations
    assert "rmse is 0.200 worse (95 % interval of the loss 0.150 to 0.250, 1,000 samples)" in verdict.message


@pytest.mark.parametrize("on_violation", ["fail", "best-effort"])
def test_a_missed_budget_has_one_line_for_each_miss_that_begins_with_its_artifact(on_violation: str) -> None:
    missed = judged(artifact(size_bytes=60_000, speedup=1.0, speedup_ci95=(0.9, 1.1)), size_mb=0.05, min_speedup=2.0)
    report = Report(
        name="r", recipe={"on_violation": on_violation}, target="x86-64", baseline=Side(), steps=[], artifacts=[],
        budget=missed, host=HOST,
    )  # fmt: skip
    with pytest.raises(BudgetMissedError) as caught:
        check_budget(report)
    size, speed, empty, hint, code = str(caught.value).split("\n")
    assert size.startswith("model.onnx: the file is 60.0 kB; `budget.size_mb` allows 0.05 MB")
    assert speed.startswith("model.onnx: its speed-up on this host is 1.00x")
    assert size.count("model.onnx") == speed.count("model.onnx") == 1
    assert (empty, code) == ("", "code: budget-missed")
    assert ("rejected/" in hint) is (on_violation == "fail")


def of_slice(name: str, worse: int, better: int, n: int) -> SliceResult:
    return SliceResult(name=name, n=n, value=0.9, drop=drop(worse, better, n))


@pytest.mark.parametrize(
    ("slices", "met"),
    [
        pytest.param([of_slice("d=a", 0, 0, 1000), of_slice("d=b", 1, 1, 1000)], True, id="unharmed"),
        pytest.param([of_slice("d=a", 0, 0, 1000), of_slice("d=b", 150, 0, 1000)], False, id="one harmed"),
        pytest.param([of_slice("d=a", 0, 0, 1000), of_slice("d=b", 3, 0, 40)], None, id="one open"),
        pytest.param([of_slice("d=a", 0, 0, 1000), of_slice("d=b", 9, 0, 20)], True, id="a small one does not count"),
        pytest.param([of_slice("d=a", 9, 0, 20)], None, id="all too small"),
        pytest.param([SliceResult(name="d=a", n=500, value=None)], None, id="not judged"),
        pytest.param([], None, id="none"),
    ],
)
def test_every_slice_of_enough_samples_is_judged(slices: list[SliceResult], met: bool | None) -> None:
    assert judged(artifact(slices=slices), per_slice_drop=0.05).met is met


def test_one_entry_names_the_worst_slice_the_next_and_the_small() -> None:
    slices = [of_slice("d=a", 150, 0, 1000), of_slice("d=b", 200, 0, 1000), of_slice("d=c", 0, 0, 7)]
    night = SplitResult(metric=metric(900, 1000), slices=[of_slice("d=a", 400, 0, 1000)])
    result = judged(artifact(metric=metric(900, 1000), slices=slices, splits={"night": night}), per_slice_drop=0.05)
    (verdict,) = result.violations
    assert verdict.key == "budget.per_slice_drop"
    assert "accuracy in the slice `d=a` on split `night` is 40" in verdict.message
    assert "(also beyond it: `d=b`, `d=a`)" in verdict.message
    assert "Not judged, with fewer than 30 samples: `d=c` (7)." in verdict.message


def test_an_open_slice_says_how_many_samples_would_tell() -> None:
    (verdict,) = judged(artifact(slices=[of_slice("d=a", 4, 0, 60)]), per_slice_drop=0.05).undecided
    assert verdict.n_needed is not None
    assert "samples of `d=a` would tell" in verdict.message
