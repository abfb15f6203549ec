"""The command line as a program among others: pipes that close, results that were tampered with, a quick start."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from safetensors.numpy import load_file, save_file

from tests.support.projects import DATA, LEAN, MODEL, Project

CHATTY = MODEL.replace("    return nn.Sequential(", "    print('building ' * 10_000)\n    return nn.Sequential(")


def lean(folder: Path) -> Project:
    return Project(folder, {"recipe.yaml": LEAN, "model.py": CHATTY, "data.py": DATA})


@pytest.fixture(scope="module")
def result(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The output folder of a run."""
    project = lean(tmp_path_factory.mktemp("result") / "digits")
    done = project.run("compress", "recipe.yaml", "-o", "out")
    assert done.returncode == 0, done.stderr
    return project.folder / "out"


def test_a_working_folder_that_is_gone_is_told(tmp_path: Path) -> None:
    project, gone = lean(tmp_path / "digits"), tmp_path / "gone"
    gone.mkdir()
    command = [sys.executable, "-m", "edgeglm", "check", str(project.folder / "recipe.yaml")]
    done = subprocess.run(
        ["sh", "-c", 'rmdir "$0" && exec "$@"', str(gone), *command],
        cwd=gone,
        env=project.environment(),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2, done.stderr
    assert "Traceback" not in done.stderr
    assert "the folder that this was started in is gone" in done.stderr


def closed_pipe() -> int:
    """Return the end to write to of a pipe whose reader has left."""
    reader, writer = os.pipe()
    os.close(reader)
    return writer


@pytest.mark.parametrize(("size_mb", "code"), [("1", 0), pytest.param("0.001", 3, marks=pytest.mark.full)])
def test_a_reader_that_leaves_both_streams_early_neither_stops_a_run_nor_changes_its_exit_code(
    tmp_path: Path, size_mb: str, code: int
) -> None:
    project = lean(tmp_path / "digits")
    project.edit("recipe.yaml", "artifacts:", f"budget: {{size_mb: {size_mb}}}\nartifacts:")
    process = subprocess.Popen(
        [sys.executable, "-m", "edgeglm", "compress", "recipe.yaml", "-o", "out"],
        cwd=project.folder,
        env=project.environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )
    assert process.stdout is not None
    assert b"data" in process.stdout.readline()
    process.stdout.close()
    assert process.wait() == code
    assert (project.folder / "out" / "report.json").is_file()
    assert (project.folder / "out" / "manifest.json").is_file() == (code == 0)


def test_a_result_on_stdout_is_whole_when_nobody_reads_stderr(tmp_path: Path) -> None:
    project = lean(tmp_path / "digits")
    writer = closed_pipe()
    done = subprocess.run(
        [sys.executable, "-m", "edgeglm", "compress", "recipe.yaml", "-o", "out", "--json"],
        cwd=project.folder,
        env=project.environment(),
        stdout=subprocess.PIPE,
        stderr=writer,
        check=False,
    )
    os.close(writer)
    assert done.returncode == 0
    assert json.loads(done.stdout) == json.loads((project.folder / "out" / "report.json").read_text())


@pytest.mark.parametrize("arguments", [["--help"], ["--version"], ["doctor"], ["recipes"], ["compress", "--help"]])
def test_a_reader_that_leaves_stdout_is_no_error(arguments: list[str]) -> None:
    writer = closed_pipe()
    command = [sys.executable, "-m", "edgeglm", *arguments]
    done = subprocess.run(command, stdout=writer, stderr=subprocess.PIPE, text=True, check=False)
    os.close(writer)
    expected = subprocess.run(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=False)
    assert (done.returncode, done.stderr) == (expected.returncode, "")


@pytest.mark.parametrize("stderr", ["broken", "closed"])
def test_an_error_that_nobody_reads_keeps_its_exit_code_and_off_stdout(stderr: str) -> None:
    writer = closed_pipe()
    redirect = f"2>&{writer}" if stderr == "broken" else "2>&-"
    done = subprocess.run(
        ["sh", "-c", f"exec {sys.executable} -m edgeglm compress no-such.yaml {redirect}"],
        stdout=subprocess.PIPE,
        pass_fds=[writer],
        check=False,
    )
    os.close(writer)
    assert (done.returncode, done.stdout) == (2, b"")


def no_golden(folder: Path) -> None:
    (folder / "golden" / "model.onnx.safetensors").unlink()


def torn_golden(folder: Path) -> None:
    golden = folder / "golden" / "model.onnx.safetensors"
    golden.write_bytes(golden.read_bytes()[:-40])


def golden_without_outputs(folder: Path) -> None:
    golden = folder / "golden" / "model.onnx.safetensors"
    save_file({name: value for name, value in load_file(golden).items() if name.startswith("input.")}, golden)


def other_golden(folder: Path) -> None:
    golden = folder / "golden" / "model.onnx.safetensors"
    save_file(
        {name: -value if name.startswith("output.") else value for name, value in load_file(golden).items()}, golden
    )


def other_golden_that_the_manifest_lists(folder: Path) -> None:
    from edgeglm.files import sha256_file

    golden = folder / "golden" / "model.onnx.safetensors"
    before = sha256_file(golden)
    other_golden(folder)
    manifest = folder / "manifest.json"
    manifest.write_text(manifest.read_text().replace(before, sha256_file(golden)))


def other_page(folder: Path) -> None:
    (folder / "report.html").write_text("<p>another</p>")


def no_page(folder: Path) -> None:
    (folder / "report.html").unlink()


def other_model(folder: Path) -> None:
    with (folder / "model.onnx").open("ab") as file:
        file.write(b"\0")


def manifest_that_is_a_folder(folder: Path) -> None:
    (folder / "manifest.json").unlink()
    (folder / "manifest.json").mkdir()


def model_that_answers_nan_that_the_manifest_lists(folder: Path) -> None:
    import onnx

    from edgeglm.files import sha256_file

    path = folder / "model.onnx"
    before = sha256_file(path)
    model = onnx.load(path)
    (output,) = model.graph.output
    (last,) = [node for node in model.graph.node if output.name in node.output]
    last.output[0] = "before_log"
    model.graph.node.append(onnx.helper.make_node("Log", ["before_log"], [output.name]))  # logits below 0: NaN
    onnx.save(model, path)
    manifest = folder / "manifest.json"
    manifest.write_text(manifest.read_text().replace(before, sha256_file(path)))


@pytest.mark.parametrize(
    ("tamper", "place", "code"),
    [
        (no_golden, "golden/model.onnx.safetensors", "golden-missing"),
        (torn_golden, "golden/model.onnx.safetensors", "golden-corrupt"),
        (golden_without_outputs, "golden/model.onnx.safetensors", "golden-corrupt"),
        (other_golden, "golden/model.onnx.safetensors", "sha256-differs"),
        (other_golden_that_the_manifest_lists, "model.onnx", "golden-failed"),
        (model_that_answers_nan_that_the_manifest_lists, "model.onnx", "golden-failed"),
        (other_page, "report.html", "sha256-differs"),
        (no_page, "report.html", "file-missing"),
        (other_model, "model.onnx", "sha256-differs"),
        (manifest_that_is_a_folder, "manifest.json", "file-unreadable"),
    ],
)
def test_a_result_that_was_tampered_with_is_refused_by_inspect(
    result: Path, tmp_path: Path, tamper: Callable[[Path], None], place: str, code: str
) -> None:
    folder = tmp_path / "out"
    shutil.copytree(result, folder)
    tamper(folder)
    done = Project(tmp_path, {}).run("inspect", "out")
    assert done.returncode == 2, done.stderr
    assert done.stderr.startswith(f"out/{place}: ")
    assert "\nhint: " in done.stderr
    assert done.stderr.endswith(f"code: {code}\n")
    assert ("not finite" in done.stderr) is ("nan" in tamper.__name__)
    assert done.stdout == ""


def test_inspect_of_a_whole_result_says_that_its_golden_outputs_hold(result: Path, tmp_path: Path) -> None:
    done = Project(tmp_path, {}).run("inspect", str(result))
    assert (done.returncode, done.stderr) == (0, "")
    assert "golden      passed" in done.stdout


def test_a_path_that_cannot_be_opened_is_the_users_and_not_the_disks(tmp_path: Path) -> None:
    done = Project(tmp_path, {}).run("inspect", "a" * 300 + ".onnx")
    assert done.returncode == 2, done.stderr
    assert ".onnx: cannot read: File name too long" in done.stderr
    assert done.stderr.endswith("code: file-unreadable\n")


HEAVY = ("torch", "onnx", "onnxruntime", "onnxscript", "litert_torch", "ai_edge_litert", "jax", "sklearn")


@pytest.mark.parametrize("arguments", [["--help"], ["doctor"], ["check", "recipe.yaml"]])
def test_a_verb_that_computes_nothing_imports_no_framework(tmp_path: Path, arguments: list[str]) -> None:
    project = lean(tmp_path / "digits")
    script = (
        "import sys\n"
        "from edgeglm.cli import main\n"
        "try:\n"
        "    main()\n"
        "finally:\n"
        f"    print('imported:', *(name for name in {HEAVY!r} if name in sys.modules), file=sys.stderr)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, *arguments],
        cwd=project.folder,
        env=project.environment(),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode in ((0, 4) if arguments == ["doctor"] else (0,)), done.stderr
    assert done.stdout
    assert done.stderr.splitlines()[-1] == "imported:"
