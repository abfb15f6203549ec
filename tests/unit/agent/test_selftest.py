from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest
from edgeglm_agent.cli import main
from edgeglm_agent.selftest import Outcome, render

from tests.support.model_folders import edit_manifest, read_manifest, sha256, write_two

PACKAGE = """\
import os, signal, time
from edgeglm_agent.settings.types import InputConfig

class Nothing(InputConfig, frozen=True, tag="nothing"):
    pass

def deadly(path, *, threads):
    print("about to die", flush=True)
    os.kill(os.getpid(), signal.SIGSEGV)

def endless(path, *, threads):
    time.sleep(600)
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder with a model, a settings file, and an installed package that adds an input and two bad engines."""
    package = tmp_path / "site"
    info = package / "bad_engines-1.0.dist-info"
    info.mkdir(parents=True)
    (package / "bad_engines.py").write_text(PACKAGE)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: bad-engines\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(
        "[edgeglm_agent.inputs]\nnothing = bad_engines:Nothing\n"
        "[edgeglm_agent.engines]\ndeadly = bad_engines:deadly\nendless = bad_engines:endless\n"
    )
    monkeypatch.syspath_prepend(str(package))
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(package), *sys.path]))  # of the process that tries a slot
    write_two(tmp_path / "model")
    yield tmp_path
    sys.modules.pop("bad_engines", None)


def settings(folder: Path, more: str = "") -> str:
    path = folder / "agent.toml"
    path.write_text(
        "device = 'd'\n[slots.main]\nmodel = 'model'\ninput = {kind = 'nothing'}\n"
        f"artifacts = ['model.onnx', 'model.tflite']\n{more}"
    )
    return str(path)


def with_bad_artifact(folder: Path, format: str) -> None:  # noqa: A002 - the manifest's word
    """Put a file of a bad engine's format before the others."""
    (folder / "model" / "model.bad").write_bytes(b"bad")
    manifest = read_manifest(folder / "model")
    bad = msgspec.structs.replace(
        manifest.artifacts[0], path="model.bad", sha256=sha256(folder / "model" / "model.bad"), format=format
    )
    edit_manifest(folder / "model", artifacts=(bad, *manifest.artifacts))


def test_a_slot_says_what_it_would_serve_and_answers_a_golden_sample(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["selftest", "--json", settings(folder)]) == 0
    (outcome,) = json.loads(capsys.readouterr().out)
    assert (outcome["passed"], outcome["artifact"], outcome["provider"]) == (True, "model.onnx", "cpu")
    assert outcome["runtime"].startswith("onnxruntime ")
    assert {one["label"] for one in json.loads(outcome["answer"])} < set("abcde")
    assert min(outcome["load_ms"], outcome["latency_ms"], outcome["rss_mb"]) > 0


def test_it_says_what_was_passed_over_and_why(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / "model" / "model.onnx").write_bytes(b"not what the manifest lists")
    assert main(["selftest", settings(folder)]) == 0
    text = " ".join(capsys.readouterr().out.split())
    assert text.startswith("ok main tiny 0123456789ab: model.tflite (none) in litert")
    assert "passed over: model.onnx" in text
    assert "its sha256 differs" in text


def test_a_model_that_no_artifact_of_passes_fails(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name in ("model.onnx", "model.tflite"):
        (folder / "model" / name).write_bytes(b"broken")
    assert main(["selftest", settings(folder)]) == 4
    text = capsys.readouterr().out
    assert text.startswith("fail  main")
    assert text.count("its sha256 differs") == 2


def test_an_artifact_that_kills_the_process_is_passed_over(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with_bad_artifact(folder, "deadly")
    path = Path(settings(folder))
    path.write_text(path.read_text().replace("['model.onnx'", "['model.bad', 'model.onnx'"))
    assert main(["selftest", "--json", str(path)]) == 0
    (outcome,) = json.loads(capsys.readouterr().out)
    assert outcome["artifact"] == "model.onnx"
    assert "model.bad" in outcome["passed_over"][0]
    assert "died" in outcome["passed_over"][0]


def test_a_model_that_only_kills_names_the_signal(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with_bad_artifact(folder, "deadly")
    path = Path(settings(folder))
    path.write_text(path.read_text().replace("['model.onnx', 'model.tflite']", "['model.bad']"))
    assert main(["selftest", str(path)]) == 4
    assert "the process died of SIGSEGV" in capsys.readouterr().out


def test_a_model_that_loads_for_ever_is_given_up(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with_bad_artifact(folder, "endless")
    path = Path(settings(folder, "start_timeout_s = 2\n"))
    path.write_text(path.read_text().replace("['model.onnx', 'model.tflite']", "['model.bad']"))
    assert main(["selftest", str(path)]) == 4
    assert "it was not loaded within start_timeout_s, 2 s" in capsys.readouterr().out


def test_a_slot_that_is_not_there_is_named(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["selftest", "--slot", "mian", settings(folder)]) == 2
    assert capsys.readouterr().err.startswith("there is no slot `mian`\n\nhint: did you mean `main`?")


def test_an_agent_without_slots_has_nothing_to_try() -> None:
    assert render([]) == "no slots: there is no model to try"


def test_no_line_is_wider_than_80_columns() -> None:
    fine = Outcome(
        slot="a-slot-with-a-name", passed=True, model="m 1", artifact="model.static-int8.onnx", scheme="static-int8",
        runtime="onnxruntime 1.31.1", provider="cpu", answer="[" + "0.123456, " * 40, passed_over=["x " * 90],
    )  # fmt: skip
    bad = Outcome(slot="b", passed=False, why="one\ntwo " + "and three " * 30)
    text = render([fine, bad])
    assert max(map(len, text.splitlines())) <= 80
    assert "fail  b" in text
