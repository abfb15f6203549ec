from __future__ import annotations

import io
from typing import Any

import msgspec
import pytest
from rich.console import Console

from edgeglm.errors import UserError
from edgeglm.report.compare import Comparison, compare, render_comparison
from edgeglm.report.types import (
    ArtifactSide,
    BudgetResult,
    ClassResult,
    Host,
    LayerLoss,
    Metric,
    Report,
    RobustnessResult,
    Side,
    SliceResult,
    SplitResult,
)
from tests.support.edge_reports import bare_report, hostile_report
from tests.support.report_parts import HOST, accuracy
from tests.support.reports import cifar_report, digits_report


def artifact(correct: int = 950, **changes: Any) -> ArtifactSide:
    fields: dict[str, Any] = {
        "format": "onnx", "scheme": "static-int8", "path": "model.onnx", "sha256": "",
        "metric": accuracy(correct, 1000), "size_bytes": 1000, "speedup": 2.0, **changes,
    }  # fmt: skip
    return ArtifactSide(**fields)


def report(*artifacts: ArtifactSide, **changes: Any) -> Report:
    fields: dict[str, Any] = {
        "name": "x", "target": "rpi5", "recipe": {}, "baseline": Side(metric=accuracy(960, 1000)), "steps": [],
        "artifacts": list(artifacts), "budget": BudgetResult(met=True), "host": HOST, **changes,
    }  # fmt: skip
    return Report(**fields)


def shown(comparison: Comparison) -> str:
    out = io.StringIO()
    Console(file=out, width=80).print(render_comparison(comparison), markup=False, highlight=False)
    assert max(map(len, out.getvalue().splitlines())) <= 80
    return " ".join(out.getvalue().split())


def test_a_report_is_not_worse_than_itself() -> None:
    found = compare(cifar_report(), cifar_report(), 0.0)
    assert not found.worse
    assert len(found.artifacts) == 4
    assert not found.notes
    assert "not worse" in shown(found)


@pytest.mark.parametrize(
    ("after", "worse"),
    [
        pytest.param(941, False, id="within"),
        pytest.param(940, False, id="exactly"),
        pytest.param(939, True, id="beyond"),
    ],
)
def test_a_metric_may_fall_by_the_threshold_and_no_more(after: int, worse: bool) -> None:
    found = compare(report(artifact(950)), report(artifact(after)), 0.01)
    assert found.worse is worse
    assert bool(found.reasons) is worse


def test_a_better_metric_is_not_worse() -> None:
    assert not compare(report(artifact(900)), report(artifact(990)), 0.0).worse


def test_a_metric_that_should_be_low_is_worse_when_it_rises() -> None:
    def rmse(value: float) -> ArtifactSide:
        return artifact(metric=Metric(name="rmse", value=value, n=10, ci95=(0, 9), higher_is_better=False))

    risen = compare(report(rmse(1.0)), report(rmse(1.2)), 0.1)
    assert risen.worse
    assert "rmse 1.000 1.200 0.200 worse" in shown(risen)
    fallen = compare(report(rmse(1.2)), report(rmse(1.0)), 0.1)
    assert not fallen.worse
    assert "rmse 1.200 1.000 0.200 better" in shown(fallen)


def test_every_split_counts_and_a_vanished_one_is_worse() -> None:
    def with_night(correct: int) -> ArtifactSide:
        return artifact(splits={"night": SplitResult(metric=accuracy(correct, 100))})

    found = compare(report(with_night(90)), report(with_night(80)), 0.01)
    assert found.reasons == ["ONNX static-int8: accuracy on split night is 10.0 pt worse; 1 pt is allowed."]
    gone = compare(report(with_night(90)), report(artifact()), 0.01)
    assert gone.reasons == ["ONNX static-int8: accuracy on split night is not in the second report."]


def test_an_artifact_that_is_missing_is_worse_and_a_new_one_is_not() -> None:
    both = report(artifact(), artifact(format="tflite", path="model.tflite"))
    one = report(artifact())
    gone = compare(both, one, 0.01)
    assert gone.worse
    assert gone.missing == ["TFLite static-int8"]
    new = compare(one, both, 0.01)
    assert not new.worse
    assert new.added == ["TFLite static-int8"]
    assert "only in the second: TFLite static-int8" in shown(new)


def test_artifacts_are_matched_by_format_and_scheme_whatever_their_path_and_order() -> None:
    a = report(artifact(path="model.onnx"), artifact(format="tflite", path="model.tflite"))
    b = report(artifact(format="tflite", path="t.tflite"), artifact(path="model.static-int8.onnx"))
    assert not compare(a, b, 0.0).worse


@pytest.mark.parametrize("last", ["extremes", "clipped"])
def test_files_that_differ_in_their_ranges_alone_are_each_compared_with_their_own(last: str) -> None:
    def front(extremes: int, clipped: int) -> Report:
        made = {
            "extremes": artifact(extremes, path="model.static-int8.onnx"),
            "clipped": artifact(clipped, path="model.static-int8-clipped.onnx", ranges="mean"),
        }
        return report(*sorted(made.values(), key=lambda side: side is made[last]))

    assert not compare(front(950, 950), front(950, 950), 0.0).worse
    for after, name in (((900, 950), "ONNX static-int8"), ((950, 900), "ONNX static-int8 clipped")):
        found = compare(front(950, 950), front(*after), 0.01)
        assert found.reasons == [f"{name}: accuracy is 5.0 pt worse; 1 pt is allowed."]
        assert [one.name for one in found.artifacts if one.metrics[0].worse] == [name]
        assert len(found.artifacts) == 2


def test_a_file_whose_layers_were_left_in_float_since_is_compared_with_what_it_was() -> None:
    mixed = [LayerLoss(layers=["conv1"], loss=0.1, kept=True)]
    before = report(artifact(950, path="model.static-int8.onnx"), artifact(format="tflite", path="model.tflite"))
    for correct, worse in ((950, False), (900, True)):
        after = artifact(correct, path="model.static-int8-mixed.onnx", sensitivity=mixed)
        found = compare(before, report(after, artifact(format="tflite", path="model.tflite")), 0.01)
        assert (found.worse, found.missing, found.added) == (worse, [], [])
        name = "ONNX static-int8 -> ONNX static-int8 mixed"
        assert [one.name for one in found.artifacts] == [name, "TFLite static-int8"]
        assert found.reasons == [f"{name}: accuracy is 5.0 pt worse; 1 pt is allowed."] * worse
    clipped = artifact(path="model.static-int8-clipped.onnx", ranges="mean")
    (back,) = compare(report(after), report(clipped), 1.0).artifacts
    assert back.name == "ONNX static-int8 mixed -> ONNX static-int8 clipped"
    both = compare(before, report(artifact(), after, artifact(format="tflite", path="model.tflite")), 0.01)
    assert both.added == ["ONNX static-int8 mixed"]
    assert [one.name for one in both.artifacts] == ["ONNX static-int8", "TFLite static-int8"]


def test_of_two_files_of_one_kind_neither_is_lost() -> None:
    two = report(artifact(950, path="a.onnx"), artifact(940, path="b.onnx"))
    swapped = report(artifact(940, path="b.onnx"), artifact(950, path="a.onnx"))
    assert not compare(two, swapped, 0.0).worse
    worse = compare(two, report(artifact(800, path="a.onnx"), artifact(940, path="b.onnx")), 0.01)
    assert worse.reasons == ["ONNX static-int8 (a.onnx): accuracy is 15.0 pt worse; 1 pt is allowed."]
    fewer = compare(two, report(artifact(940, path="b.onnx")), 0.01)
    assert fewer.missing == ["ONNX static-int8 (a.onnx)"]
    assert fewer.worse
    more = compare(report(artifact(950, path="model.onnx")), two, 0.01)
    assert more.added == ["ONNX static-int8 (b.onnx)"]
    assert [one.name for one in more.artifacts] == ["ONNX static-int8 (model.onnx)"]
    assert not more.worse


def test_size_and_speed_are_told_and_speed_is_against_each_runs_own_baseline() -> None:
    found = compare(report(artifact()), report(artifact(size_bytes=1500, speedup=1.0)), 0.01)
    assert not found.worse
    assert found.artifacts[0].size_bytes == (1000, 1500)
    text = shown(found)
    assert "size 1.00 kB 1.50 kB +50.0 %" in text
    assert "speed-up, own baseline 2.00x 1.00x -50.0 %" in text


def test_classes_with_enough_samples_in_both_are_listed_worst_first() -> None:
    def classes(*recalls: float) -> list[ClassResult]:
        rows = zip(("cat", "dog", "owl", "rare"), (50, 50, 50, 29), recalls, strict=True)
        return [ClassResult(label=label, n=n, recall=recall) for label, n, recall in rows]

    a = report(artifact(per_class=classes(0.9, 0.9, 0.9, 0.9)))
    b = report(artifact(per_class=classes(0.8, 0.5, 0.9, 0.0)))
    found = compare(a, b, 0.01)
    assert [change.label for change in found.artifacts[0].classes] == ["dog", "cat"]
    assert not found.worse  # recall is told, the metric decides
    assert "recall of dog 90.0 % 50.0 % 40.0 pt worse" in shown(found)


def test_only_the_classes_that_changed_most_are_printed() -> None:
    def classes(recall: float) -> list[ClassResult]:
        return [ClassResult(label=f"c{number}", n=50, recall=recall) for number in range(9)]

    text = shown(compare(report(artifact(per_class=classes(0.9))), report(artifact(per_class=classes(0.8))), 0.01))
    assert "4 more classes changed" in text


def test_what_makes_a_comparison_unsure_is_noted() -> None:
    other = Host(machine="aarch64", cpu="", cores=4, memory_bytes=1, features=[], system="", python="", versions={})
    baseline = Side(metric=accuracy(96, 100))
    b = report(artifact(), name="y", target="rpi4", host=other, baseline=baseline)
    notes = " ".join(compare(report(artifact()), b, 0.01).notes)
    for part in ("two recipes, x and y", "two targets", "1,000 and of 100 samples", "two machines"):
        assert part in notes


def test_metrics_of_two_kinds_cannot_be_compared() -> None:
    rmse = artifact(metric=Metric(name="rmse", value=1.0, n=10, ci95=(0, 9), higher_is_better=False))
    with pytest.raises(UserError, match="accuracy, the other by rmse") as caught:
        compare(report(artifact()), report(rmse), 0.01)
    assert caught.value.code == "compare-mismatch"


@pytest.mark.parametrize("threshold", [-0.01, float("nan"), float("inf"), 1.5])
def test_a_threshold_that_allows_nothing_to_be_said_is_refused(threshold: float) -> None:
    with pytest.raises(UserError) as caught:
        compare(report(artifact()), report(artifact()), threshold)
    assert caught.value.code == "threshold-invalid"


def test_a_metric_in_a_unit_of_its_own_may_lose_more_than_1() -> None:
    def made(value: float) -> Report:
        return report(artifact(metric=Metric(name="rmse", value=value, n=10, ci95=(0, 99), higher_is_better=False)))

    assert not compare(made(12.0), made(14.0), 2.5).worse
    assert compare(made(12.0), made(15.0), 2.5).worse


def test_reports_with_nothing_measured_compare_without_a_fault() -> None:
    found = compare(bare_report(), bare_report(), 0.01)
    assert not found.worse
    shown(found)
    empty = msgspec.structs.replace(bare_report(), artifacts=[])
    assert "nothing to compare" in shown(compare(empty, empty, 0.01))
    shown(compare(hostile_report(), hostile_report(), 0.01))
    shown(compare(digits_report(), cifar_report(), 0.01))


def test_slices_and_disturbances_that_changed_are_told_greatest_loss_first() -> None:
    def made(day: float, night: float, noisy: int) -> Report:
        slices = [
            SliceResult(name=name, n=n, value=value) for name, n, value in (("day", 90, day), ("night", 90, night))
        ]
        slices.append(SliceResult(name="fog", n=3, value=night))  # too few to tell
        noise = RobustnessResult(name="noise std=0.1", metric=accuracy(noisy, 1000), unchanged=0.95)
        return report(artifact(950, slices=slices, robustness=[noise]))

    found = compare(made(0.95, 0.94, 900), made(0.96, 0.80, 880), 0.1)
    (changed,) = found.artifacts
    assert [part.name for part in changed.parts] == ["in night", "under noise std=0.1", "in day"]
    assert not found.worse  # they inform; the metric of a split decides
    text = shown(found)
    assert "accuracy in night 94.0 % 80.0 % 14.0 pt worse" in text
    assert "accuracy under noise std=0.1 90.0 % 88.0 % 2.0 pt worse" in text
