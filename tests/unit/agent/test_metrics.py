"""Figures for Prometheus."""

from __future__ import annotations

from typing import Any

from edgeglm_agent.worker.meter import Counts, Meter
from edgeglm_agent.worker.metrics import Figures, family, prometheus

MODEL = {"model": "digits 1.0", "runtime": 'onnxruntime "1.31"\\\n'}


def counted() -> Counts:
    meter = Meter()
    for number in range(1, 101):
        meter.add(float(number), 2.0 * number)  # milliseconds
    meter.take()  # a window ends: nothing falls
    for _ in range(2):
        meter.error("run")
    meter.error("input")
    return meter.totals()


def page(counts: Counts | None = None, **changed: Any) -> str:
    counts = counts or counted()
    fields = {
        "slot": "main",
        "serving": True,
        "model": MODEL,
        "inferences": counts.inferences,
        "errors": counts.errors,
        "latency_ms": counts.latency,
        "latency_sum_ms": 5050.0,
        "total_ms": counts.total,
        "total_sum_ms": 10_100.0,
    }
    return prometheus(Figures(**{**fields, **changed}))


def values(text: str) -> dict[str, float]:
    return {line.rpartition(" ")[0]: float(line.rpartition(" ")[2]) for line in text.splitlines() if line[0] != "#"}


def test_every_figure_is_on_the_page() -> None:
    text = page()
    found = values(text)
    assert found['edgeglm_up{slot="main"}'] == 1
    assert found['edgeglm_inferences_total{slot="main"}'] == 100
    assert found['edgeglm_errors_total{slot="main",kind="input"}'] == 1
    assert found['edgeglm_errors_total{slot="main",kind="run"}'] == 2
    assert r'edgeglm_model_info{slot="main",model="digits 1.0",runtime="onnxruntime \"1.31\"\\\n"} 1' in text


def test_latencies_are_a_histogram_in_seconds() -> None:
    found = values(page())
    assert found['edgeglm_model_seconds_bucket{slot="main",le="0.0005"}'] == 0
    assert 24 <= found['edgeglm_model_seconds_bucket{slot="main",le="0.025"}'] <= 26
    assert found['edgeglm_model_seconds_bucket{slot="main",le="0.25"}'] == 100
    assert found['edgeglm_model_seconds_bucket{slot="main",le="+Inf"}'] == 100
    assert found['edgeglm_model_seconds_count{slot="main"}'] == 100
    assert abs(found['edgeglm_model_seconds_sum{slot="main"}'] - 5.05) < 0.05
    assert abs(found['edgeglm_answer_seconds_sum{slot="main"}'] - 10.1) < 0.1
    buckets = [value for key, value in found.items() if key.startswith("edgeglm_answer_seconds_bucket")]
    assert buckets == sorted(buckets)


def test_each_family_is_announced_once_and_whole() -> None:
    text = page()
    assert text.endswith("\n")
    names = [line.split()[2] for line in text.splitlines() if line.startswith("# TYPE")]
    assert len(names) == len(set(names)) == 6
    current = ""
    for line in text.splitlines():
        if line.startswith("# TYPE"):
            current = line.split()[2]
        elif not line.startswith("#"):
            assert line.startswith(current)


def test_a_worker_that_has_seen_nothing_has_a_page_too() -> None:
    text = page(Counts(), serving=False, latency_sum_ms=0.0)
    found = values(text)
    assert "edgeglm_errors_total" not in text
    assert found['edgeglm_up{slot="main"}'] == 0
    assert found['edgeglm_model_seconds_bucket{slot="main",le="+Inf"}'] == 0
    assert found['edgeglm_model_seconds_sum{slot="main"}'] == 0


def test_a_family_without_rows_is_left_out() -> None:
    assert family("a", "gauge", "b", []) == ""
    assert family("a", "gauge", "b", [({"c": "d"}, 1.5)]) == '# HELP a b\n# TYPE a gauge\na{c="d"} 1.5\n'
