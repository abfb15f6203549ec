from __future__ import annotations

import io
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import msgspec
import pytest
from rich.console import Console

from edgeglm.report.figures import change_of, format_points
from edgeglm.report.findings import step_name
from edgeglm.report.html import render_html
from edgeglm.report.terminal import print_summary
from edgeglm.report.types import Drop, Metric, RobustnessResult, SliceResult, SplitResult
from tests.support.edge_reports import hostile_report
from tests.support.report_parts import paired
from tests.support.reports import SAMPLES, cifar_report, digits_report, rejected_report

if TYPE_CHECKING:
    from edgeglm.report.types import Report


def printed(report: Report, *, folder: Path | None = None, color: bool = False) -> str:
    out = io.StringIO()
    system: Literal["standard", "auto"] = "standard" if color else "auto"
    console = Console(file=out, width=80, force_terminal=color, color_system=system, _environ={})
    print_summary(report, console, folder)
    return out.getvalue()


@pytest.mark.parametrize("name", SAMPLES)
def test_no_line_is_wider_than_80_columns_and_nothing_is_coloured_off_a_terminal(name: str) -> None:
    text = printed(SAMPLES[name]())
    assert max(map(len, text.splitlines())) <= 80
    assert "\x1b" not in text


@pytest.mark.parametrize(
    ("metric", "scale"),
    [
        pytest.param("rmse", 1e-4, id="many digits"),
        pytest.param("rmse", 1e6, id="large numbers"),
        pytest.param("cosine_to_original", 1e-4, id="long heading"),
        pytest.param("mispredictionprobability", 1e-4, id="long word"),
        pytest.param("delay_samples", 1234.5, id="unit"),
        pytest.param("accuracy", 1.0, id="whole range"),
    ],
)
def test_nothing_of_an_interval_is_lost_in_80_columns(
    metric: str, scale: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    higher = metric in ("accuracy", "cosine_to_original")
    figure = Metric(name=metric, value=0.9 * scale, n=360, ci95=(0.8 * scale, scale), higher_is_better=higher)
    drop = Drop(value=0.712 * scale, ci95=(-0.998 * scale, 1.06 * scale), n=360, worse=1, better=0)
    named = {"name": "vibration=severe and light=night", "n": 12_345, "value": figure.value}
    shift = {"name": "noise std=0.1 on every second channel", "unchanged": 0.9, "metric": figure}
    splits = {"a further split of the field": SplitResult(metric=figure)}
    before = {"metric": figure, "slices": [SliceResult(**named)], "robustness": [RobustnessResult(**shift)]}
    after: dict[str, Any] = {
        "metric": figure,
        "drop": drop,
        "slices": [SliceResult(**named, drop=drop)],
        "robustness": [RobustnessResult(**shift, drop=drop)],
        "splits": {name: msgspec.structs.replace(result, drop=drop) for name, result in splits.items()},
        "format": "openvino",
        "scheme": "weight-only-int8",
        "size_bytes": 123_456,
        "speedup": 13.9,
        "speedup_ci95": (12.34, 15.67),
    }
    found = digits_report()
    baseline = msgspec.structs.replace(found.baseline, **before, splits=splits)
    side = msgspec.structs.replace(found.artifacts[0], **after)
    out = io.StringIO()
    print_summary(msgspec.structs.replace(found, baseline=baseline, artifacts=[side]), Console(file=out))
    text = out.getvalue()
    assert max(map(len, text.splitlines())) <= 80
    assert "\u2026" not in text
    change, (low, high) = change_of(drop, figure)
    for shown in (
        format_points(metric, change, unit=False),
        f"[{format_points(metric, low, unit=False)},",
        f"{format_points(metric, high, unit=False)}]",
    ):
        assert text.count(shown) == 4, (shown, text)  # the files, the splits, the slices, the disturbances
    assert text.count("[95 %]") == 4
    assert text.count("12.34-15.67") == 1


def test_a_wide_terminal_is_used() -> None:
    found = digits_report()
    side = msgspec.structs.replace(found.artifacts[0], format="openvino", scheme="weight-only-int8")
    out = io.StringIO()
    for width in (80, 120):
        console = Console(file=out, width=width, _environ={})
        print_summary(msgspec.structs.replace(found, artifacts=[side, *found.artifacts]), console)
    assert sum(line.startswith("OpenVINO weight-only-int8") for line in out.getvalue().splitlines()) == 1


def test_one_row_an_artifact_holds_its_figures() -> None:
    rows = [" ".join(line.split()) for line in printed(cifar_report()).splitlines()]
    assert "baseline 3.44 MB 4.22 93.6 %" in rows
    assert "ONNX static-int8 * 467 kB 7.36x 2.08 2.03x 92.8 % -0.8 [-2.5, +0.9]" in rows
    assert "TFLite static-int8 530 kB 6.48x 1.14 3.71x 93.0 % -0.6 [-2.1, +0.9]" in rows


def test_the_further_splits_have_a_row_for_each_side() -> None:
    rows = [" ".join(line.split()) for line in printed(digits_report()).splitlines()]
    assert "night baseline 94.7 %" in rows
    assert any(row.startswith("TFLite static-int8 93.7 % -1.1 [") for row in rows)


@pytest.mark.parametrize(
    ("interval", "shown"),
    [
        pytest.param((3.2, 4.1), "3.20-4.10", id="wide"),
        pytest.param((3.6, 3.66), None, id="narrow"),
        pytest.param(None, None, id="not measured"),
    ],
)
def test_a_speed_up_shows_its_interval_where_that_is_wide(
    interval: tuple[float, float] | None, shown: str | None
) -> None:
    found = digits_report()
    side = msgspec.structs.replace(found.artifacts[0], speedup_ci95=interval)
    text = printed(msgspec.structs.replace(found, artifacts=[side]))
    assert (shown in text) if shown else ("3.60" not in text)
    page = render_html(msgspec.structs.replace(found, artifacts=[side]))
    assert ("3.20 to 4.10\u00d7" in page) is bool(shown)


def test_a_speed_up_that_may_be_none_shows_its_interval_however_narrow() -> None:
    found = digits_report()
    side = msgspec.structs.replace(found.artifacts[0], speedup=1.01, speedup_ci95=(0.99, 1.02))
    assert "0.99-1.02" in printed(msgspec.structs.replace(found, artifacts=[side]))


def test_the_star_says_why_and_where_the_best_lies() -> None:
    text = " ".join(printed(cifar_report()).split())
    assert "* the best: ONNX static-int8, model.static-int8.onnx: fewer of its budget lines are undecided" in text
    text = " ".join(printed(rejected_report()).split())
    assert "* best of those rejected: ONNX static-int8, rejected/model.static-int8.onnx: fewer" in text


def test_verdicts_warnings_and_the_reports_place_are_told() -> None:
    text = " ".join(printed(cifar_report(), folder=Path("build/resnet56")).split())
    assert text.startswith("resnet56-cifar10 for rpi5: budget missed")
    assert "missed model.dynamic-int8.onnx: p95 latency on this host is 10.8 ms" in text
    assert "undecided model.static-int8.tflite: accuracy fell by" in text
    assert "warning 3 of 10,000 training images" in text
    assert "No faster than the baseline on this host: 0.44x" in text
    assert "measure on the rpi5 itself" in text
    assert text.endswith("report: build/resnet56/report.html (12 min 22 s)")


def test_what_a_step_warns_of_stands_among_the_warnings_and_on_the_page_too() -> None:
    found = cifar_report()
    step = msgspec.structs.replace(found.steps[-1], warnings=["training made the network worse: lower it"])
    found = msgspec.structs.replace(found, steps=[*found.steps[:-1], step])
    said = f"Step {len(found.steps)}, {step_name(step)}: training made the network worse"
    assert f"warning {said}" in " ".join(printed(found).split())
    page = render_html(found)
    assert said in page[page.index('id="warnings"') :]


def test_a_met_budget_is_said_in_ascii_that_any_terminal_shows() -> None:
    text = printed(digits_report())
    assert text.isascii()
    assert "digits-cnn for x86-64: budget met" in text


def test_what_users_wrote_is_neither_markup_nor_escape_codes() -> None:
    text = printed(hostile_report())
    assert "onerror=alert(2)>\ufffd\ufffd[31m" in text  # shown as letters
    assert "\x1b" not in text
    assert "\u202e" not in text
    named = msgspec.structs.replace(digits_report(), name="[bold]x[/nope]")
    assert printed(named).startswith("[bold]x[/nope] for x86-64")


def test_on_a_terminal_the_verdict_is_coloured() -> None:
    assert "\x1b[1;31mbudget missed" in printed(cifar_report(), color=True)


def test_slices_stand_with_the_most_harmed_first() -> None:
    found = digits_report()
    harmed = [
        SliceResult(name=f"device={number}", n=100 + number, value=0.9, drop=paired(number, 0, 100 + number))
        for number in range(12)
    ]
    before = [msgspec.structs.replace(result, value=0.95, drop=None) for result in harmed]
    side = msgspec.structs.replace(found.artifacts[0], slices=harmed)
    found = msgspec.structs.replace(
        found, baseline=msgspec.structs.replace(found.baseline, slices=before), artifacts=[side]
    )
    text = printed(found)
    rows = [" ".join(line.split()) for line in text.splitlines()]
    (first,) = [row for row in rows if row.startswith("device=11 111 95.0 % 90.0 % -9.9 [")]
    assert rows.index(first) < next(index for index, row in enumerate(rows) if row.startswith("device=2 "))
    assert "and 2 more slices in report.json" in rows
    assert max(map(len, text.splitlines())) <= 80
