from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest

from edgeglm.errors import ExportError
from edgeglm.measure.latency import (
    MAX_FACTOR,
    ROUND_RUNS,
    Measured,
    is_stable,
    measure_latency,
    speedup_interval,
    speedup_of,
    summarise,
)
from tests.support.tiny_models import INPUTS, tiny_images, write_slow_onnx, write_tiny_onnx, write_tiny_tflite

if TYPE_CHECKING:
    from pathlib import Path


def measured(rounds: list[float]) -> Measured:
    return Measured(summarise([rounds], threads=1, runtime="r"), 1, tuple(rounds))


def test_percentiles_are_those_of_all_runs_together() -> None:
    values = np.random.default_rng(0).permutation(np.arange(1.0, 102.0))  # 1 to 101: the p-th percentile is p + 1
    latency = summarise([list(values[:10]), list(values[10:])], threads=2, runtime="litert 2.3.0")
    assert (latency.p50, latency.p95, latency.p99) == (51, 96, 100)
    assert (latency.threads, latency.batch, latency.runs, latency.runtime) == (2, 1, 101, "litert 2.3.0")


def test_files_are_timed_side_by_side(tmp_path: Path) -> None:
    files = {
        "float": (write_tiny_onnx(tmp_path / "tiny.onnx"), "onnx"),
        "lite": (write_tiny_tflite(tmp_path / "tiny.tflite"), "tflite"),
    }
    figures = measure_latency(files, {"image": tiny_images(1)}, model_inputs=INPUTS, threads=1, runs=25)
    assert list(figures) == ["float", "lite"]
    for figure in figures.values():
        latency = figure.latency
        assert 0 < latency.p50 <= latency.p95 <= latency.p99
        assert 25 <= latency.runs <= 30 * MAX_FACTOR
        assert latency.runs == ROUND_RUNS * len(figure.rounds_p50_ms)
        assert 10e6 < figure.peak_rss_bytes < 500e6
    assert figures["float"].latency.runs == figures["lite"].latency.runs
    assert figures["float"].latency.runtime.startswith("onnxruntime ")
    assert figures["lite"].latency.runtime.startswith("litert ")


def test_what_a_rival_outpaces_is_timed_no_further(tmp_path: Path) -> None:
    quick, slow = write_tiny_onnx(tmp_path / "quick.onnx"), write_slow_onnx(tmp_path / "slow.onnx")
    files = {name: (quick if name == "quick" else slow, "onnx") for name in ("quick", "slow", "alone", "its part")}
    figures = measure_latency(
        files,
        {"image": tiny_images(1)},
        model_inputs=INPUTS,
        threads=1,
        runs=100,
        rivals={"slow": ["quick"], "quick": ["slow"]},
        owners={"its part": "slow"},
    )
    assert {name: figure.outpaced for name, figure in figures.items()} == {
        "quick": False,
        "slow": True,
        "alone": False,
        "its part": True,
    }
    assert (
        5 * ROUND_RUNS <= figures["slow"].latency.runs < figures["quick"].latency.runs == figures["alone"].latency.runs
    )
    low, high = speedup_interval(figures["alone"], figures["slow"])  # of the rounds in which both were timed
    assert low <= speedup_of(figures["alone"], figures["slow"]) <= high
    assert 0.3 < speedup_of(figures["alone"], figures["slow"]) < 3


def test_a_file_that_takes_other_inputs_is_named(tmp_path: Path) -> None:
    files = {"float": (write_tiny_onnx(tmp_path / "tiny.onnx"), "onnx")}
    with pytest.raises(ExportError, match=r"takes N x 3 x 8 x 8, it was given \(1, 3, 9, 9\)") as raised:
        measure_latency(files, {"image": np.zeros((1, 3, 9, 9))}, model_inputs=INPUTS, threads=1, runs=1)
    assert raised.value.problems[0].where == str(tmp_path / "tiny.onnx")


@pytest.mark.parametrize(
    ("turns", "stable"),
    [([[1.0], [1.0]], True), ([[1.0], [1.015]], True), ([[1.0], [1.03]], False), ([[1.0]], False)],
)
def test_a_median_is_stable_when_its_halves_agree(turns: list[list[float]], stable: bool) -> None:
    assert is_stable(turns) is stable


def test_a_speed_up_has_an_interval_that_holds_it() -> None:
    noise = np.random.default_rng(0).normal(1, 0.05, 40)
    low, high = speedup_interval(measured(list(2 * noise)), measured(list(noise[::-1])))
    assert low < 2 < high
    assert high - low < 0.2
    assert speedup_interval(measured([3.0] * 5), measured([2.0] * 5)) == (1.5, 1.5)
    skewed = Measured(summarise([[4.0]], threads=1, runtime="r"), 1, (3.0,) * 5)
    assert speedup_interval(skewed, measured([2.0] * 5)) == (1.5, 2.0)
    assert speedup_interval(measured([2.0] * 5), skewed) == (0.5, 2 / 3)
