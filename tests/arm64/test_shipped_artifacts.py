"""Artifacts of shipped recipes on the boards' processor and Pythons, emulated: they answer as they do here.

MiniLM, which an emulated processor takes long for, is among the long tests, and so is the newer userland; a small text
encoder stands in for MiniLM.
"""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from edgeglm_agent.golden import difference
from edgeglm_agent.wire import decode_manifest

from tests.support.checkpoints import save_tiny
from tests.support.texts import WORDS, save_tokenizer

ROOT = Path(__file__).resolve().parents[2]
HERE = Path(__file__).resolve().parent
RECIPES = ROOT / "recipes"
KEPT = ROOT / "build" / "arm64"
PYTHONS = {"bookworm": "3.11", "trixie": "3.13"}
SUITES = ["bookworm", pytest.param("trixie", marks=pytest.mark.full)]
FORMATS = ("onnx", "tflite")
# a runtime that is not told otherwise writes to the home folder; the emulated processor is a Raspberry Pi 4's
BOARD_ENV = {"PATH": "/usr/bin", "HOME": "/nowhere", "ORT_DISABLE_TELEMETRY": "1", "QEMU_CPU": "cortex-a72"}
TEXT_RECIPE = """\
version: 1
name: reports
model: {source: hf, path: encoder, task: embedding}
data: {source: text, path: texts}
task: {kind: embedding}
preprocess:
  - tokenize: {tokenizer: encoder/tokenizer.json, length: 8}
artifacts:
  - {format: onnx, quantize: dynamic-int8, buckets: [4]}
  - {format: tflite, quantize: dynamic-int8, buckets: [4]}
"""


@pytest.fixture(scope="module")
def userlands(request: pytest.FixtureRequest) -> Iterator[dict[str, subprocess.Popen[bytes]]]:
    """What makes the userlands that tests of this run need: it waits for the network while recipes are compressed."""
    KEPT.mkdir(parents=True, exist_ok=True)
    making = {}
    wanted = {item.callspec.params["suite"] for item in request.session.items if item.module is request.module}
    for suite in wanted:
        with (KEPT / f"{suite}.log").open("wb") as log:
            making[suite] = subprocess.Popen(
                ["sh", ROOT / "scripts" / "arm64_userland.sh", suite, KEPT / suite],
                env=os.environ | {"PYTHON": sys.executable},
                stdout=log,
                stderr=log,
            )
    yield making
    for process in making.values():
        process.wait()


@pytest.fixture(scope="module")
def results(userlands: object, tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """What recipes for images, series and texts give, samples beside each."""
    project = tmp_path_factory.mktemp("projects") / "reports"
    save_tiny(project / "encoder")
    save_tokenizer(project / "encoder" / "tokenizer.json")
    texts = [" ".join(WORDS[int(digit)] for digit in str(number)) for number in range(300)]
    (project / "texts").mkdir()
    (project / "texts" / "train.txt").write_text("\n".join(texts[60:]))
    (project / "texts" / "eval.txt").write_text("\n".join(texts[:60]))
    (project / "recipe.yaml").write_text(TEXT_RECIPE)
    out = compressed(tmp_path_factory, RECIPES / "digits-cnn", RECIPES / "vibration-lstm", project)
    for name in ("digits-cnn", "vibration-lstm"):
        rows = data_of(RECIPES / name)
        write_samples(out / name, rows[:: len(rows) // 8][:8].tolist(), str(rows.dtype))
    write_samples(out / "reports", texts[5:60:7], "str")
    return [out / "digits-cnn", out / "vibration-lstm", out / "reports"]


@pytest.fixture(scope="module")
def minilm(userlands: object, tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """What the recipe for MiniLM gives."""
    out = compressed(tmp_path_factory, RECIPES / "minilm") / "minilm"
    sentences = (RECIPES / "minilm" / "sentences" / "eval.txt").read_text().splitlines()
    write_samples(out, sentences[:4], "str")
    return [out]


def compressed(tmp_path_factory: pytest.TempPathFactory, *projects: Path) -> Path:
    """Compress recipes; return the folder of their results."""
    out = tmp_path_factory.mktemp("results")
    command = [sys.executable, HERE / "make_results.py", out, *(project / "recipe.yaml" for project in projects)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return out


def data_of(recipe: Path) -> np.ndarray:
    """Return the evaluation data of a recipe with a data.py, as they come before preprocessing."""
    spec = importlib.util.spec_from_file_location(f"data_of_{recipe.name}", recipe / "data.py")
    module = importlib.util.module_from_spec(spec)
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(recipe)  # for what it imports from beside it
        spec.loader.exec_module(module)
        return module.load("eval")[0]


def write_samples(folder: Path, samples: list[object], dtype: str) -> None:
    (folder / "samples.json").write_text(json.dumps({"dtype": dtype, "samples": samples}))


@pytest.mark.parametrize("file_format", FORMATS)
@pytest.mark.parametrize("suite", SUITES)
def test_images_series_and_texts_are_answered_as_here(
    suite: str, file_format: str, userlands: dict[str, subprocess.Popen[bytes]], results: list[Path], tmp_path: Path
) -> None:
    check_answers(suite, file_format, userlands, results, tmp_path)


@pytest.mark.full
@pytest.mark.parametrize("file_format", FORMATS)
@pytest.mark.parametrize("suite", PYTHONS)
def test_sentences_are_answered_as_here(
    suite: str, file_format: str, userlands: dict[str, subprocess.Popen[bytes]], minilm: list[Path], tmp_path: Path
) -> None:
    check_answers(suite, file_format, userlands, minilm, tmp_path)


def check_answers(
    suite: str, file_format: str, userlands: dict[str, subprocess.Popen[bytes]], results: list[Path], tmp_path: Path
) -> None:
    """Answer the samples of results here and on a board, and compare."""
    assert userlands[suite].wait() == 0, (KEPT / f"{suite}.log").read_text()
    root = KEPT / suite
    here, there = tmp_path / "here", tmp_path / "there"
    answer([sys.executable], here, file_format, results, environ=dict(os.environ))
    told = answer(
        ["qemu-aarch64-static", "-L", root, root / "usr" / "bin" / f"python{PYTHONS[suite]}"],
        there,
        file_format,
        results,
        environ=BOARD_ENV | {"PYTHONPATH": f"{root / 'opt' / 'site'}:{ROOT / 'device_agents'}"},
    )
    assert (told["arch"], told["python"]) == ("aarch64", PYTHONS[suite])
    for folder in results:
        artifacts = decode_manifest((folder / "manifest.json").read_bytes()).artifacts
        (artifact,) = (artifact for artifact in artifacts if artifact.format == file_format)
        loaded = told["models"][folder.name]  # it passed its golden samples there
        assert (loaded["artifact"], loaded["passed_over"]) == (artifact.path, "")
        ours, its = (dict(np.load(out / f"{folder.name}.npz")) for out in (here, there))
        for key, values in ours.items():
            if key.startswith("input."):  # what preprocessing makes: no runtime has a part in it
                np.testing.assert_allclose(its[key], values, rtol=1e-6, atol=1e-7)
        outputs = ({k: v for k, v in arrays.items() if k.startswith("output.")} for arrays in (ours, its))
        assert difference(*outputs, quantized=artifact.scheme != "none") == ""
        assert said_by(there, folder) == said_by(here, folder)


def answer(
    command: list[str | Path], out: Path, file_format: str, results: list[Path], *, environ: dict[str, str]
) -> dict:
    """Run on_board.py by this command, and return what it says it loaded."""
    out.mkdir()
    command = [*command, HERE / "on_board.py", file_format, out, *results]
    done = subprocess.run(command, env=environ, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def said_by(out: Path, folder: Path) -> list[object]:
    """Return the answers without their numbers: which digit, anomalous or not, the names of outputs."""
    answers = json.loads((out / f"{folder.name}.json").read_text())
    return [one[0]["label"] if isinstance(one, list) else one.get("exceeded", sorted(one)) for one in answers]
