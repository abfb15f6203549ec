"""A whole run through the command line, with what must hold of its result."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from edgeglm_agent.wire import Manifest, decode_manifest
from safetensors.numpy import load_file

from edgeglm.files import sha256_file
from tests.support.projects import Project


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Project:
    """A project whose recipe has run once, into both formats."""
    project = Project(tmp_path_factory.mktemp("digits"))
    project.edit(
        "recipe.yaml",
        "  - {format: onnx, quantize: static-int8}",
        "  - {format: onnx, quantize: static-int8}\n  - {format: onnx}\n  - {format: tflite, quantize: static-int8}",
    )
    done = project.run("compress", "recipe.yaml", "-o", "out")
    assert done.returncode == 0, done.stderr
    (project.folder / "stdout.txt").write_text(done.stdout)
    (project.folder / "stderr.txt").write_text(done.stderr)
    return project


@pytest.fixture(scope="module")
def manifest(project: Project) -> Manifest:
    return decode_manifest((project.folder / "out" / "manifest.json").read_bytes())


@pytest.fixture(scope="module")
def report(project: Project) -> dict:
    return json.loads((project.folder / "out" / "report.json").read_text())


def test_the_folder_holds_what_the_contract_names(project: Project) -> None:
    out = project.folder / "out"
    names = {str(path.relative_to(out)) for path in out.rglob("*") if path.is_file()}
    artifacts = {"model.static-int8.onnx", "model.none.onnx", "model.tflite"}
    steps = {
        f"steps/{s}/{f}"
        for s in ("00-finetune", "01-prune", "02-distill")
        for f in ("weights.safetensors", "edits.json")
    }
    assert names == {
        ".edgeglm",
        "manifest.json",
        "report.json",
        "report.html",
        "recipe.resolved.yaml",
        *artifacts,
        *(f"golden/{name}.safetensors" for name in artifacts),
        *steps,
    }


def test_the_manifest_lists_every_file_by_its_digest(project: Project, manifest: Manifest) -> None:
    out = project.folder / "out"
    listed = manifest.files | {artifact.path: artifact.sha256 for artifact in manifest.artifacts}
    there = {str(path.relative_to(out)) for path in out.rglob("*") if path.is_file()} - {".edgeglm", "manifest.json"}
    assert set(listed) == there
    for name, digest in listed.items():
        assert sha256_file(out / name) == digest


def test_golden_samples_are_small_and_the_artifact_still_gives_them(project: Project, manifest: Manifest) -> None:
    for artifact in manifest.artifacts:
        golden = project.folder / "out" / artifact.golden
        assert golden.stat().st_size <= 1_000_000
        tensors = load_file(golden)
        (shape,) = {value.shape for name, value in tensors.items() if name.startswith("input.")}
        assert shape == (8, *artifact.inputs[0].shape)
    done = project.run("inspect", "out")
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("golden      passed") == 3


def test_the_report_shows_a_smaller_network_and_truly_integer_weights(report: dict) -> None:
    first, pruned, distilled = report["steps"]
    assert pruned["params"] < 0.5 * first["params"]
    assert pruned["macs"] < 0.5 * report["baseline"]["macs"]
    assert distilled["params"] == pruned["params"]
    for artifact in report["artifacts"]:
        if artifact["scheme"] == "static-int8":
            assert artifact["dtypes"]["int8"] > 0.75 * pruned["params"]
        assert artifact["parity"]["passed"]
        assert artifact["latency_ms"]["threads"] == 1
        assert artifact["latency_ms"]["p50"] <= artifact["latency_ms"]["p95"] <= artifact["latency_ms"]["p99"]
        assert artifact["speedup"] == pytest.approx(
            report["baseline"]["latency_ms"]["p50"] / artifact["latency_ms"]["p50"]
        )
        low, high = artifact["speedup_ci95"]
        assert 0 < low <= artifact["speedup"] <= high
        assert artifact["size_ratio"] == pytest.approx(report["baseline"]["size_bytes"] / artifact["size_bytes"])
    assert report["baseline"]["metric"]["n"] == 697


def test_the_metric_rose_with_training_and_every_class_is_reported(report: dict) -> None:
    last = report["steps"][-1]
    assert last["metric"]["value"] > report["baseline"]["metric"]["value"] + 0.3
    for artifact in report["artifacts"]:
        assert len(artifact["per_class"]) == 10
        assert np.array(artifact["confusion"]).sum() == 697
        assert artifact["drop"]["value"] == pytest.approx(
            report["baseline"]["metric"]["value"] - artifact["metric"]["value"]
        )


def test_the_fastest_artifact_comes_first_for_a_target_of_this_kind(report: dict, manifest: Manifest) -> None:
    bounds = [artifact["speedup_ci95"][artifact["scheme"] == "none"] for artifact in report["artifacts"]]
    assert bounds == sorted(bounds, reverse=True)  # INT8 by its lower bound: first only where it is faster for sure
    assert [artifact.path for artifact in manifest.artifacts] == [artifact["path"] for artifact in report["artifacts"]]


def test_progress_goes_to_stderr_and_the_summary_to_stdout(project: Project) -> None:
    stdout, stderr = ((project.folder / name).read_text() for name in ("stdout.txt", "stderr.txt"))
    assert "steps[2].distill" in stderr
    assert "loss" in stderr
    assert "out" in stdout
    assert "report.html" in stdout
    assert "\x1b[" not in stdout + stderr
    assert "\r" not in stdout + stderr
    assert "Traceback" not in stderr


def test_the_same_recipe_again_comes_from_the_cache_with_the_same_files(project: Project, manifest: Manifest) -> None:
    done = project.run("compress", "recipe.yaml", "-o", "again", "--json")
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    assert done.stdout == (project.folder / "again" / "report.json").read_text()
    assert all(step["cached"] for step in report["steps"])
    again = decode_manifest((project.folder / "again" / "manifest.json").read_bytes())
    assert {a.path: a.sha256 for a in again.artifacts} == {a.path: a.sha256 for a in manifest.artifacts}
    assert again.version == manifest.version


def test_what_a_board_would_do_differently_makes_another_version(project: Project, manifest: Manifest) -> None:
    labels = ",".join(f"digit-{index}" for index in range(10))
    done = project.run("compress", "recipe.yaml", "-o", "named", "--set", f"labels=[{labels}]")
    assert done.returncode == 0, done.stderr
    named = decode_manifest((project.folder / "named" / "manifest.json").read_bytes())
    assert {a.path: a.sha256 for a in named.artifacts} == {a.path: a.sha256 for a in manifest.artifacts}
    assert named.version != manifest.version


def test_report_prints_the_summary_again(project: Project) -> None:
    done = project.run("report", "out")
    assert done.returncode == 0, done.stderr
    assert done.stdout == (project.folder / "stdout.txt").read_text()


def test_a_result_compared_with_itself_is_not_worse_and_with_the_float_one_is_judged(project: Project) -> None:
    same = project.run("compare", "out", "out")
    assert same.returncode == 0, same.stderr
    worse = json.loads((project.folder / "out" / "report.json").read_text())
    for artifact in worse["artifacts"]:
        artifact["metric"]["value"] -= 0.05
    (project.folder / "worse.json").write_text(json.dumps(worse))
    done = project.run("compare", "out", "worse.json", "--threshold", "0.01")
    assert done.returncode == 3, done.stdout
    assert project.run("compare", "out", "worse.json", "--threshold", "0.1").returncode == 0


def test_eval_judges_a_file_by_the_recipes_data(project: Project, report: dict) -> None:
    done = project.run("eval", "recipe.yaml", "--artifact", "out/model.tflite", "--json")
    assert done.returncode == 0, done.stderr
    original, judged = json.loads(done.stdout)
    (artifact,) = [artifact for artifact in report["artifacts"] if artifact["path"] == "model.tflite"]
    assert judged["splits"]["eval"]["metric"]["value"] == artifact["metric"]["value"]
    assert original["splits"]["eval"]["metric"]["value"] == report["baseline"]["metric"]["value"]


def test_bench_times_files_beside_each_other(project: Project) -> None:
    done = project.run("bench", "out/model.none.onnx", "out/model.tflite", "--runs", "20", "--json")
    assert done.returncode == 0, done.stderr
    first, second = json.loads(done.stdout)
    assert first["speedup"] == 1.0
    assert second["latency_ms"]["runtime"].startswith("litert")
    table = project.run("bench", "out/model.none.onnx", "--runs", "20")
    assert "1.00x" in table.stdout


def test_inspect_tells_weight_types_and_refuses_a_changed_file(project: Project) -> None:
    done = project.run("inspect", "out/model.static-int8.onnx", "--json")
    (facts,) = json.loads(done.stdout)
    assert facts["inputs"][0]["shape"] == [1, 8, 8]
    assert facts["dtypes"]["int8"] > 0
    copy = project.folder / "changed"
    copy.mkdir()
    for path in (project.folder / "out").rglob("*"):
        if path.is_file():
            target = copy / path.relative_to(project.folder / "out")
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(path.read_bytes())
    (copy / "model.tflite").write_bytes(b"changed")
    refused = project.run("inspect", "changed")
    assert refused.returncode == 2
    assert "sha256 differs" in refused.stderr


def test_cache_lists_and_clears_what_the_runs_kept(project: Project, tmp_path: Path) -> None:
    listed = project.run("cache", "ls")
    assert listed.returncode == 0
    assert {line.split()[0] for line in listed.stdout.splitlines()} >= {"step", "artifact", "predictions", "preflight"}
    other = {"EDGEGLM_CACHE": str(tmp_path)}
    assert project.run("cache", "clear", **other).stdout.startswith("freed 0.00 MB")
