"""A step from a package that someone else wrote."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from tests.support.projects import Project

PACKAGE = """\
[build-system]
requires = ["setuptools"]
build-backend = "setuptools.build_meta"

[project]
name = "edgeglm-halve"
version = "1.0"

[project.entry-points."edgeglm.steps"]
halve = "edgeglm_halve:Halve"

[tool.setuptools]
py-modules = ["edgeglm_halve"]
"""

STEP = '''\
from copy import deepcopy

from edgeglm.steps import StepConfig


class Halve(StepConfig, tag="halve", frozen=True, kw_only=True):
    """Halve the last layer's weights."""

    factor: float = 0.5  # of every weight

    def apply(self, model, ctx):
        module = deepcopy(model.module)
        module[-1].weight.data.mul_(self.factor)
        ctx.notes.append(f"multiplied by {self.factor}")
        return model.with_module(module)
'''


def test_an_installed_package_adds_a_step_that_recipes_may_name(tmp_path: Path) -> None:
    source, site = tmp_path / "source", tmp_path / "site"
    source.mkdir()
    (source / "pyproject.toml").write_text(PACKAGE)
    (source / "edgeglm_halve.py").write_text(STEP)
    install = [sys.executable, "-m", "pip", "install", "-q", "--no-deps", "--no-build-isolation", "--target", str(site)]
    subprocess.run([*install, str(source)], check=True, capture_output=True)

    project = Project(tmp_path / "digits")
    project.edit("recipe.yaml", "  - finetune: {epochs: 2, learning_rate: 5e-3}\n", "  - halve: {factor: 0.25}\n")
    project.edit("recipe.yaml", "  - distill: {epochs: 2, learning_rate: 5e-3}\n", "")
    project.edit("recipe.yaml", "  - prune: {channel_ratio: 0.5}\n", "")
    unknown = project.run("compress", "recipe.yaml")
    assert unknown.returncode == 2
    assert "halve" in unknown.stderr
    done = project.run("compress", "recipe.yaml", "-o", "out", PYTHONPATH=str(site))
    assert done.returncode == 0, done.stderr
    assert "multiplied by 0.25" in (project.folder / "out" / "report.json").read_text()
    typo = project.run("check", "recipe.yaml", "--set", "steps[0].halve.factr=1", PYTHONPATH=str(site))
    assert typo.returncode == 2
    assert "factor" in typo.stderr
