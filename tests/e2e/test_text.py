"""A text model's way through the command line: texts in, an encoder from a folder, tokens on the board."""

from __future__ import annotations

import json

import numpy as np
import pytest
from edgeglm_agent.engines import load_engine
from edgeglm_agent.processing import Preprocess, cut_to_bucket
from edgeglm_agent.wire import Buckets, Manifest, decode_manifest

from tests.support.checkpoints import save_tiny
from tests.support.projects import Project
from tests.support.texts import WORDS, save_tokenizer

RECIPE = """\
version: 1
name: reports
model: {source: hf, path: encoder, task: embedding}
data: {source: text, path: texts, tsv: pairs, header: true, text: [text_a, text_b], target: score}
task: {kind: embedding}
preprocess:
  - tokenize: {tokenizer: encoder/tokenizer.json, length: 8}
artifacts:
  - {format: onnx, quantize: dynamic-int8, buckets: [4]}
  - {format: tflite, quantize: dynamic-int8, buckets: [4]}
slices: [site, "./slices.py:length"]
budget: {per_slice_drop: 0.5}
"""
SLICES = """\
def length(inputs, targets, split):
    return ["long" if mask.sum() > 4 else "short" for mask in inputs["attention_mask"]]
"""


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Project:
    folder = tmp_path_factory.mktemp("reports")
    save_tiny(folder / "encoder")
    save_tokenizer(folder / "encoder" / "tokenizer.json")
    texts = [" ".join(WORDS[int(digit)] for digit in str(number)) for number in range(400)]
    pairs = [f"{texts[n]}\t{texts[n + 60]}\t{n % 5}\t{'north' if n % 3 else 'south'}" for n in range(60)]
    project = Project(folder, {"recipe.yaml": RECIPE, "slices.py": SLICES})
    (folder / "texts").mkdir()
    (folder / "texts" / "train.txt").write_text("\n".join(texts[150:]))
    (folder / "texts" / "eval.tsv").write_text("\n".join(["text_a\ttext_b\tscore\tsite", *pairs]))
    done = project.run("compress", "recipe.yaml", "-o", "out")
    assert done.returncode == 0, done.stderr
    (folder / "stdout.txt").write_text(done.stdout)
    return project


@pytest.fixture(scope="module")
def manifest(project: Project) -> Manifest:
    return decode_manifest((project.folder / "out" / "manifest.json").read_bytes())


def test_the_tokenizer_travels_and_is_named_where_it_lies(project: Project, manifest: Manifest) -> None:
    (tokenize,) = manifest.preprocess
    assert tokenize.settings["tokenizer"] == "preprocess/tokenizer.json"
    assert "preprocess/tokenizer.json" in manifest.files
    there, given = (
        project.folder / "out" / "preprocess" / "tokenizer.json",
        project.folder / "encoder" / "tokenizer.json",
    )
    assert there.read_bytes() == given.read_bytes()


def test_a_board_answers_a_text_with_what_lies_in_the_folder_alone(project: Project, manifest: Manifest) -> None:
    out = project.folder / "out"
    preprocess = Preprocess(manifest.preprocess, folder=out)
    artifact = manifest.artifacts[0]
    engine = load_engine(out / artifact.path, format=artifact.format, threads=1)
    answers = []
    for text in ("the pump is hot", "the pump is hot", "leaks"):
        inputs = {name: values[None] for name, values in preprocess.one(text).items()}
        answers.append(engine.run(cut_to_bucket(inputs, artifact.buckets))["embedding"][0])
    assert np.array_equal(answers[0], answers[1])
    assert not np.allclose(answers[0], answers[2], atol=1e-3)
    assert np.linalg.norm(answers[0]) == pytest.approx(1, abs=1e-5)


def test_short_texts_are_cut_to_a_bucket_where_they_are_judged_timed_and_proved(
    project: Project, manifest: Manifest
) -> None:
    report = json.loads((project.folder / "out" / "report.json").read_text())
    assert {artifact.format for artifact in manifest.artifacts} == {"onnx", "tflite"}
    for artifact, side in zip(manifest.artifacts, report["artifacts"], strict=True):
        assert artifact.buckets == Buckets((4, 8), "attention_mask", ("input_ids", "attention_mask"))
        (bucket,) = side["buckets"]
        assert (bucket["length"], bucket["latency_ms"]["batch"]) == (4, 1)
        assert 0 < bucket["share"] < 1
    assert "cut to 4" in (project.folder / "out" / "report.html").read_text()
    paths = [f"out/{artifact.path}" for artifact in manifest.artifacts]
    # golden samples lie in the folder as they are padded, and were run cut
    for words in (("inspect", "out"), ("bench", *paths, "--runs", "10"), ("eval", "recipe.yaml", "-o", "out")):
        done = project.run(*words)
        assert done.returncode == 0, done.stderr


def test_every_slice_is_reported_and_judged(project: Project) -> None:
    report = json.loads((project.folder / "out" / "report.json").read_text())
    slices = {one["name"]: one for one in report["artifacts"][0]["slices"]}
    assert {name: one["n"] for name, one in slices.items() if name.startswith("site")} == {
        "site=north": 80,
        "site=south": 40,
    }
    assert {"length=long", "length=short"} <= set(slices)
    assert all(0.5 < one["value"] <= 1 and one["drop"]["n"] == one["n"] for one in slices.values())
    assert report["budget"]["met"] is True
    assert report["artifacts"][0]["metrics_extra"]["spearman"] == pytest.approx(
        report["baseline"]["metrics_extra"]["spearman"], abs=0.2
    )
    assert "site=south" in (project.folder / "stdout.txt").read_text()


def test_a_missing_tokenizer_is_found_before_anything_runs(project: Project) -> None:
    path = project.folder / "recipe.yaml"
    (project.folder / "other.yaml").write_text(path.read_text().replace("encoder/tokenizer.json", "tokeniser.json"))
    done = project.run("check", "other.yaml")
    assert done.returncode == 2
    assert "preprocess[0].tokenize.tokenizer: no file `tokeniser.json`" in done.stderr
