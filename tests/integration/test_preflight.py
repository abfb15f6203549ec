"""What cannot be made is said before anything long is done, without steps too."""

from __future__ import annotations

from pathlib import Path

import pytest

import edgeglm
from edgeglm.cache import Cache
from edgeglm.checks.preflight import preflight
from edgeglm.choice.candidates import propose_for
from edgeglm.errors import ExportError
from edgeglm.log import SilentLog
from edgeglm.pipeline.build import Builder
from edgeglm.pipeline.project import open_project
from edgeglm.recipe import load_recipe
from tests.support.projects import DATA, HEAD, MODEL, Project

RECIPE = (
    HEAD
    + """\
artifacts:
  - {format: onnx, quantize: static-int8}
  - {format: onnx, quantize: dynamic-int8}
  - {format: onnx, quantize: {scheme: static-int8, ignore: ["re:.*"]}}
"""
)


class Heard(SilentLog):
    def __init__(self) -> None:
        self.stages: list[str] = []

    def stage(self, text: str) -> None:
        self.stages.append(text)


def test_without_steps_the_last_artifact_fails_before_the_first_is_made(tmp_path: Path) -> None:
    recipe = RECIPE.replace("quantize: {scheme: static-int8, ignore", "quantize: {scheme: weight-only-int8, ignore")
    project = Project(tmp_path / "digits", {"recipe.yaml": recipe, "model.py": MODEL, "data.py": DATA})
    heard = Heard()
    with pytest.raises(ExportError) as caught:
        edgeglm.compress(
            project.folder / "recipe.yaml", output=tmp_path / "out", log=heard, cache=Cache(tmp_path / "cache")
        )
    assert "artifacts[2]" in caught.value.problems[0].where
    assert [stage for stage in heard.stages if "baseline" in stage or stage.startswith("artifacts")] == []


def test_what_preflight_makes_without_steps_is_not_made_again(tmp_path: Path) -> None:
    recipe = RECIPE[: RECIPE.index("  - {format: onnx, quantize: {scheme")]
    folder = Project(tmp_path / "digits", {"recipe.yaml": recipe, "model.py": MODEL, "data.py": DATA}).folder
    project, cache, heard = (
        open_project(load_recipe(folder / "recipe.yaml"), log=SilentLog()),
        Cache(tmp_path / "c"),
        Heard(),
    )
    builder = Builder(project, cache)
    proposal = propose_for(project, builder, heard)
    preflight(project, proposal, tmp_path / "out", cache, heard)
    assert heard.stages == [
        f"preflight: trying artifacts[{n}] onnx {s}-int8" for n, s in enumerate(("static", "dynamic"))
    ]
    made = {path: path.stat().st_mtime_ns for path in (tmp_path / "c").rglob("*.onnx")}
    assert len(made) == 2  # the float file and the dynamic one; the static one is calibrated on few samples only
    builder.artifact(project.original, project.key, proposal.candidates[1].config, where="artifacts[1]")
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "c").rglob("*.onnx")} == made
    heard.stages.clear()
    preflight(project, proposal, tmp_path / "out", cache, heard)
    assert heard.stages == []
