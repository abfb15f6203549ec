from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator

import edgeglm.recipe
from edgeglm.errors import RecipeError
from edgeglm.recipe import resolved
from edgeglm.recipe.compose import compose
from edgeglm.recipe.nodes import to_plain
from tests.support.recipes import MINIMAL, parse

ROOT = Path(__file__).resolve().parents[3]
SCHEMA = json.loads((Path(edgeglm.recipe.__file__).parent / "recipe.schema.json").read_text(encoding="utf-8"))
NPZ = MINIMAL.replace('{source: python, entry: "data.py:load"}', "{source: npz, path: d.npz, inputs: [a, b]}")
EXAMPLE = (ROOT / "docs/recipe.md").read_text(encoding="utf-8").split("```yaml\n")[1].split("```")[0]


def test_schema_and_reference_are_current() -> None:
    done = subprocess.run(
        [sys.executable, str(ROOT / "scripts/generate_docs.py"), "--check"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


def test_the_schema_is_one_of_draft_2020_12() -> None:
    Draft202012Validator.check_schema(SCHEMA)


def test_every_setting_of_the_schema_says_what_it_means() -> None:
    silent = [
        f"{name}.{key}"
        for name, definition in {"Recipe": SCHEMA, **SCHEMA["$defs"]}.items()
        for key, setting in definition["properties"].items()
        if not setting.get("description") and "const" not in setting
    ]
    assert silent == []


def judged(text: str) -> tuple[bool, bool]:
    """Return whether the loader and whether the schema accept a recipe."""
    node, _ = compose(text, name="r.yaml")
    assert node is not None
    try:
        parse(text)
    except RecipeError:
        loads = False
    else:
        loads = True
    return loads, Draft202012Validator(SCHEMA).is_valid(to_plain(node))


GOOD = [
    MINIMAL,
    NPZ,
    EXAMPLE,
    MINIMAL + "steps: [{prune: {params_ratio: 0.5}}, {finetune: {epochs: 1, clip_norm: null}}]\n",
    MINIMAL
    + "preprocess: [grey, {grey: {}}, {grey: null}, {normalise: {scale: 1/255, std: 2}}]\npostprocess: [argmax]\n",
    MINIMAL + "robustness: [{noise: {std: 0.1}}, {entry: ./s.py:f}, {entry: {function: m:f}}, {blur: {sigma: 1}}]\n",
    MINIMAL
    + "postprocess: [{boxes: {format: xyxy, columns: [box, objectness, scores]}}, nms, {threshold: {limit: 1}}]\n",
    MINIMAL.replace("classification", "anomaly, score: squared-error, false_alarm_rate: 0.05"),
    MINIMAL.replace("classification", "segmentation, ignore_index: null"),
    MINIMAL.replace("classification", "detection, min_score: 0.1") + "postprocess: [{boxes: {format: xyxy}}]\n",
    MINIMAL.replace("classification", "metric, entry: ./m.py:wer, per_sample: true, name: wer"),
    MINIMAL + "labels: [a, b]\nthreads: null\nbudget: {metric_drop: 1, size_mb: 0.5}\n",
    MINIMAL.replace("{format: onnx}", "{format: tflite, quantize: {scheme: fp16}}"),
    MINIMAL.replace('{source: python, entry: "model.py:build"}', "{source: onnx, path: m.onnx}"),
]
BAD = [
    MINIMAL + "sed: 1\n",
    MINIMAL + "seed: x\n",
    MINIMAL + "seed: -1\n",
    MINIMAL + "seed: true\n",
    MINIMAL + "target: rpi6\n",
    MINIMAL + "labels: [1]\n",
    MINIMAL + "labels: {}\n",
    MINIMAL + "budget: {metric_drop: -1}\n",
    MINIMAL + "budget: {size_mb: 0}\n",
    MINIMAL + "steps: [{finetune: {}}]\n",
    MINIMAL + "steps: [finetune]\n",
    MINIMAL + "steps: [{prun: {}}]\n",
    MINIMAL + "steps: [{prune: {channel_ratio: 1}}]\n",
    MINIMAL + "steps: [{prune: {macs_ratio: 0.5}, finetune: {epochs: 1}}]\n",
    MINIMAL + "preprocess: [softmax]\n",
    MINIMAL + "robustness: [noise]\n",
    MINIMAL + "robustness: [{noise: {std: 0}}]\n",
    MINIMAL + "robustness: [{entry: shifts.py}]\n",
    MINIMAL + "robustness: [{nois: {std: 1}}]\n",
    MINIMAL + "postprocess: [{boxes: {format: polar}}]\n",
    MINIMAL + "postprocess: [threshold]\n",
    MINIMAL.replace("classification", "anomaly, false_alarm_rate: 1"),
    MINIMAL.replace("classification", "metric"),
    MINIMAL + "preprocess: [{layout: {to: NCHW}}]\n",
    MINIMAL.replace("version: 1", "version: 2"),
    MINIMAL.replace("name: tiny", "name: a b"),
    MINIMAL.replace('source: python, entry: "model', 'source: pyton, entry: "model'),
    MINIMAL.replace('source: python, entry: "model', 'entry: "model'),
    MINIMAL.replace("model.py:build", "model.py"),
    MINIMAL.replace("kind: classification", ""),
    MINIMAL.replace("  - {format: onnx}", "  []"),
    MINIMAL.replace("{format: onnx}", "{format: onnx, quantize: int3}"),
    MINIMAL.replace("{format: onnx}", "{format: onnx, quantize: {}}"),
    MINIMAL.replace("artifacts", "artefacts"),
]


@pytest.mark.parametrize("text", GOOD)
def test_what_the_loader_accepts_the_schema_accepts(text: str) -> None:
    assert judged(text) == (True, True)


@pytest.mark.parametrize("text", BAD)
def test_what_the_loader_refuses_the_schema_refuses(text: str) -> None:
    assert judged(text) == (False, False)


@pytest.mark.parametrize("text", GOOD)
def test_a_resolved_recipe_is_right_by_the_schema(text: str) -> None:
    plain: Any = resolved(parse(text).recipe)
    assert [error.message for error in Draft202012Validator(SCHEMA).iter_errors(plain)] == []
