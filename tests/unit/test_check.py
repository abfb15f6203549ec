from __future__ import annotations

import pickle
import subprocess
import sys
import zipfile
from collections import OrderedDict, deque
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from safetensors.numpy import save_file

from edgeglm.checks import check
from edgeglm.checks.check import check_recipe
from edgeglm.errors import EntryError, Problem, RecipeError
from edgeglm.sources.entry import Entries

RECIPE = """\
version: 1
name: tiny
model: {source: python, entry: "model.py:build", args: {width: 3}, weights: w.safetensors}
data: {source: python, entry: "data.py:load"}
task: {kind: classification}
labels: labels.txt
steps:
  - prune: {channel_ratio: 0.5}
  - finetune: {epochs: 1, augment: "data.py:flip"}
artifacts:
  - {format: onnx, quantize: static-int8}
  - {format: tflite}
"""
MODEL = """\
raise RuntimeError("imported")
import torch
def build(width, depth=2, *, bias=True): ...
async def later(): ...
size = 3
"""
ONNX = b"\x08\x0a\x3a\x02\x12\x00\x42\x02\x10\x11"  # IR version 10, a graph with an empty name, opset 17
DATA = """\
try:
    from fast import load
except ImportError:
    def load(split): ...
def flip(inputs, generator): ...
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "recipe.yaml").write_text(RECIPE)
    (tmp_path / "model.py").write_text(MODEL)
    (tmp_path / "data.py").write_text(DATA)
    (tmp_path / "labels.txt").write_text("cat\ndog\n")
    (tmp_path / "latin.txt").write_bytes(b"caf\xe9\n")
    save_file({"w": np.zeros(3, np.float32)}, tmp_path / "w.safetensors")
    return tmp_path


def problems(folder: Path, *overrides: str) -> list[Problem]:
    with pytest.raises(RecipeError) as caught:
        check_recipe(folder / "recipe.yaml", overrides)
    return list(caught.value.problems)


def problem(folder: Path, *overrides: str) -> Problem:
    (found,) = problems(folder, *overrides)
    return found


def test_a_right_recipe_is_checked_without_torch_or_the_users_modules(folder: Path) -> None:
    script = (
        "import sys; from edgeglm.checks.check import check_recipe; print(check_recipe(sys.argv[1]).text());"
        "print([name for name in ('torch', 'onnx', 'onnxruntime', 'model', 'data') if name in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, "recipe.yaml"], cwd=folder, capture_output=True, text=True, check=True
    )
    lines = done.stdout.splitlines()
    assert lines[0] == "recipe.yaml: the recipe is right, and the files it names are there"
    assert lines[-1] == "[]"
    assert "steps      prune, finetune" in lines
    assert [line.split() for line in lines if line.endswith("yes")] == [
        ["onnx", "static-int8", "yes"],
        ["tflite", "none", "yes"],
    ]


def test_faults_of_the_recipe_itself_come_first(folder: Path) -> None:
    assert [p.code for p in problems(folder, "sed=1", "labels=none.txt")] == ["recipe-unknown-key"]


def test_every_missing_file_is_named_at_its_line(folder: Path) -> None:
    for name in ("model.py", "data.py", "labels.txt", "w.safetensors"):
        (folder / name).unlink()
    recipe = folder / "recipe.yaml"
    assert [(p.where, p.code) for p in problems(folder)] == [
        (f"{recipe}:3 model.entry", "entry-file-missing"),
        (f"{recipe}:3 model.weights", "weights-missing"),
        (f"{recipe}:4 data.entry", "entry-file-missing"),
        (f"{recipe}:6 labels", "file-missing"),
        (f"{recipe}:9 steps[1].finetune.augment", "entry-file-missing"),
    ]


@pytest.mark.parametrize(
    ("override", "code", "message", "hint"),
    [
        ("model.entry=modle.py:build", "entry-file-missing", "no file", "did you mean `model.py`?"),
        ("model.entry=model.py:biuld", "entry-missing", "has no `biuld`", "did you mean `build`?"),
        ("model.entry=model.py:later", "entry-not-callable", "async", "def"),
        ("model.entry=nosuchmodule:build", "entry-file-missing", "module `nosuchmodule` cannot be found", "path.py"),
        ("model.entry=model:biuld", "entry-missing", "has no `biuld`", "did you mean `build`?"),
        ("model.args={}", "entry-arguments", "needs an argument `width`", "args"),
        ("model.args={width: 1, wdith: 2}", "entry-arguments", "takes no argument `wdith`", "did you mean `width`?"),
        ("model.args={width: 1, bias: 1, depth: 1, x: 2}", "entry-arguments", "no argument `x`", "it takes"),
        ("data.entry=data.py:flip", "entry-arguments", "takes no argument `split`", "it takes"),
        ("steps[1].finetune.augment=data.py:flop", "entry-missing", "has no `flop`", "did you mean `flip`?"),
        ("model.weights=x.safetensors", "weights-missing", "no file", "w.safetensors"),
        ("model.weights=.", "weights-missing", "is not a file", "name a file"),
        ("labels=lables.txt", "file-missing", "no file", "did you mean `labels.txt`?"),
        ("labels=latin.txt", "file-missing", "is not UTF-8", "UTF-8"),
        ("data={source: npz, path: d.npz}", "data-file-missing", "no file", "relative"),
        ("data={source: npz, path: model.py}", "data-file-corrupt", "is no npz archive", "numpy.savez"),
        ("data={source: images, path: photos}", "data-file-missing", "no folder", "relative"),
        ("data={source: images, path: .}", "data-classes", "holds no folders", "each class"),
        ("data={source: object}", "source-object", "given in Python", "name a source"),
        ("model={source: object}", "source-object", "given in Python", "name a source"),
    ],
)
def test_a_fault_of_a_file_says_how_to_mend_it(folder: Path, override: str, code: str, message: str, hint: str) -> None:
    found = problem(folder, override)
    assert found.code == code
    assert found.where.startswith("--set ")
    assert message in found.message
    assert hint in found.hint


@pytest.mark.parametrize(
    ("override", "names"),
    [
        ("slices=['data.py:flip']", "`inputs`, `targets`, `split`"),
        ("robustness=[{entry: 'data.py:load'}]", "`inputs`, `generator`"),
        ("task={kind: metric, entry: 'data.py:flip'}", "`outputs`, `targets`, `labels`"),
    ],
)
def test_a_function_that_edgeglm_calls_its_own_way_is_told_what_it_must_take(
    folder: Path, override: str, names: str
) -> None:
    found = problem(folder, override, "steps=[]")
    assert (found.code, found.where.startswith("--set ")) == ("entry-arguments", True)
    assert found.hint == f"it is called with {names}, by name: give it these parameters"


def test_a_module_that_is_installed_is_taken_on_trust(folder: Path) -> None:
    check_recipe(folder / "recipe.yaml", ["model.entry=json.decoder:anything", "data.entry=sys:x"])


def test_a_module_that_something_else_than_a_folder_gives_is_found(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "made_by_a_program", ModuleType("made_by_a_program"))
    check_recipe(folder / "recipe.yaml", ["model.entry=made_by_a_program:build"])

    class Editable:  # as of packages that are installed to be edited
        def find_spec(self, name: str, *_: object) -> ModuleSpec | None:
            return ModuleSpec(name, None) if name == "found_by_a_hook" else None

    monkeypatch.setattr(sys, "meta_path", [*sys.meta_path, Editable()])
    check_recipe(folder / "recipe.yaml", ["model.entry=found_by_a_hook:build"])


def test_what_a_star_import_brings_is_taken_on_trust(folder: Path) -> None:
    (folder / "elsewhere.py").write_text("def build(width): ...\n")
    (folder / "model.py").write_text("from elsewhere import *\n")
    check_recipe(folder / "recipe.yaml")


def test_a_function_under_a_decorator_may_take_anything(folder: Path) -> None:
    (folder / "model.py").write_text("@wrapped\ndef build(): ...\n")
    check_recipe(folder / "recipe.yaml")


@pytest.mark.parametrize("source", ["def build(:\n", "def build(): ...\0", "x = " + "(" * 300])
def test_an_entry_that_does_not_parse_is_named_with_its_line(folder: Path, source: str) -> None:
    (folder / "model.py").write_text(source)
    found = problem(folder)
    assert (found.code, found.where) == ("entry-failed", f"{folder / 'recipe.yaml'}:3 model.entry")
    assert "model.py" in found.message


def test_a_full_pickle_is_refused_with_the_snippet_that_converts_it(folder: Path) -> None:
    (folder / "m.pt").write_bytes(pickle.dumps(deque([1])))
    found = problem(folder, "model.weights=m.pt")
    assert (found.code, found.where) == ("weights-pickle", "--set model.weights")
    assert "`collections.deque`" in found.message
    assert "torch.load('m.pt', weights_only=False" in found.hint


def test_a_pickle_of_plain_containers_passes(folder: Path) -> None:
    (folder / "m.pt").write_bytes(pickle.dumps(OrderedDict(a=1)))
    check_recipe(folder / "recipe.yaml", ["model.weights=m.pt"])


def test_weights_that_are_cut_short_are_seen(folder: Path) -> None:
    whole = (folder / "w.safetensors").read_bytes()
    (folder / "w.safetensors").write_bytes(whole[:-4])
    assert problem(folder).code == "weights-corrupt"


def test_the_arrays_of_an_archive_are_looked_up(folder: Path) -> None:
    np.savez(folder / "one.npz", x=np.zeros(3), y=np.zeros(3))
    np.savez(folder / "split.npz", **{f"{a}_{s}": np.zeros(3) for a in "xy" for s in ("train", "calibration", "eval")})
    check_recipe(folder / "recipe.yaml", ["data={source: npz, path: one.npz}"])
    check_recipe(folder / "recipe.yaml", ["data={source: npz, path: split.npz}"])
    found = problem(folder, "data={source: npz, path: one.npz, inputs: images}")
    assert (found.code, found.where, found.hint) == ("data-array-missing", "--set data.inputs", "it holds: x, y")
    found = problem(folder, "data={source: npz, path: split.npz, eval_splits: [eval, dark]}")
    assert "holds no array `x_dark`" in found.message
    assert problem(folder, "data={source: npz, path: one.npz, targets: z}").where == "--set data.targets"


@pytest.mark.parametrize(
    ("source", "content", "ok"),
    [
        ("tflite", b"\x1c\0\0\0TFL3....", True),
        ("tflite", b"nonsense", False),
        ("tflite", b"", False),
        ("onnx", ONNX, True),
        ("onnx", b"", False),
        ("onnx", ONNX[:-1], False),
        ("onnx", ONNX[:2], False),
        ("onnx", b"PK\3\4" + b"\0" * 40, False),
        ("onnx", b"This is a text.\n", False),
        ("onnx", b"hello", False),
        ("onnx", b"\x1c\0\0\0TFL3....", False),
    ],
)
def test_a_model_file_is_recognised(folder: Path, source: str, content: bytes, ok: bool) -> None:
    (folder / "m.bin").write_bytes(content)
    overrides = [f"model={{source: {source}, path: m.bin}}", "steps=[]", f"artifacts=[{{format: {source}}}]"]
    if ok:
        check_recipe(folder / "recipe.yaml", overrides)
    else:
        assert problem(folder, *overrides).code == "file-unloadable"
        assert problem(folder, *overrides[1:], overrides[0].replace("m.bin", "n.bin")).code == "model-file-missing"


def test_weights_in_the_place_of_an_onnx_file_are_told_where_they_belong(folder: Path) -> None:
    with zipfile.ZipFile(folder / "m.pt", "w") as archive:  # as torch.save writes it
        archive.writestr("m/data.pkl", b"")
    found = problem(folder, "model={source: onnx, path: m.pt}", "steps=[]", "artifacts=[{format: onnx}]")
    assert "it looks like weights of PyTorch" in found.message
    assert "this file as `weights`" in found.hint


def test_packages_that_are_missing_are_named_for_each_artifact(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    missing = {"onnx": ["onnxslim"], "tflite": ["litert-converter"]}
    monkeypatch.setattr(check, "capability", missing.__getitem__)
    monkeypatch.setattr("platform.machine", lambda: "aarch64")
    result = check_recipe(folder / "recipe.yaml")
    assert not result.buildable
    assert [artifact.missing for artifact in result.artifacts] == [("onnxslim",), ("litert-converter",)]
    text = result.text()
    assert "no: onnxslim not installed" in text
    assert "hint: pip install 'edgeglm[onnx]'" in text
    assert "no wheel for this platform" in text


def test_auto_lists_the_formats_that_go_with_board_and_model(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def formats(*overrides: str) -> list[str]:
        result = check_recipe(folder / "recipe.yaml", ["artifacts=auto", *overrides])
        assert result.buildable
        return [artifact.format for artifact in result.artifacts]

    assert formats() == ["onnx", "tflite", "openvino"]
    assert formats("target=rpi5") == ["onnx", "tflite"]
    monkeypatch.setattr(check, "capability", lambda kind: ["litert-torch"] if kind == "tflite" else [])
    assert formats("target=rpi5") == ["onnx", "tflite"]  # without one, the other is still made
    assert (
        "tflite   auto             no: litert-torch" in check_recipe(folder / "recipe.yaml", ["artifacts=auto"]).text()
    )


def test_learning_under_rounding_that_never_comes_is_warned_of(folder: Path) -> None:
    def said(*overrides: str) -> list[str]:
        steps = "steps=[{finetune: {epochs: 1, qat: true}}]"
        return [warning.message for warning in check_recipe(folder / "recipe.yaml", [steps, *overrides]).warnings]

    assert said() == []
    assert said("artifacts=[{format: onnx, quantize: auto}]") == []
    (warning,) = said("artifacts=[{format: onnx}, {format: onnx, quantize: dynamic-int8}]")
    assert "no artifact is static-int8" in warning


@pytest.mark.parametrize(
    ("override", "where", "message"),
    [
        ("artifacts[0].quantize.calibration=8", "artifacts[0].quantize.calibration", "8 samples may miss"),
        ("steps=[{prune: {channel_ratio: 0.5}}]", "steps[0].prune", "nothing is trained after the last prune"),
        (
            "steps=[{sparsify: {pattern: '2:4', for_size: true}}]",
            "steps[0].sparsify",
            "nothing is trained after the last sparsify",
        ),
        ("budget.peak_rss_mb=9000", "budget.peak_rss_mb", "more than x86-64 has (8192 MB)"),
    ],
)
def test_what_is_likely_not_meant_is_warned_of(folder: Path, override: str, where: str, message: str) -> None:
    assert check_recipe(folder / "recipe.yaml").warnings == ()
    (warning,) = check_recipe(folder / "recipe.yaml", [override]).warnings
    assert warning.where.endswith(where)
    assert message in warning.message
    assert warning.hint


def test_a_board_whose_gain_by_zeros_needs_an_engine_of_the_users_is_told_so(folder: Path) -> None:
    def said(target: str, step: str = "{pattern: '2:4'}") -> list[str]:
        steps = f"steps=[{{sparsify: {step}}}, {{finetune: {{epochs: 1}}}}]"
        return [
            warning.message for warning in check_recipe(folder / "recipe.yaml", [steps, f"target={target}"]).warnings
        ]

    (warning,) = said("jetson-jp6")
    assert "jetson-jp6 by itself" in warning
    assert "trtexec --sparsity=enable" in warning
    assert said("jetson-jp6", "{pattern: '2:4', for_size: true}") == []
    with pytest.raises(RecipeError) as caught:
        said("jetson-jp6", "{pattern: unstructured, ratio: 0.5}")
    assert "write `pattern: 2:4`" in caught.value.problems[0].hint


def test_a_latency_budget_for_another_machine_is_warned_of(folder: Path) -> None:
    result = check_recipe(folder / "recipe.yaml", ["target=rpi5", "budget.host_latency_p95_ms=5"])
    (warning,) = result.warnings
    assert "judged on this host" in warning.message
    assert f"warning: {warning.where}: {warning.message}" in result.text()


def test_little_memory_and_disk_are_warned_of(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(check, "available_memory_bytes", lambda: 10**9)
    monkeypatch.setattr(check, "free_disk_bytes", lambda _: 10**8)
    memory, disk = check_recipe(folder / "recipe.yaml").warnings
    assert "1.0 GB of memory" in memory.message
    assert "0.10 GB are free" in disk.message


def test_an_import_of_what_is_nowhere_to_be_found_is_named_at_its_line(folder: Path) -> None:
    (folder / "model.py").write_text("import json\nfrom no_such_package.layers import Block\ndef build(width): ...\n")
    found = problem(folder)
    assert found.code == "entry-import-failed"
    assert "model.py:2` imports `no_such_package`, which is not installed here" in found.message
    assert "install `no_such_package`" in found.hint
    assert found.where.endswith("recipe.yaml:3 model.entry")


@pytest.mark.parametrize(
    "lines",
    [
        "import layers\nfrom parts.deep import thing",
        "import os.path, sys, torch",
        "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    import no_such_package",
        "try:\n    import no_such_package\nexcept ImportError:\n    pass",
        "import sys\nsys.path.insert(0, '../src')\nimport no_such_package",
    ],
    ids=["beside", "installed", "types", "tried", "path"],
)
def test_an_import_that_may_work_is_no_problem(folder: Path, lines: str) -> None:
    (folder / "layers.py").write_text("")
    (folder / "parts").mkdir()
    (folder / "model.py").write_text(f"{lines}\ndef build(width): ...\n")
    check_recipe(folder / "recipe.yaml")


@pytest.mark.parametrize(
    "body",
    [
        '"""Return it."""\n    raise NotImplementedError("soon")',
        "raise NotImplementedError",
        "raise NotImplementedError()",
    ],
)
def test_a_function_that_is_not_written_yet_is_refused_without_being_run(folder: Path, body: str) -> None:
    (folder / "model.py").write_text(f"def build(width):\n    {body}\n")
    found = problem(folder)
    assert found.code == "entry-unfinished"
    assert f"model.py:{2 + body.count(chr(10))}" in found.message


def test_a_function_that_may_raise_is_not_taken_for_unfinished(folder: Path) -> None:
    (folder / "model.py").write_text("def build(width):\n    if width:\n        raise NotImplementedError\n")
    check_recipe(folder / "recipe.yaml")


def test_a_split_that_is_called_otherwise_is_named_with_the_cure(folder: Path) -> None:
    for split in ("train", "val", "test"):
        for name in ("cat", "dog"):
            (folder / "photos" / split / name).mkdir(parents=True)
    found = problem(folder, "data={source: images, path: photos}")
    assert (found.code, found.hint) == ("data-split-missing", "write `eval_splits: [val, test]` under `data`")
    assert "there is val, test" in found.message
    check_recipe(folder / "recipe.yaml", ["data={source: images, path: photos, eval_splits: [val, test]}"])


@pytest.mark.parametrize(("place", "shown"), [("mynet.py", "mynet.py"), ("mynet/__init__.py", "mynet")])
def test_a_module_that_lies_outside_the_recipes_folder_is_named(
    folder: Path, monkeypatch: pytest.MonkeyPatch, place: str, shown: str
) -> None:
    mine = folder / "mine"
    mine.mkdir()
    for name in ("recipe.yaml", "data.py", "labels.txt", "w.safetensors"):
        (folder / name).rename(mine / name)
    (mine / "model.py").write_text("from mynet import Net\ndef build(width): return Net()\n")
    monkeypatch.chdir(folder)
    found = problem(Path("mine"))
    assert found.code == "entry-import-failed"
    assert found.hint.startswith("put `mynet.py` beside model.py, into mine, if it is yours; otherwise install `mynet`")
    (folder / place).parent.mkdir(exist_ok=True)
    (folder / place).write_text("")
    run = Entries(Path("mine"))
    for start in (folder, mine):
        monkeypatch.chdir(start)
        recipe = Path("mine") if start == folder else Path()
        assert problem(recipe).hint.startswith(f"`{shown if start == folder else f'../{shown}'}` is not looked at")
    monkeypatch.chdir(folder)
    with pytest.raises(EntryError) as caught:
        run.call("model.py:build", key="model.entry", width=1)
    run.close()
    assert caught.value.problems[0].hint == f"`{shown}` is not looked at from there: copy it beside model.py, into mine"
