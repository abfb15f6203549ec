"""Rules between the keys of a recipe."""

from __future__ import annotations

import pytest

from edgeglm.sources import NpzData
from tests.support.recipes import MINIMAL, fault, faults, parse


@pytest.mark.parametrize("source", ["onnx", "tflite"])
def test_a_model_file_takes_no_steps_and_stays_in_its_format(source: str) -> None:
    other = {"onnx": "tflite", "tflite": "onnx"}[source]
    text = f"""\
version: 1
name: tiny
model: {{source: {source}, path: m.{source}}}
data: {{source: npz, path: d.npz}}
task: {{kind: classification}}
steps:
  - finetune: {{epochs: 1}}
artifacts:
  - {{format: {source}}}
  - {{format: {other}}}
"""
    assert [(p.where, p.code) for p in faults(text)] == [
        ("kws/recipe.yaml:6 steps", "recipe-conflict"),
        ("kws/recipe.yaml:10 artifacts[1].format", "recipe-conflict"),
    ]


@pytest.mark.parametrize(
    ("task", "judged"),
    [
        ("{kind: classification}", True),
        ("{kind: segmentation}", True),
        ("{kind: detection}", True),
        ("{kind: regression}", False),
        ("{kind: embedding}", False),
        ("{kind: anomaly}", False),
        ("{kind: metric, entry: './own.py:wer'}", False),
    ],
)
def test_a_limit_for_classes_needs_a_task_with_figures_by_class(task: str, judged: bool) -> None:
    text = MINIMAL.replace("{kind: classification}", task) + "budget: {per_class_drop: 0.1}\n"
    assert task in text
    if "detection" in task:
        text += "postprocess: [{boxes: {format: xyxy}}]\n"
    if judged:
        assert parse(text).recipe.budget.per_class_drop == 0.1
        return
    problem = fault(text)
    assert problem.where.endswith(" budget.per_class_drop")
    assert problem.code == "recipe-conflict"
    assert "has no figures by class" in problem.message
    assert "`slices`" in (problem.hint or "")


def test_a_limit_for_slices_needs_slices() -> None:
    problem = fault(MINIMAL + "budget: {per_slice_drop: 0.1}\n")
    assert (problem.code, problem.where.split()[-1]) == ("recipe-conflict", "budget.per_slice_drop")


def test_an_onnx_file_gives_openvino_too() -> None:
    text = MINIMAL.replace("format: onnx", "format: openvino").replace("source: python", "source: onnx")
    assert "format" in text
    assert [p.where for p in faults(text) if "artifacts" in p.where] == []


def test_how_a_file_is_called_goes_with_auto_and_not_with_openvino() -> None:
    for how in ("buckets: [8]", "signatures: {batch: [1, 4]}"):
        for wanted in ("format: auto", "format: tflite, quantize: auto"):
            (config,) = parse(MINIMAL.replace("{format: onnx}", f"{{{wanted}, {how}}}")).recipe.artifacts
            assert config.is_auto
        problems = faults(MINIMAL.replace("{format: onnx}", f"{{format: openvino, quantize: auto, {how}}}"))
        (problem,) = problems
        assert problem.code == "recipe-conflict"
        assert problem.where.endswith(f" artifacts[0].{how.partition(':')[0]}")


@pytest.mark.parametrize("target", ["rpi5", "jetson-jp6"])
def test_openvino_is_refused_for_any_target_but_x86_with_the_reason(target: str) -> None:
    problem = fault(MINIMAL.replace("format: onnx", "format: openvino") + f"target: {target}\n")
    assert problem.code == "recipe-conflict"
    assert problem.where.endswith("artifacts[0].format")
    assert f"not {target}: on ARM it computes INT8 in float16" in problem.message


@pytest.mark.parametrize(
    ("quantize", "place"),
    [
        ("dynamic-int8", "quantize"),
        ("{scheme: static-int8, layers: [{match: a, scheme: dynamic-int8}]}", "quantize.layers[0].scheme"),
        ("{scheme: weight-only-int8, block_size: 32}", "quantize.block_size"),
    ],
)
def test_what_openvino_does_not_have_is_refused_where_it_stands(quantize: str, place: str) -> None:
    problem = fault(MINIMAL.replace("format: onnx", f"format: openvino, quantize: {quantize}"))
    assert problem.code == "recipe-conflict"
    assert problem.where.endswith(f"artifacts[0].{place}")


@pytest.mark.parametrize(
    ("quantize", "budget", "says"),
    [
        ("{scheme: static-int8, accuracy_control: true}", "", "there is no limit to keep"),
        ("{scheme: fp16, accuracy_control: true}", "budget: {metric_drop: 0.1}", "quantizes no layer"),
        ("{scheme: auto, accuracy_control: true}", "budget: {metric_drop: 0.1}", "by itself"),
    ],
)
def test_accuracy_control_has_layers_to_choose_from_and_a_limit(quantize: str, budget: str, says: str) -> None:
    problem = fault(MINIMAL.replace("format: onnx", f"format: onnx, quantize: {quantize}") + budget)
    assert (problem.code, says in problem.message) == ("recipe-conflict", True)
    assert problem.where.endswith("artifacts[0].quantize.accuracy_control")


def test_rules_between_keys_hold_beside_other_faults() -> None:
    text = (
        MINIMAL.replace("format: onnx", "format: onnx, quantize: stattic") + "  - {format: tflite}\n" * 2 + "sed: 1\n"
    )
    assert [p.code for p in faults(text)] == ["recipe-unknown-value", "recipe-conflict", "recipe-unknown-key"]


def test_two_schemes_of_one_format_are_two_files() -> None:
    text = MINIMAL + "  - {format: onnx, quantize: fp16}\n  - {format: tflite, quantize: fp16}\n"
    assert [artifact.scheme for artifact in parse(text).recipe.artifacts] == ["none", "fp16", "fp16"]


def test_one_file_written_in_two_ways_is_one_file() -> None:
    text = MINIMAL + "  - {format: onnx, quantize: {scheme: none, calibration: 9}}\n"
    assert fault(text).message == "the same file as artifacts[0]: onnx with none"


@pytest.mark.parametrize(
    ("data", "key", "message"),
    [
        ("{source: npz, path: a, fractions: {train: 0.9}}", "data.fractions", "add up to 1.2, more than 1"),
        ("{source: npz, path: a, inputs: [x, x]}", "data.inputs[1]", "the array `x` is named twice"),
        ("{source: npz, path: a, inputs: y}", "data.inputs", "the array `y` is named twice"),
        ("{source: npz, path: a, inputs: []}", "data.inputs", "no array is named"),
        ("{source: npz, path: a, eval_splits: [train]}", "data.eval_splits[0]", "cannot be evaluated on"),
        ("{source: npz, path: a, eval_splits: [b, b]}", "data.eval_splits[1]", "`b` is listed twice"),
        ("{source: npz, path: a, eval_splits: []}", "data.eval_splits", "has 0 items: at least 1"),
    ],
)
def test_data_that_contradicts_itself_is_refused(data: str, key: str, message: str) -> None:
    problem = fault(MINIMAL.replace('{source: python, entry: "data.py:load"}', data))
    assert problem.where == f"kws/recipe.yaml:4 {key}"
    assert message in problem.message


def test_shares_that_add_up_to_one_are_accepted() -> None:
    data = "{source: npz, path: a, fractions: {train: 0.7, calibration: 0.1, eval: 0.2}}"
    assert isinstance(parse(MINIMAL.replace('{source: python, entry: "data.py:load"}', data)).recipe.data, NpzData)


def test_a_pattern_that_is_no_regular_expression_is_refused() -> None:
    problem = fault(MINIMAL, "artifacts[0].quantize={scheme: fp16, ignore: ['re:(']}")
    assert problem.where == "--set artifacts[0].quantize.ignore[0]"
    assert "no regular expression" in problem.message


@pytest.mark.parametrize(
    ("artifact", "key", "message"),
    [
        ("{format: onnx, quantize: {scheme: dynamic-int8, block_size: 32}}", "block_size", "has no blocks"),
        ("{format: tflite, quantize: {scheme: weight-only-int8, block_size: 32}}", "block_size", "no blocks of 8-bit"),
        ("{format: onnx, quantize: {scheme: weight-only-int4, block_size: 48}}", "block_size", "unknown value `48`"),
        (
            "{format: onnx, quantize: {scheme: fp16, layers: [{match: a, scheme: none}]}}",
            "layers",
            "has no layers of another scheme",
        ),
        (
            "{format: onnx, quantize: {scheme: dynamic-int8, layers: [{match: 're:(', scheme: none}]}}",
            "layers[0].match",
            "no regular expression",
        ),
        (
            "{format: onnx, quantize: {scheme: dynamic-int8, layers: [{match: a, scheme: none, block_size: 32}]}}",
            "layers[0].block_size",
            "has no blocks",
        ),
        (
            "{format: onnx, quantize: {scheme: dynamic-int8, layers: [{match: a, scheme: fp16}]}}",
            "layers[0].scheme",
            "unknown value `fp16`",
        ),
    ],
)
def test_settings_that_the_scheme_beside_them_does_not_read_are_refused(artifact: str, key: str, message: str) -> None:
    problem = fault(MINIMAL, f"artifacts[0]={artifact}")
    assert problem.where == f"--set artifacts[0].quantize.{key}"
    assert message in problem.message


@pytest.mark.parametrize(
    ("data", "key", "said"),
    [
        ("{source: csv, path: d.csv, target: y, split: group}", "data.split", "no `group` is named"),
        ("{source: csv, path: d.csv, target: y, window: 4, split: rows}", "data.split", "`rows` shuffles them"),
        ("{source: csv, path: d.csv, target: y, stride: 2}", "data.stride", "there is no `window`"),
        ("{source: csv, path: d.csv, window: 4, horizon: 2}", "data.horizon", "no `target` is named"),
        ("{source: csv, path: d.csv, features: [a, b], target: b}", "data.features[1]", "it would tell the answer"),
        ("{source: csv, path: d.csv, target: [b, b]}", "data.target[1]", "`b` is named twice"),
        ("{source: text, path: d.txt}", "data.source", "nothing makes numbers of them"),
    ],
)
def test_tables_and_texts_that_cannot_be_read_so_are_refused(data: str, key: str, said: str) -> None:
    problem = fault(MINIMAL.replace('{source: python, entry: "data.py:load"}', data))
    assert problem.where.endswith(f" {key}")
    assert said in problem.message


def test_a_bucket_is_no_longer_than_what_texts_are_padded_to() -> None:
    text = MINIMAL.replace("{format: onnx}", "{format: onnx, buckets: [8, 16, 32]}")
    text += "preprocess: [{tokenize: {tokenizer: t.json, length: 16}}]\n"
    problem = fault(text)
    assert problem.where.endswith(" artifacts[0].buckets[2]")
    assert "more than the 16 tokens" in problem.message


@pytest.mark.parametrize("postprocess", ["", "postprocess: [nms]\n", "postprocess: [softmax]\n"])
def test_detection_without_boxes_is_refused(postprocess: str) -> None:
    text = MINIMAL.replace("kind: classification", "kind: detection") + postprocess
    assert any("finds no boxes" in problem.message for problem in faults(text))
    parse(MINIMAL.replace("kind: classification", "kind: detection") + "postprocess: [{boxes: {format: xyxy}}, nms]\n")


def test_a_forecast_may_name_its_target_among_the_features() -> None:
    data = "{source: csv, path: d.csv, window: 4, horizon: 2, features: [a, b], target: b}"
    text = MINIMAL.replace('{source: python, entry: "data.py:load"}', data)
    parse(text.replace("kind: classification", "kind: forecasting"))
    problem = fault(text)
    assert problem.where.endswith(" data.horizon")
    assert "`kind: classification` is judged by one of each sample" in problem.message


@pytest.mark.parametrize(("gives", "judged"), [("embedding", "classification"), ("classification", "embedding")])
def test_a_text_encoder_is_judged_by_what_it_puts_out(gives: str, judged: str) -> None:
    text = MINIMAL.replace('source: python, entry: "model.py:build"', f"source: hf, path: enc, task: {gives}")
    text = text.replace("kind: classification", f"kind: {judged}")
    problem = fault(text)
    assert problem.where == "kws/recipe.yaml:3 model.task"
    assert problem.code == "recipe-conflict"
    assert f"write `task: {judged}` here" in problem.hint


@pytest.mark.parametrize(
    ("operations", "key", "said"),
    [
        ("{reconstruction-error: {error: absolute}}", "[0].reconstruction-error.error", "by `score: squared-error`"),
        ("reconstruction-error, {threshold: {limit: 1, beyond: below}}", "[1].threshold.beyond", "`anomalous: high`"),
        ("{threshold: {limit: 1}}", "[0].threshold", "the board would decide by the output itself"),
    ],
)
def test_the_board_scores_anomalies_as_the_task_judges_them(operations: str, key: str, said: str) -> None:
    text = MINIMAL.replace("kind: classification", "kind: anomaly, score: squared-error")
    problem = fault(text + f"postprocess: [{operations}]\n")
    assert problem.where.endswith(f"postprocess{key}")
    assert said in problem.message


@pytest.mark.parametrize(
    "task",
    ["kind: embedding", "kind: detection", 'kind: metric, entry: "model.py:judge"', "kind: anomaly, score: output"],
)
@pytest.mark.parametrize(
    ("step", "key", "mend"),
    [
        ("finetune: {epochs: 1}", "finetune", "use `distill`"),
        ("distill: {epochs: 1, alpha: 0}", "distill.alpha", "write an `alpha` above 0"),
    ],
)
def test_what_no_targets_teach_is_refused_without_a_teacher(task: str, step: str, key: str, mend: str) -> None:
    boxes = "postprocess: [{boxes: {format: xyxy, columns: [box, scores]}}]\n" if "detection" in task else ""
    text = f"{MINIMAL.replace('kind: classification', task)}{boxes}steps:\n  - {step}\n"
    found = fault(text)
    assert (found.code, found.where.partition(" ")[2]) == ("training-needs-teacher", f"steps[0].{key}")
    assert mend in found.hint
    parse(text.replace(step, "distill: {epochs: 1}"))
    parse(text.replace(task, "kind: classification").replace(boxes, ""))


@pytest.mark.parametrize("source", ["onnx", "tflite"])
def test_a_file_is_no_teacher(source: str) -> None:
    step = f"distill: {{epochs: 1, teacher: {{source: {source}, path: t.{source}}}}}"
    found = fault(f"{MINIMAL}steps:\n  - {step}\n")
    assert (found.code, found.where.partition(" ")[2]) == ("distill-teacher", "steps[0].distill.teacher")
    assert f"`source: {source}` is a file" in found.message
    assert "torch runs it" in found.message
    assert "`source: python`" in found.hint
