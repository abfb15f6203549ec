"""Every bad input of a user's: no traceback, nothing lost, the right exit code, and a hint."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from tests.support.projects import DATA, LEAN, MODEL, Project


@pytest.fixture
def project(tmp_path: Path) -> Project:
    """A project that works, with an older result that must survive whatever happens."""
    project = Project(tmp_path / "digits", {"recipe.yaml": LEAN, "model.py": MODEL, "data.py": DATA})
    old = project.folder / "out"
    old.mkdir()
    for name in (".edgeglm", "manifest.json", "model.onnx"):
        (old / name).write_text("old result")
    return project


def refused(project: Project, *arguments: str, code: int = 2) -> str:
    """Run a recipe that cannot work; return what it said."""
    done = project.run("compress", "recipe.yaml", "-o", "out", *arguments)
    assert done.returncode == code, done.stderr
    assert "Traceback" not in done.stderr
    assert "\nhint: " in done.stderr
    assert "\ncode: " in done.stderr
    assert done.stdout == ""
    for name in ("manifest.json", "model.onnx"):
        assert (project.folder / "out" / name).read_text() == "old result"
    return done.stderr


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        pytest.param("task:", "taks:", ["recipe.yaml:5", "unknown key `taks`", "`task`"], id="unknown key"),
        pytest.param(
            "kind: classification",
            "kind: clasification",
            ["recipe.yaml:5 task.kind", "`classification`"],
            id="unknown value",
        ),
        pytest.param("version: 1", "version: one", ["recipe.yaml:1 version"], id="wrong type"),
        pytest.param("./model.py:build", "./mdel.py:build", ["mdel.py"], id="missing file"),
        pytest.param("version: 1", "version: [1", ["recipe.yaml:"], id="not YAML"),
        pytest.param("model.py:build", "model.py:biuld", ["biuld", "`build`"], id="entry that does not exist"),
    ],
)
def test_a_faulty_recipe_is_refused_at_its_line(project: Project, old: str, new: str, said: list[str]) -> None:
    project.edit("recipe.yaml", old, new)
    stderr = refused(project)
    for text in said:
        assert text in stderr


def test_a_missing_recipe_is_refused(project: Project) -> None:
    done = project.run("compress", "no-such.yaml")
    assert done.returncode == 2
    assert "no-such.yaml" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("name", ["model.py", "data.py"])
def test_an_entry_that_raises_is_named_with_the_users_line(project: Project, name: str) -> None:
    function = "def build(width: int = 16) -> nn.Module:" if name == "model.py" else "def load(split: str):"
    project.edit(name, function, f"{function}\n    raise RuntimeError('my own mistake')")
    stderr = refused(project)
    line = (project.folder / name).read_text().splitlines().index("    raise RuntimeError('my own mistake')") + 1
    assert f"{name}:{line}" in stderr
    assert "my own mistake" in stderr


def weights(project: Project, change: Callable[[dict[str, torch.Tensor]], None]) -> None:
    """Write weights of the project's network, changed, and name them in the recipe."""
    namespace: dict[str, Callable[[], torch.nn.Module]] = {}
    exec((project.folder / "model.py").read_text(), namespace)
    state = namespace["build"]().state_dict()
    change(state)
    save_file(state, project.folder / "w.safetensors")
    project.edit("recipe.yaml", 'model.py:build"', 'model.py:build", weights: w.safetensors')


def test_weights_that_do_not_fit_are_refused_with_every_mismatch(project: Project) -> None:
    def change(state: dict[str, torch.Tensor]) -> None:
        del state["8.bias"]
        state["extra"] = torch.zeros(1)
        state["0.weight"] = torch.zeros(4, 1, 3, 3)
        state["8.weight"] = torch.zeros(3, 3)

    weights(project, change)
    stderr = refused(project)
    assert "\nrecipe.yaml:3 model.weights w.safetensors: " in stderr
    for name in ("8.bias", "extra", "0.weight", "8.weight"):
        assert name in stderr


def test_weights_with_nan_are_refused_by_tensor(project: Project) -> None:
    def change(state: dict[str, torch.Tensor]) -> None:
        state["3.weight"][0, 0, 0, 0] = float("nan")

    weights(project, change)
    assert "3.weight" in refused(project)


def test_a_pickle_is_refused_unread_with_the_snippet_that_converts_it(project: Project) -> None:
    marker = project.folder / "was-run"
    script = (
        "import torch, sys, pathlib\n"
        "class Evil:\n"
        "    def __reduce__(self):\n"
        f"        return (pathlib.Path.write_text, (pathlib.Path({str(marker)!r}), 'x'))\n"
        "torch.save({'net': Evil()}, 'w.pt')\n"
    )
    subprocess.run([sys.executable, "-c", script], cwd=project.folder, check=True)
    project.edit("recipe.yaml", 'model.py:build"', 'model.py:build", weights: w.pt')
    stderr = refused(project)
    assert "state_dict" in stderr
    assert not marker.exists()


@pytest.mark.parametrize(
    ("change", "said"),
    [
        pytest.param("images[3, 0, 2, 2] = np.nan", ["NaN", "3"], id="NaN"),
        pytest.param("images[5, 0, 2, 2] = np.inf", ["5"], id="infinite"),
        pytest.param("targets[:] = 1", ["class"], id="one class only"),
        pytest.param("images = images[:, :, :, :5].repeat(3, axis=1)", ["3"], id="shapes that the model refuses"),
        pytest.param("images, targets = images[:0], targets[:0]", ["empty"], id="no samples"),
        pytest.param("targets = targets[:-1]", [], id="lengths that differ"),
        pytest.param("targets = targets - 1", ["-1"], id="a class below zero"),
    ],
)
def test_data_that_cannot_be_used_is_refused(project: Project, change: str, said: list[str]) -> None:
    project.edit(
        "data.py",
        "    return images, digits.target[order].astype(np.int64)",
        f"    targets = digits.target[order].astype(np.int64)\n    {change}\n    return images, targets",
    )
    stderr = refused(project)
    for text in said:
        assert text in stderr


def test_overlapping_splits_are_refused(project: Project) -> None:
    project.edit("data.py", '"eval": slice(1100, None)', '"eval": slice(0, 700)')
    stderr = refused(project)
    assert "eval" in stderr
    assert "train" in stderr


@pytest.mark.parametrize(
    ("step", "said"),
    [
        pytest.param(
            "prune: {channel_ratio: 0.01, round_to: 16}",
            "recipe.yaml:7 steps[0].prune",
            id="a ratio that prunes nothing",
        ),
        pytest.param("prune: {channel_ratio: 1.0}", "channel_ratio", id="a ratio that prunes everything"),
        pytest.param(
            "prune: {channel_ratio: 0.999, round_to: 1, max_ratio: 0.999}",
            "recipe.yaml:7 steps[0].prune",
            id="a ratio that leaves nothing",
        ),
        pytest.param(
            "prune: {channel_ratio: 0.5, ignore: ['re:.*head']}", "re:.*head", id="a pattern that matches no layer"
        ),
        pytest.param("prune: {}", "channel_ratio", id="no ratio at all"),
        pytest.param(
            "finetune: {epochs: 1, learning_rate: 1e30}", "recipe.yaml:7 steps[0].finetune", id="training that diverges"
        ),
    ],
)
def test_a_step_that_cannot_do_what_it_should_is_refused(project: Project, step: str, said: str) -> None:
    project.edit("recipe.yaml", "artifacts:", f"steps:\n  - {step}\nartifacts:")
    assert said in refused(project)


def test_a_pattern_of_an_artifact_that_matches_no_layer_is_refused(project: Project) -> None:
    project.edit("recipe.yaml", "{format: onnx}", "{format: onnx, quantize: {scheme: static-int8, ignore: [nonsense]}}")
    stderr = refused(project)
    assert "\nrecipe.yaml:6 artifacts[0]" in stderr
    assert "nonsense" in stderr


def test_an_operator_that_tflite_lacks_is_named_with_its_layer_before_any_training(project: Project) -> None:
    project.edit(
        "model.py",
        "from torch import nn",
        (
            "import torch\nfrom torch import nn\n\n\nclass Odd(nn.Module):\n    def forward(self, x):\n"
            "        return torch.linalg.svdvals(x.mean(1)).sum(-1)[:, None, None, None] + x\n"
        ),
    )
    project.edit("model.py", "nn.AdaptiveAvgPool2d(1)", "Odd(), nn.AdaptiveAvgPool2d(1)")
    project.edit(
        "recipe.yaml",
        "artifacts: [{format: onnx}]",
        "steps: [{finetune: {epochs: 500}}]\nartifacts: [{format: tflite}]",
    )
    stderr = refused(project)
    assert "svd" in stderr
    assert "recipe.yaml:7 artifacts[0] 6: " in stderr  # the layer, as torch names it
    assert "model.py:7" in stderr  # and the user's line
    assert "500" not in stderr.split("svd")[0]  # no epoch of training came before it


@pytest.mark.parametrize("name", ["broken.onnx", "broken.tflite"])
@pytest.mark.parametrize("content", [b"", b"garbage" * 100, b"\x00" * 64])
def test_a_corrupt_model_file_is_refused(project: Project, name: str, content: bytes) -> None:
    (project.folder / name).write_bytes(content)
    source = name.split(".")[1]
    project.edit("recipe.yaml", '{source: python, entry: "./model.py:build"}', f"{{source: {source}, path: {name}}}")
    project.edit("recipe.yaml", "{format: onnx}", f"{{format: {source}}}")
    assert name in refused(project)
    done = project.run("inspect", name)
    assert done.returncode == 2
    assert "Traceback" not in done.stderr


def test_steps_on_an_onnx_source_are_refused(project: Project) -> None:
    (project.folder / "m.onnx").write_bytes(b"x")
    project.edit("recipe.yaml", '{source: python, entry: "./model.py:build"}', "{source: onnx, path: m.onnx}")
    project.edit("recipe.yaml", "artifacts:", "steps: [{prune: {channel_ratio: 0.5}}]\nartifacts:")
    assert "steps" in refused(project)


def test_an_output_folder_of_the_users_is_refused_and_left_alone(project: Project) -> None:
    photos = project.folder / "photos"
    photos.mkdir()
    (photos / "model.onnx").write_bytes(b"precious")
    done = project.run("compress", "recipe.yaml", "-o", "photos")
    assert done.returncode == 2
    assert [path.name for path in photos.iterdir()] == ["model.onnx"]


def test_a_missed_budget_is_exit_3_and_leaves_no_manifest(project: Project) -> None:
    project.edit("recipe.yaml", "artifacts:", "budget: {size_mb: 0.001}\nartifacts:")
    done = project.run("compress", "recipe.yaml", "-o", "out")
    assert done.returncode == 3
    missed, empty, hint, code = done.stderr.splitlines()[-4:]
    assert missed.startswith("model.onnx: the file is ")
    assert "`budget.size_mb` allows 0.001 MB" in missed
    assert (empty, code) == ("", "code: budget-missed")
    assert "rejected/" in hint
    out = project.folder / "out"
    assert (out / "rejected" / "model.onnx").is_file()
    assert not (out / "manifest.json").exists()
    assert (out / "report.json").is_file()


def test_a_missed_budget_at_best_effort_is_exit_3_with_a_manifest(project: Project) -> None:
    project.edit("recipe.yaml", "artifacts:", "budget: {size_mb: 0.001}\non_violation: best-effort\nartifacts:")
    done = project.run("compress", "recipe.yaml", "-o", "out", "--json")
    assert done.returncode == 3
    assert '"met": false' in done.stdout or '"met":false' in done.stdout
    assert (project.folder / "out" / "manifest.json").is_file()
    assert (project.folder / "out" / "model.onnx").is_file()


def test_a_second_run_on_the_same_output_folder_is_refused_while_the_first_goes_on(project: Project) -> None:
    project.edit("recipe.yaml", "artifacts:", "steps: [{finetune: {epochs: 300}}]\nartifacts:")
    first = project.start("compress", "recipe.yaml", "-o", "out")
    assert first.stderr is not None
    assert "data" in first.stderr.readline()
    assert "another run" in refused(project, code=4)
    first.kill()
    first.communicate()


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_stopped_run_says_so_and_loses_nothing(project: Project, number: int, code: int) -> None:
    project.edit("recipe.yaml", "artifacts:", "steps: [{finetune: {epochs: 300}}]\nartifacts:")
    process = project.start("compress", "recipe.yaml", "-o", "out")
    assert process.stderr is not None
    for line in process.stderr:
        if "steps[0].finetune" in line and "preflight" not in line:
            break
    time.sleep(2)  # into the training
    process.send_signal(number)
    _, stderr = process.communicate()
    assert process.returncode == code, stderr
    assert "Traceback" not in stderr
    assert "goes on from there" in stderr
    assert (project.folder / "out" / "manifest.json").read_text() == "old result"


def test_a_disk_that_fills_up_while_writing_leaves_the_old_result(project: Project) -> None:
    """A file size limit of the kernel's: writes fail half-way, as on a full disk."""
    done = subprocess.run(
        ["sh", "-c", f"ulimit -f 8; exec {sys.executable} -m edgeglm compress recipe.yaml -o out"],
        cwd=project.folder,
        env={name: value for name, value in project.environment().items() if not name.startswith("COVERAGE")},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 4, done.stderr
    assert "Traceback" not in done.stderr
    assert "code: disk-" in done.stderr
    assert (project.folder / "out" / "manifest.json").read_text() == "old result"


@pytest.mark.parametrize("variable", ["EDGEGLM_CACHE", "TMPDIR"])
def test_a_disk_too_small_is_seen_before_the_work(project: Project, tmp_path: Path, variable: str) -> None:
    """A small tmpfs, in a mount namespace of its own: it goes with the run, whatever becomes of either."""
    mount = tmp_path / "small"
    mount.mkdir()
    alone = ["unshare", "--mount"] if os.geteuid() == 0 else ["unshare", "--user", "--map-root-user", "--mount"]
    script = 'mount -t tmpfs -o size=1m tmpfs "$0" && echo mounted && exec "$@"'
    done = subprocess.run(
        [
            *alone,
            "sh",
            "-c",
            script,
            str(mount),
            sys.executable,
            "-m",
            "edgeglm",
            "compress",
            "recipe.yaml",
            "-o",
            "out",
        ],
        cwd=project.folder,
        env=project.environment(**{variable: str(mount)}),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stdout == "mounted\n", f"this test mounts a small tmpfs in a namespace: {done.stderr}"
    assert done.returncode == 4, done.stderr
    assert "code: disk-too-small" in done.stderr
    assert f"{mount}: 1 MB are free" in done.stderr
    assert f"set {variable} to a folder" in done.stderr
    assert "Traceback" not in done.stderr
    assert not mount.is_mount()
