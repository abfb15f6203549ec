"""The package of docs/extending.md, installed by pip as a user would, and every word that it adds to recipes."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import ClassVar, Literal

import onnx
import pytest

from edgeglm.artifacts.plugin_scheme import quantize
from edgeglm.boards import BOARDS
from edgeglm.errors import ExportError
from edgeglm.schemes import SchemeConfig
from tests.support.projects import Project

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "examples" / "edgeglm-example-plugin"
RECIPE = (PACKAGE / "recipe.yaml").read_text("utf-8")
WORDS = ("json-mlp", "gauges", "tolerance", "refit-head", "bfloat16")


@pytest.fixture(scope="module")
def python_path(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The PYTHONPATH that finds the package where pip installed it, and edgeglm where this test found it."""
    source, site = tmp_path_factory.mktemp("source") / "package", tmp_path_factory.mktemp("site")
    shutil.copytree(PACKAGE, source, ignore=shutil.ignore_patterns("build", "*.egg-info", "__pycache__"))
    offline = ["--no-index", "--no-deps", "--no-build-isolation", "--target", str(site)]
    subprocess.run(
        [sys.executable, "-m", "pip", "install", "-q", *offline, str(source)], check=True, capture_output=True
    )
    return ":".join([str(site), *(entry for entry in sys.path if entry)])


def make_project(folder: Path) -> Project:
    return Project(folder, {"recipe.yaml": RECIPE, "gauges.json": (PACKAGE / "gauges.json").read_text("utf-8")})


def test_the_documentation_shows_every_file_of_the_package_as_it_is() -> None:
    text = (ROOT / "docs" / "extending.md").read_text("utf-8")
    shown = dict(re.findall(r"^`([\w./-]+)`:\n\n```\w+\n(.*?)^```$", text, flags=re.MULTILINE | re.DOTALL))
    files = {
        str(path.relative_to(PACKAGE)): path.read_text("utf-8")
        for path in sorted(PACKAGE.rglob("*"))
        if path.suffix in (".py", ".toml", ".yaml") and "build" not in path.relative_to(PACKAGE).parts
    }
    assert shown == {name: content for name, content in files.items() if not name.endswith("__init__.py")}


def test_a_recipe_in_the_words_of_an_installed_package_runs_to_its_end(python_path: str, tmp_path: Path) -> None:
    project = make_project(tmp_path / "gauges")
    unknown = project.run("compress", "recipe.yaml")
    assert unknown.returncode == 2
    for word in WORDS:
        assert f"`{word}`" in unknown.stderr
    checked = project.run("check", "recipe.yaml", PYTHONPATH=python_path)
    assert checked.returncode == 0, checked.stderr
    assert "nothing is trained" not in checked.stdout  # the package's step comes after `prune`, and says that it trains
    done = project.run("compress", "recipe.yaml", "-o", "out", PYTHONPATH=python_path)
    assert done.returncode == 0, done.stderr

    report = json.loads((project.folder / "out" / "report.json").read_text())
    assert report["recipe"]["model"] == {"source": "json-mlp", "path": "gauges.json"}
    assert report["recipe"]["task"] | {"kind": "tolerance", "within": 0.15} == report["recipe"]["task"]
    assert report["steps"][1]["notes"][0].startswith("squared error on 600 training samples: ")
    assert report["baseline"]["metric"]["name"] == "tolerance_accuracy"
    assert report["baseline"]["metric"]["value"] > 0.9
    assert report["budget"]["met"] is True
    assert report["lineage"]["versions"]["edgeglm-example-plugin"] == "1.0"
    ours = next(side for side in report["artifacts"] if side["scheme"] == "bfloat16")
    assert ours["path"] == "model.bfloat16.onnx"
    assert ours["dtypes"]["bfloat16"] * 2 > 0.9 * 4 * ours["params"]
    assert ours["parity"]["passed"]
    assert 0 < ours["parity"]["max_abs"] < 0.02 * ours["parity"]["max_ref"]
    assert any("small weights stay float32" in text for text in ours["warnings"])

    manifest = json.loads((project.folder / "out" / "manifest.json").read_text())
    assert sorted(artifact["scheme"] for artifact in manifest["artifacts"]) == ["bfloat16", "static-int8"]
    assert project.run("inspect", "out", PYTHONPATH=python_path).returncode == 0
    shutil.copy(project.folder / "out" / "recipe.resolved.yaml", project.folder / "resolved.yaml")
    again = project.run("compress", "resolved.yaml", "-o", "again", PYTHONPATH=python_path)
    assert again.returncode == 0, again.stderr
    assert "from the cache" in again.stderr


@pytest.mark.parametrize(
    ("override", "said"),
    [
        ("steps[1].refit-head.ridg=1", "did you mean `ridge`?"),
        ("steps[1].refit-head={ridge: 0, samples: 9}", "too few samples to fit without it"),
        ("task.within=0", "0 is out of range: above 0"),
        ("task.wihin=1", "did you mean `within`?"),
        ("model.path=none.json", "not a network in JSON"),
        ("data.samples=many", "expected an integer"),
        ("data.source=gauge", "did you mean `gauges`?"),
        ("artifacts[0].quantize=bfloat", "did you mean `bfloat16`?"),
        ("artifacts[0].quantize={scheme: bfloat}", "did you mean `bfloat16`?"),
        ("artifacts[0].quantize={scheme: bfloat16, least_value: 3}", "did you mean `least_values`?"),
        ("artifacts[0].quantize={scheme: bfloat16, ignore: [a]}", "unknown key `ignore`"),
        ("artifacts[0].quantize={scheme: bfloat16, least_values: 99999}", "no weight is as large as `least_values`"),
        ("artifacts[0]={format: tflite, quantize: bfloat16}", "`bfloat16` writes onnx files, not tflite"),
    ],
)
def test_settings_of_a_plug_in_are_checked_like_ours(
    python_path: str, tmp_path: Path, override: str, said: str
) -> None:
    runs = "none.json" in override or "99999" in override  # what only a run can see
    project = make_project(tmp_path / "gauges")
    typo = project.run("compress" if runs else "check", "recipe.yaml", "--set", override, PYTHONPATH=python_path)
    assert typo.returncode == 2
    assert said in typo.stderr
    assert "Traceback" not in typo.stderr


class Faulty(SchemeConfig, tag="faulty", frozen=True, kw_only=True):
    """A scheme that goes wrong."""

    formats: ClassVar = ("onnx",)
    fault: Literal["raises", "writes nothing", "writes rubbish"]

    def quantize(self, source: Path, path: Path, calibration: object, board: object) -> list[str]:  # noqa: ARG002
        if self.fault == "raises":
            raise KeyError("scale")
        if self.fault == "writes rubbish":
            path.write_bytes(b"rubbish")
        return []


@pytest.mark.parametrize(
    ("fault", "code", "said"),
    [
        ("raises", "scheme-failed", "the scheme `faulty` failed: KeyError: 'scale'"),
        ("writes nothing", "scheme-failed", "the scheme `faulty` failed: FileNotFoundError: it wrote no file"),
        ("writes rubbish", "artifact-refused", "faulty"),
    ],
)
def test_a_scheme_that_fails_is_blamed_and_leaves_no_file(tmp_path: Path, fault: str, code: str, said: str) -> None:
    node = onnx.helper.make_node("Relu", ["x"], ["y"])
    ends = [onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, ["N", 3]) for name in "xy"]
    source, path = tmp_path / "model.onnx", tmp_path / "quantized.onnx"
    onnx.save(onnx.helper.make_model(onnx.helper.make_graph([node], "g", ends[:1], ends[1:])), str(source))
    with pytest.raises(ExportError) as caught:
        quantize(source, path, "onnx", Faulty(fault=fault), iter(()), board=BOARDS["rpi5"])  # type: ignore[arg-type]
    assert caught.value.code == code
    assert said in str(caught.value)
    assert not path.exists()


def test_a_file_of_a_plug_ins_format_is_measured_by_its_engine(python_path: str, tmp_path: Path) -> None:
    program = """
import sys
from pathlib import Path
import numpy as np
from edgeglm.errors import EdgeglmError
from edgeglm.measure.worker import Runner
with Runner(Path(sys.argv[1]), format="json-mlp") as runner:
    print(runner.runtime.split()[0], runner.run({"input": np.zeros((2, 4), np.float32)})["output"].shape)
Path("bad.json").write_bytes(b"")
for path, format in (("bad.json", "json-mlp"), (sys.argv[1], "json-cnn")):
    try:
        Runner(Path(path), format=format).__enter__()
    except EdgeglmError as error:
        print(error.code)
"""
    done = subprocess.run(
        [sys.executable, "-c", program, str(PACKAGE / "gauges.json")],
        cwd=tmp_path,
        env=Project(tmp_path, {}).environment(PYTHONPATH=python_path),
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.splitlines() == ["numpy (2, 2)", "file-unloadable", "missing-extra"]


def test_a_slot_reads_from_an_input_of_an_installed_package(python_path: str, tmp_path: Path) -> None:
    program = """
import socket, sys
from pathlib import Path
import msgspec
from edgeglm_agent.inputs import input_type
from edgeglm_agent.inputs._base import InputContext

kind = input_type("udp-gauges")
assert "numpy" not in sys.modules
with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as gauge:
    gauge.bind(("127.0.0.1", 0))
    port = gauge.getsockname()[1]
here = Path.cwd()
context = InputContext(
    slot="main", state_dir=here, runtime_dir=here, takes_texts=False, batch_changes_answers=False,
    input_names=("input",), messages=lambda wait: None, metrics=str, healthy=bool,
)
source = msgspec.convert({"kind": "udp-gauges", "port": port}, kind).open(context)
with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as gauge:
    gauge.sendto(b"0.5 1 2 4", ("127.0.0.1", port))
    gauge.sendto(b"hello", ("127.0.0.1", port))
print(source.read(30.0)[0].sample.tolist())
print(bool(source.read(30.0)[0].fault))
source.close()
try:
    msgspec.convert({"kind": "udp-gauges", "port": 0}, kind)
except msgspec.ValidationError as error:
    print(error)
"""
    done = subprocess.run(
        [sys.executable, "-c", program],
        cwd=tmp_path,
        env=Project(tmp_path, {}).environment(PYTHONPATH=python_path),
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.splitlines() == ["[0.5, 1.0, 2.0, 4.0]", "True", "Expected `int` >= 1 - at `$.port`"]


def test_doctor_lists_what_packages_add(python_path: str, tmp_path: Path) -> None:
    lines = Project(tmp_path, {}).run("doctor", PYTHONPATH=python_path).stdout.splitlines()
    for name in WORDS:
        assert [line for line in lines if line.startswith("ok ") and line.endswith(f", {name}")], name
