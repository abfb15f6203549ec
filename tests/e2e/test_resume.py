"""kill -9 at any moment, then the same command again: the same weights, metrics and sizes."""

from __future__ import annotations

import json
import os
import random
import time
from pathlib import Path

import pytest
from edgeglm_agent.wire import decode_manifest

from edgeglm.files import sha256_file
from tests.support.projects import RECIPE, Project

# each project has a cache of its own, and with `auto` each would measure for itself which precision is faster
FIXED = RECIPE.replace("learning_rate: 5e-3", "learning_rate: 5e-3, precision: float32")


def make_project(folder: Path) -> Project:
    """Return a project whose result depends on nothing that is measured."""
    project = Project(folder)
    (folder / "recipe.yaml").write_text(FIXED)
    return project


def outcome(project: Project, name: str = "out") -> dict[str, object]:
    """Return what must not depend on how often a run was killed."""
    out = project.folder / name
    report = json.loads((out / "report.json").read_text())
    manifest = decode_manifest((out / "manifest.json").read_bytes())
    return {
        "weights": {str(path.relative_to(out)): sha256_file(path) for path in sorted((out / "steps").rglob("*.*"))},
        "artifacts": {artifact.path: (artifact.sha256, artifact.size_bytes) for artifact in manifest.artifacts},
        "golden": {artifact.golden: manifest.files[artifact.golden] for artifact in manifest.artifacts},
        "metrics": [side["metric"] for side in [report["baseline"], *report["steps"], *report["artifacts"]]],
        "drops": [artifact["drop"] for artifact in report["artifacts"]],
        "version": manifest.version,
    }


def run_without_coverage(project: Project) -> dict[str, str]:
    """Return an environment whose runs write no coverage data: one that is killed would leave half a file."""
    return {name: "" for name in os.environ if name.startswith("COVERAGE")}


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory: pytest.TempPathFactory) -> dict[str, object]:
    project = make_project(tmp_path_factory.mktemp("whole"))
    done = project.run("compress", "recipe.yaml", "-o", "out")
    assert done.returncode == 0, done.stderr
    return outcome(project)


@pytest.mark.parametrize(
    "stage",
    [
        "artifacts[0]",
        *(
            pytest.param(stage, marks=pytest.mark.full)
            for stage in ("preflight", "steps[0].finetune", "steps[2].distill", "measure", "write")
        ),
    ],
)
def test_a_run_killed_in_this_stage_ends_as_if_it_had_not_been(
    tmp_path: Path, uninterrupted: dict[str, object], stage: str
) -> None:
    project = make_project(tmp_path / "digits")
    process = project.start("compress", "recipe.yaml", "-o", "out", **run_without_coverage(project))
    assert process.stderr is not None
    for line in process.stderr:
        if f"] {stage}" in line:
            break
    time.sleep(0.05)  # into the stage; any moment will do
    process.kill()
    process.communicate()
    assert process.returncode == -9, "the run ended before it was killed"
    assert not (project.folder / "out" / "manifest.json").exists()
    done = project.run("compress", "recipe.yaml", "-o", "out")
    assert done.returncode == 0, done.stderr
    assert outcome(project) == uninterrupted


@pytest.mark.full
def test_a_storm_of_kills_changes_nothing(tmp_path: Path, uninterrupted: dict[str, object]) -> None:
    project = make_project(tmp_path / "digits")
    moments = random.Random(0)
    started = time.monotonic()
    whole = make_project(tmp_path / "whole").run("compress", "recipe.yaml", "-o", "out")
    assert whole.returncode == 0, whole.stderr
    whole_s = time.monotonic() - started  # what is killed at half of it at the latest, the first time, has not ended
    kills = 0
    for attempt in range(40):
        process = project.start("compress", "recipe.yaml", "-o", "out", **run_without_coverage(project))
        time.sleep(whole_s * moments.uniform(0.1, 0.5 if attempt < 4 else 0.9))
        if process.poll() is not None:
            process.communicate()
            break
        process.kill()
        process.communicate()
        kills += 1
    done = project.run("compress", "recipe.yaml", "-o", "out")
    assert done.returncode == 0, done.stderr
    assert kills > 0
    assert outcome(project) == uninterrupted


def test_no_child_outlives_a_killed_run(tmp_path: Path) -> None:
    project = make_project(tmp_path / "digits")
    marker = f"EDGEGLM_CACHE={project.folder / 'cache'}".encode()
    process = project.start("compress", "recipe.yaml", "-o", "out", **run_without_coverage(project))
    assert process.stderr is not None
    for line in process.stderr:
        if "measure" in line:
            break

    def alive() -> list[str]:
        found = []
        for environ in Path("/proc").glob("[0-9]*/environ"):
            try:
                state = (environ.parent / "stat").read_text().rsplit(")", 1)[1].split()[0]
                if marker in environ.read_bytes().split(b"\0") and state != "Z":
                    found.append(environ.parent.name)
            except OSError:
                continue
        return found

    while process.poll() is None and len(alive()) < 2:
        time.sleep(0.05)  # between two measurements there is no child
    assert process.poll() is None, "children were running before the kill"
    process.kill()
    process.communicate()
    for _ in range(100):
        if not alive():
            break
        time.sleep(0.1)
    assert alive() == []


@pytest.mark.full
def test_another_seed_is_another_result(tmp_path: Path, uninterrupted: dict[str, object]) -> None:
    project = make_project(tmp_path / "digits")
    done = project.run("compress", "recipe.yaml", "-o", "out", "--set", "seed=1")
    assert done.returncode == 0, done.stderr
    assert outcome(project)["weights"] != uninterrupted["weights"]


def test_a_change_of_the_users_code_is_seen_by_the_cache(tmp_path: Path) -> None:
    project = make_project(tmp_path / "digits")
    lean = FIXED[: FIXED.index("  - prune")] + FIXED[FIXED.index("artifacts:") :]
    (project.folder / "recipe.yaml").write_text(lean)
    assert project.run("compress", "recipe.yaml", "-o", "out").returncode == 0
    project.edit("model.py", "nn.ReLU(),\n        nn.AdaptiveAvgPool2d", "nn.SiLU(),\n        nn.AdaptiveAvgPool2d")
    done = project.run("compress", "recipe.yaml", "-o", "out", "--json")
    assert done.returncode == 0, done.stderr
    assert not json.loads(done.stdout)["steps"][0]["cached"]
