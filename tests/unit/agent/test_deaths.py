from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from tests.support.model_folders import edit_manifest, load, write_two

if TYPE_CHECKING:
    from pathlib import Path

# a process that dies as its runtime would, in the middle of a load
DIES = """
import os, signal, sys
from pathlib import Path
from edgeglm_agent.engines import litert
from edgeglm_agent.settings.types import InputConfig, Slot
from edgeglm_agent.worker import model
litert.LiteRtEngine.__init__ = lambda *_, **__: os.kill(os.getpid(), signal.SIGSEGV)
folder = Path(sys.argv[1])
print(model.load_model(folder, slot=Slot(model="", input=InputConfig()), state_dir=folder.parent / "state").describe())
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write_two(tmp_path / "model")


def start(folder: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-c", DIES, str(folder)], capture_output=True, text=True, check=False)


def test_an_artifact_that_kills_the_process_twice_is_tried_after_the_others(folder: Path) -> None:
    assert [start(folder).returncode for _ in range(2)] == [-signal.SIGSEGV] * 2
    third = start(folder)
    assert third.returncode == 0, third.stderr
    assert "'artifact': 'model.onnx'" in third.stdout
    model = load(folder)
    assert model.artifact.path == "model.onnx"
    assert model.passed_over == ("model.tflite (tflite, none): the process died of it 2 times",)
    assert load(folder, artifacts=["model.tflite"]).artifact.path == "model.tflite"  # better than none


def test_deaths_of_another_boot_or_of_another_manifest_are_forgotten(folder: Path) -> None:
    for _ in range(2):
        start(folder)
    noted = folder.parent / "state" / "loading.json"
    whole = noted.read_text()
    noted.write_text(json.dumps(json.loads(whole) | {"boot": "another"}))
    assert load(folder).artifact.path == "model.tflite"
    noted.write_text(whole)
    edit_manifest(folder, version="9")
    assert load(folder).artifact.path == "model.tflite"


def test_a_load_that_ends_leaves_no_trace_even_where_it_is_refused(folder: Path) -> None:
    (folder / "model.tflite").write_bytes(b"x")
    for _ in range(3):
        assert load(folder).artifact.path == "model.onnx"
    noted = json.loads((folder.parent / "state" / "loading.json").read_bytes())
    assert (noted["loading"], noted["died"]) == ("", {})


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"\xff" * 100, b"[" * 100_000, None])
def test_notes_that_cannot_be_read_or_written_are_done_without(folder: Path, content: bytes | None) -> None:
    state = folder.parent / "state"
    if content is None:
        state.write_bytes(b"a file where a folder should be")
    else:
        state.mkdir()
        (state / "loading.json").write_bytes(content)
    assert load(folder).artifact.path == "model.tflite"
    assert os.path.lexists(state)
