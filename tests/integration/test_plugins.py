"""What a package that someone else wrote adds: a step, a task, sources of models and data, a scheme, an engine."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.projects import Project

PACKAGE = """\
[build-system]
requires = ["setuptools"]
build-backend = "setuptools.build_meta"

[project]
name = "edgeglm-extras"
version = "1.0"

[project.entry-points."edgeglm.steps"]
halve = "edgeglm_extras:Halve"

[project.entry-points."edgeglm.tasks"]
closeness = "edgeglm_extras:Closeness"

[project.entry-points."edgeglm.sources"]
zoo = "edgeglm_extras:Zoo"

[project.entry-points."edgeglm.data"]
noise = "edgeglm_extras:Noise"

[project.entry-points."edgeglm.schemes"]
bfloat16 = "edgeglm_extras:Bfloat16"

[project.entry-points."edgeglm_agent.engines"]
matrix = "edgeglm_extras:MatrixEngine"

[tool.setuptools]
py-modules = ["edgeglm_extras"]
"""

RECIPE = """\
version: 1
name: extras
model: {source: zoo, name: small}
data: {source: noise}
task: {kind: closeness}
steps:
  - halve: {factor: 0.25}
artifacts:
  - {format: onnx, quantize: dynamic-int8}
"""


@pytest.fixture(scope="module")
def python_path(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The PYTHONPATH that finds the package where it was installed, and edgeglm where this test found it."""
    source, site = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("site")
    (source / "pyproject.toml").write_text(PACKAGE)
    shutil.copy(Path(__file__).parents[1] / "support" / "extras.py", source / "edgeglm_extras.py")
    install = [sys.executable, "-m", "pip", "install", "-q", "--no-deps", "--no-build-isolation", "--target", str(site)]
    subprocess.run([*install, str(source)], check=True, capture_output=True)
    return ":".join([str(site), *(entry for entry in sys.path if entry)])


def test_an_installed_package_adds_a_step_a_task_and_sources_that_recipes_may_name(
    python_path: str, tmp_path: Path
) -> None:
    project = Project(tmp_path / "extras", {"recipe.yaml": RECIPE})
    unknown = project.run("compress", "recipe.yaml")
    assert unknown.returncode == 2
    for word in ("zoo", "noise", "closeness", "halve"):
        assert f"`{word}`" in unknown.stderr
    checked = project.run("check", "recipe.yaml", PYTHONPATH=python_path)
    assert checked.returncode == 0, checked.stderr
    done = project.run("compress", "recipe.yaml", "-o", "out", PYTHONPATH=python_path)
    assert done.returncode == 0, done.stderr
    report = json.loads((project.folder / "out" / "report.json").read_text())
    assert report["steps"][0]["notes"] == ["multiplied by 0.25"]
    assert report["recipe"]["model"] == {"source": "zoo", "name": "small"}
    assert report["recipe"]["task"] == {"kind": "closeness", "output": None, "norm": "mean"}
    assert [side["metric"]["name"] for side in (report["baseline"], *report["artifacts"])] == ["mean_error"] * 2
    assert report["lineage"]["versions"]["edgeglm-extras"] == "1.0"
    assert json.loads((project.folder / "out" / "manifest.json").read_text())["reference"]["predicted"] == {}
    again = project.run("compress", "out/recipe.resolved.yaml", "-o", "again", PYTHONPATH=python_path)
    assert again.returncode == 0, again.stderr
    assert "from the cache" in again.stderr


def test_a_file_of_a_packages_scheme_is_loaded_counted_and_judged_like_any_other(
    python_path: str, tmp_path: Path
) -> None:
    project = Project(tmp_path / "extras", {"recipe.yaml": RECIPE})
    project.edit("recipe.yaml", "quantize: dynamic-int8", "quantize: bfloat16")
    project.edit("recipe.yaml", "artifacts:", "budget: {size_mb: 1}\nartifacts:\n  - {format: onnx}")
    unknown = project.run("compress", "recipe.yaml")
    assert unknown.returncode == 2
    assert "`bfloat16`" in unknown.stderr
    done = project.run("compress", "recipe.yaml", "-o", "out", PYTHONPATH=python_path)
    assert done.returncode == 0, done.stderr
    report = json.loads((project.folder / "out" / "report.json").read_text())
    plain, ours = sorted(report["artifacts"], key=lambda side: side["scheme"] == "bfloat16")
    assert ours["path"] == "model.bfloat16.onnx"
    assert ours["dtypes"]["bfloat16"] * 2 <= plain["dtypes"]["float32"] < ours["dtypes"]["bfloat16"] * 2 + 64
    assert ours["parity"]["passed"]
    assert 0 < ours["parity"]["max_abs"] < 0.01 * ours["parity"]["max_ref"]
    assert ours["warnings"][0] == "200 samples, 2 tensors"
    assert report["budget"]["met"] is True
    manifest = json.loads((project.folder / "out" / "manifest.json").read_text())
    assert "bfloat16" in [artifact["scheme"] for artifact in manifest["artifacts"]]
    assert "quantize: {scheme: bfloat16, least_values: 16" in (project.folder / "out/recipe.resolved.yaml").read_text()
    again = project.run("compress", "out/recipe.resolved.yaml", "-o", "again", PYTHONPATH=python_path)
    assert again.returncode == 0, again.stderr
    assert project.run("inspect", "out", PYTHONPATH=python_path).returncode == 0


@pytest.mark.parametrize(
    ("fault", "said"),
    [
        ("raises", "the scheme `bfloat16` failed: KeyError: 'scale'"),
        ("writes-nothing", "the scheme `bfloat16` failed: FileNotFoundError: it wrote no file"),
        ("changes-nothing", "bfloat16 changed nothing: the file is the float file"),
    ],
)
def test_a_scheme_that_fails_is_blamed_by_name(python_path: str, tmp_path: Path, fault: str, said: str) -> None:
    project = Project(tmp_path / "extras", {"recipe.yaml": RECIPE})
    chosen = f"artifacts[0].quantize={{scheme: bfloat16, fault: {fault}}}"
    failed = project.run("compress", "recipe.yaml", "--set", chosen, PYTHONPATH=python_path)
    assert failed.returncode == 2
    assert said in failed.stderr
    assert "artifacts[0]" in failed.stderr
    assert "Traceback" not in failed.stderr


@pytest.mark.parametrize(
    ("override", "said"),
    [
        ("steps[0].halve.factr=1", "factor"),
        ("task.norm=least", "mean"),
        ("task.nrm=mean", "norm"),
        ("model.name=huge", "small"),
        ("data.samples=many", "expected an integer"),
        ("data.source=nois", "noise"),
        ("artifacts[0].quantize=bfloat", "did you mean `bfloat16`?"),
        ("artifacts[0].quantize={scheme: bfloat}", "did you mean `bfloat16`?"),
        ("artifacts[0].quantize={scheme: bfloat16, least_value: 3}", "did you mean `least_values`?"),
        ("artifacts[0].quantize={scheme: bfloat16, ignore: [a]}", "unknown key `ignore`"),
        ("artifacts[0]={format: tflite, quantize: bfloat16}", "`bfloat16` writes onnx files, not tflite"),
    ],
)
def test_settings_of_a_plug_in_are_checked_like_ours(
    python_path: str, tmp_path: Path, override: str, said: str
) -> None:
    project = Project(tmp_path / "extras", {"recipe.yaml": RECIPE})
    typo = project.run("check", "recipe.yaml", "--set", override, PYTHONPATH=python_path)
    assert typo.returncode == 2
    assert said in typo.stderr
    assert "Traceback" not in typo.stderr


def test_a_file_of_a_plug_ins_format_is_measured_by_its_engine(python_path: str, tmp_path: Path) -> None:
    program = """
import sys
from pathlib import Path
import numpy as np
from edgeglm.errors import EdgeglmError
from edgeglm.measure.worker import Runner
np.save("m.npy", np.eye(3, 2, dtype=np.float32))
with Runner(Path("m.npy"), format="matrix") as runner:
    print(runner.runtime, runner.run({"x": np.ones((2, 3), np.float32)})["y"].tolist())
Path("bad.npy").write_bytes(b"")
for path, format in (("bad.npy", "matrix"), ("m.npy", "tensor")):
    try:
        Runner(Path(path), format=format).__enter__()
    except EdgeglmError as error:
        print(error.code)
"""
    done = subprocess.run(
        [sys.executable, "-c", program],
        cwd=tmp_path,
        env=Project(tmp_path, {}).environment(PYTHONPATH=python_path),
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.splitlines() == ["matrix 1.0 [[1.0, 1.0], [1.0, 1.0]]", "file-unloadable", "missing-extra"]


def test_doctor_lists_what_packages_add(python_path: str, tmp_path: Path) -> None:
    lines = Project(tmp_path, {}).run("doctor", PYTHONPATH=python_path).stdout.splitlines()
    for name in ("halve", "closeness", "zoo", "noise", "bfloat16", "matrix"):
        assert [line for line in lines if line.startswith("ok ") and line.endswith(f", {name}")], name
