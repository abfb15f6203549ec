from __future__ import annotations

import json
from pathlib import Path

import msgspec
import pytest

from edgeglm.errors import UserError
from edgeglm.report.json import decode_report, encode_report, read_json, write_json
from tests.support.reports import SAMPLES, cifar_report

GOLDEN = Path(__file__).parents[2] / "golden" / "report-1.json"


@pytest.mark.parametrize("name", SAMPLES)
def test_a_report_comes_back_as_it_was_written(name: str, tmp_path: Path) -> None:
    report = SAMPLES[name]()
    write_json(report, tmp_path / "report.json")
    assert read_json(tmp_path / "report.json") == report
    assert read_json(tmp_path) == report  # the folder does as well


def test_a_report_is_indented_for_people_unless_it_is_long() -> None:
    assert encode_report(SAMPLES["digits"]()).count(b"\n") > 100
    assert encode_report(SAMPLES["wide"]()).count(b"\n") == 1


def test_the_golden_report_of_schema_1_reads_for_ever_and_its_unknown_fields_pass() -> None:
    report = read_json(GOLDEN)
    assert report.schema == 1
    assert (report.name, report.target, report.started, report.seconds) == (
        "digits-cnn", "x86-64", "2026-11-22T03:58:41Z", 21.5
    )  # fmt: skip
    assert report.recipe["budget"]["metric_drop"] == 0.05
    assert report.baseline.params == 77_850
    assert report.baseline.metric is not None
    assert report.baseline.metric.name == "accuracy"
    assert report.baseline.splits["night"].metric.n == 190
    (step,) = report.steps
    assert (step.step, step.settings, step.notes, step.cached) == (
        "prune", {"method": "magnitude", "channel_ratio": 0.5}, ["cut"], True
    )  # fmt: skip
    (artifact,) = report.artifacts
    assert (artifact.format, artifact.scheme, artifact.path) == ("tflite", "static-int8", "model.tflite")
    assert artifact.size_bytes == 98_496
    assert artifact.drop is not None
    assert (artifact.drop.worse, artifact.drop.better, artifact.drop.n) == (2, 1, 367)
    assert artifact.latency_ms is not None
    assert artifact.latency_ms.p50 == 0.041
    assert artifact.latency_ms_extra[0].threads == 2
    assert artifact.parity is not None
    assert artifact.parity.passed
    assert artifact.dtypes == {"int8": 77_100, "int32": 2_100}
    assert artifact.confusion == [[36, 0], [1, 35]]
    assert artifact.per_class[0].ci95 is not None
    assert report.budget.met is None
    assert report.budget.undecided[0].n_needed == 5012
    assert report.host.features == ["avx2", "avx512f", "avx512_vnni"]
    assert report.lineage == {"recipe_sha256": "ab" * 32}


def test_every_field_of_the_contract_is_in_the_file() -> None:
    data = json.loads(encode_report(cifar_report()))
    assert {"schema", "recipe", "baseline", "steps", "artifacts", "budget", "host"} <= data.keys()
    assert {"met", "violations", "undecided"} <= data["budget"].keys()
    side = {"params", "macs", "size_bytes", "metric", "metrics_extra", "per_class", "latency_ms", "peak_rss_bytes"}
    artifact = {"format", "scheme", "path", "sha256", "dtypes", "parity", "size_ratio", "speedup", "warnings"}
    assert side <= data["baseline"].keys()
    assert side | artifact <= data["artifacts"][0].keys()
    assert data["artifacts"][0]["latency_ms"].keys() == {
        "p50", "p95", "p99", "threads", "batch", "runs", "runtime"
    }  # fmt: skip


@pytest.mark.parametrize(
    ("data", "said"),
    [
        pytest.param(b"", "not a report", id="empty"),
        pytest.param(b"\x89PNG\r\n", "not a report", id="another kind of file"),
        pytest.param(b"\xff\xfe\x00", "not a report", id="not utf-8"),
        pytest.param(b"[1, 2]", "not a report", id="another document"),
        pytest.param(b"[" * 200_000, "not a report", id="too deep"),
        pytest.param(b'{"name": "x"}', "`schema`", id="no schema"),
        pytest.param(b'{"schema": 1}', "`name`", id="fields are lacking"),
        pytest.param(b'{"schema": 2}', "schema 2; this edgeglm reads schema 1", id="newer schema"),
        pytest.param(b'{"schema": 0}', "schema 0", id="older schema"),
    ],
)
def test_what_is_no_report_of_this_schema_is_refused_with_its_path(data: bytes, said: str) -> None:
    with pytest.raises(UserError, match=said) as caught:
        decode_report(data, where="build/x/report.json")
    assert caught.value.code == "report-invalid"
    assert caught.value.exit_code == 2
    assert caught.value.problems[0].where == "build/x/report.json"
    assert caught.value.problems[0].hint


def test_a_report_that_was_cut_off_is_refused(tmp_path: Path) -> None:
    whole = encode_report(cifar_report())
    (tmp_path / "report.json").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(UserError) as caught:
        read_json(tmp_path)
    assert caught.value.code == "report-invalid"


def test_a_missing_report_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="No such file") as caught:
        read_json(tmp_path / "nowhere")
    assert caught.value.code == "report-missing"
    with pytest.raises(UserError) as caught:
        read_json(tmp_path)  # a folder without one
    assert caught.value.problems[0].where == str(tmp_path / "report.json")


def test_a_figure_that_is_not_finite_is_null_not_invalid_json() -> None:
    report = msgspec.structs.replace(cifar_report(), artifacts=[])
    artifact = msgspec.structs.replace(cifar_report().artifacts[0], speedup=float("inf"))
    back = decode_report(encode_report(msgspec.structs.replace(report, artifacts=[artifact])), where="report.json")
    assert back.artifacts[0].speedup is None
