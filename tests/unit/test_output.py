from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from edgeglm.errors import BusyError, StorageError, UserError
from edgeglm.files import write_bytes
from edgeglm.output.folder import open_output


def publish(path: Path, manifest: bytes | None, **files: bytes) -> None:
    with open_output(path) as folder:
        for name, content in files.items():
            folder.add(name.replace("__", "/").replace("_", "."), content)
        folder.publish(manifest)


def test_a_new_result_replaces_the_old_one_whole(tmp_path: Path) -> None:
    publish(tmp_path / "out", b"1", model_onnx=b"a", golden__model_onnx_safetensors=b"g")
    publish(tmp_path / "out", b"2", model_tflite=b"b")
    names = {str(p.relative_to(tmp_path / "out")) for p in (tmp_path / "out").rglob("*")}
    assert names == {".edgeglm", "model.tflite", "manifest.json"}


def test_a_rejected_result_has_no_manifest_even_where_one_was(tmp_path: Path) -> None:
    publish(tmp_path / "out", b"1", model_onnx=b"a")
    publish(tmp_path / "out", None, rejected__model_onnx=b"b")
    assert not (tmp_path / "out" / "manifest.json").exists()
    assert not (tmp_path / "out" / "model.onnx").exists()
    assert (tmp_path / "out" / "rejected" / "model.onnx").read_bytes() == b"b"


@pytest.mark.parametrize("listing", ["manifest.json", "report.json"])  # the first is gone where a run was killed
def test_files_of_a_packages_scheme_go_with_the_result_that_lists_them(tmp_path: Path, listing: str) -> None:
    out = tmp_path / "out"
    paths = ("model.bfloat16.onnx", "model.own.xml", "../model.mine.onnx", "/etc/model.onnx", "notes.onnx", "model.txt")
    listed = json.dumps({"artifacts": [{"path": path} for path in paths]}).encode()
    with open_output(out) as folder:
        for name in ("model.bfloat16.onnx", "model.own.xml", "model.own.bin"):
            folder.add(name, b"a")
        folder.publish(None)
    (out / listing).write_bytes(listed)
    for name in ("model.other.onnx", "notes.onnx", "model.txt"):
        (out / name).write_text("mine")
    (tmp_path / "model.mine.onnx").write_text("mine")
    publish(out, b"2", model_onnx=b"b")
    names = {path.name for path in out.iterdir()}
    assert names == {".edgeglm", "manifest.json", "model.onnx", "model.other.onnx", "notes.onnx", "model.txt"}
    assert (tmp_path / "model.mine.onnx").read_text() == "mine"


def test_files_of_the_users_in_the_folder_stay(tmp_path: Path) -> None:
    publish(tmp_path / "out", b"1", model_onnx=b"a")
    for name in ("notes.txt", "model_backup.onnx"):
        (tmp_path / "out" / name).write_text("mine")
    publish(tmp_path / "out", b"2", model_onnx=b"b")
    for name in ("notes.txt", "model_backup.onnx"):
        assert (tmp_path / "out" / name).read_text() == "mine"


def test_a_folder_with_foreign_files_is_refused_and_left_alone(tmp_path: Path) -> None:
    (tmp_path / "model.onnx").write_bytes(b"precious")
    with pytest.raises(UserError, match="did not write"), open_output(tmp_path):
        pass
    assert (tmp_path / "model.onnx").read_bytes() == b"precious"
    assert list(tmp_path.iterdir()) == [tmp_path / "model.onnx"]


def test_a_file_in_place_of_the_folder_is_refused(tmp_path: Path) -> None:
    (tmp_path / "out").write_text("x")
    with pytest.raises(UserError, match="not a folder"), open_output(tmp_path / "out"):
        pass


def test_a_second_run_on_the_same_folder_is_refused(tmp_path: Path) -> None:
    with open_output(tmp_path / "out"):
        with pytest.raises(BusyError) as caught, open_output(tmp_path / "out"):
            pass
        assert caught.value.exit_code == 4


def test_the_old_result_stays_when_staging_the_new_one_fails(tmp_path: Path) -> None:
    publish(tmp_path / "out", b"1", model_onnx=b"old")
    with open_output(tmp_path / "out") as folder:
        folder.add("model.onnx", b"new")
        folder.add("report.json", tmp_path / "missing")
        with pytest.raises(FileNotFoundError):
            folder.publish(b"2")
    assert (tmp_path / "out" / "model.onnx").read_bytes() == b"old"
    assert (tmp_path / "out" / "manifest.json").read_bytes() == b"1"


def test_a_disk_that_is_full_while_a_result_is_staged_is_left_as_it_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    publish(tmp_path / "out", b"1", model_onnx=b"old")
    before = sorted(tmp_path.rglob("*"))

    def full(path: Path, content: bytes) -> None:
        if path.name == "report.json":
            raise StorageError("cannot write: No space left on device", where=str(path), code="disk-full")
        write_bytes(path, content)

    monkeypatch.setattr("edgeglm.output.folder.write_bytes", full)
    with pytest.raises(StorageError):
        publish(tmp_path / "out", b"2", model_onnx=b"new", report_json=b"{}")
    assert sorted(tmp_path.rglob("*")) == before
    assert (tmp_path / "out" / "model.onnx").read_bytes() == b"old"


def test_a_disk_that_was_full_while_a_result_was_staged_has_its_room_again(tmp_path: Path) -> None:
    """A small tmpfs, in a mount namespace of its own: it goes with the process."""
    alone = ["unshare", "--mount"] if os.geteuid() == 0 else ["unshare", "--user", "--map-root-user", "--mount"]
    script = 'mount -t tmpfs -o size=1m tmpfs "$0" && exec "$@"'
    program = """
import shutil, sys
import json
import os
import subprocess
import sys
from pathlib import Path
from edgeglm.errors import StorageError
from edgeglm.output.folder import open_output
out = Path(sys.argv[1]) / "out"
def publish(*sizes):
    with open_output(out) as folder:
        for size in sizes:
            folder.add(f"{size}.bin", bytes(size))
        folder.publish(b"{}")
publish(100_000)
before = shutil.disk_usage(out).free
try:
    publish(200_000, 300_000, 2_000_000)
except StorageError as error:
    print(error.code, shutil.disk_usage(out).free == before, (out / "manifest.json").is_file())
"""
    done = subprocess.run(
        [*alone, "sh", "-c", script, str(tmp_path), sys.executable, "-c", program, str(tmp_path)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stdout == "disk-full True True\n", done.stderr


def test_what_a_killed_run_had_staged_goes_before_the_next_one_begins(tmp_path: Path) -> None:
    publish(tmp_path / "out", b"1", model_onnx=b"old")
    (tmp_path / "out" / ".staging").mkdir()
    (tmp_path / "out" / ".staging" / "model.onnx").write_bytes(b"half")
    with open_output(tmp_path / "out"):
        assert not (tmp_path / "out" / ".staging").exists()
    assert (tmp_path / "out" / "model.onnx").read_bytes() == b"old"


def test_an_output_below_a_file_is_a_storage_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(StorageError), open_output(tmp_path / "file" / "out"):
        pass


def made_by(recipe: Path, path: Path, *, named: bool = False) -> None:
    recipe.parent.mkdir(parents=True, exist_ok=True)
    recipe.touch()
    with open_output(path, recipe=recipe, named=named) as folder:
        folder.add("model.onnx", recipe.name.encode())
        folder.publish(b"1")


def test_the_result_of_another_recipe_of_the_same_name_is_not_replaced(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    first, second, out = Path("a/recipe.yaml"), Path("b/recipe.yaml"), Path("build/x")
    made_by(first, out)
    with pytest.raises(UserError, match=r"another recipe of the same name, a/recipe\.yaml") as caught:
        made_by(second, out)
    assert caught.value.code == "output-of-another-recipe"
    first.write_text("name: edited")
    made_by(first, out)
    made_by(second, out, named=True)  # who names the folder means it
    made_by(second, out)
    second.unlink()
    made_by(first, out)  # what made it is gone


def test_a_project_that_was_moved_with_its_results_runs_again(tmp_path: Path) -> None:
    made_by(tmp_path / "old" / "recipe.yaml", tmp_path / "old" / "build" / "x")
    (tmp_path / "old").rename(tmp_path / "new")
    made_by(tmp_path / "old" / "recipe.yaml", tmp_path / "old" / "build" / "x")
    made_by(tmp_path / "new" / "recipe.yaml", tmp_path / "new" / "build" / "x")
