from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import msgspec
import pytest
from msgspec import Meta

from edgeglm.errors import RecipeError, StepError
from edgeglm.recipe import Quantize, dump_recipe, load_recipe
from edgeglm.recipe.walk import Walker
from edgeglm.sources import PythonModel
from edgeglm.steps import Distill, Finetune, Prune, StepConfig
from tests.support.recipes import MINIMAL, fault, faults, parse

if TYPE_CHECKING:
    from pathlib import Path

PRUNE = MINIMAL + "steps:\n  - prune: {channel_ratio: 0.5}\n  - distill: {epochs: 3}\n"


def test_a_minimal_recipe_has_every_default() -> None:
    recipe = parse(MINIMAL).recipe
    assert recipe.model == PythonModel(entry="model.py:build")
    assert (recipe.target, recipe.seed, recipe.steps, recipe.on_violation) == ("x86-64", 0, [], "fail")
    assert recipe.artifacts[0].quantize == Quantize(scheme="none")


def test_steps_are_built_in_their_order_with_numbers_of_the_wanted_type() -> None:
    text = MINIMAL + "steps:\n  - prune: {macs_ratio: 0.5}\n  - distill: {epochs: 3, temperature: 4}\n"
    prune, distill = parse(text).recipe.steps
    assert prune == Prune(macs_ratio=0.5)
    assert isinstance(distill, Distill)
    assert isinstance(distill.temperature, float)
    assert distill.temperature == 4.0


def test_a_step_without_settings_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    class Rest(StepConfig, tag="rest", frozen=True, kw_only=True):
        """As a package may add it."""

    monkeypatch.setattr("edgeglm.recipe.walk.step_types", lambda: {"rest": Rest})
    found = fault(MINIMAL + "steps:\n  - rest: {a: 1}\n")
    assert (found.message, found.hint) == ("unknown key `a`", "remove it: there is nothing to set here")


def test_an_error_reads_as_the_design_shows_it() -> None:
    problem = fault(MINIMAL + "steps:\n  - distill: {epochs: 1}\n  - prune: {chanel_ratio: 0.3, macs_ratio: 0.5}\n")
    assert str(problem).splitlines()[:3] == [
        "kws/recipe.yaml:10 steps[1].prune: unknown key `chanel_ratio`",
        "",
        "hint: did you mean `channel_ratio`?",
    ]


def test_every_error_of_a_file_is_shown_at_once_in_the_order_of_the_file() -> None:
    text = """\
version: 1
name: "two words"
model: {source: pyton, entry: "model.py:build"}
data: {source: npz, path: 5}
task: {}
artifacts:
  - {format: onnx, quantize: int8}
  - {format: onnx}
  - {format: onnx}
sed: 3
"""
    found = [(problem.where, problem.code) for problem in faults(text)]
    assert found == [
        ("kws/recipe.yaml:2 name", "recipe-out-of-range"),
        ("kws/recipe.yaml:3 model.source", "recipe-unknown-value"),
        ("kws/recipe.yaml:4 data.path", "recipe-wrong-type"),
        ("kws/recipe.yaml:5 task", "recipe-missing-key"),
        ("kws/recipe.yaml:7 artifacts[0].quantize", "recipe-unknown-value"),
        ("kws/recipe.yaml:9 artifacts[2]", "recipe-conflict"),
        ("kws/recipe.yaml:10", "recipe-unknown-key"),
    ]


@pytest.mark.parametrize(
    ("right", "key"),
    [
        ("name: tiny", "name"),
        ('entry: "data.py:load"', "data.entry"),
        ('scale: "1/255"', "preprocess[0].normalise.scale"),
    ],
)
def test_a_line_end_behind_what_has_a_form_is_refused(right: str, key: str) -> None:
    text = MINIMAL + 'preprocess: [{normalise: {scale: "1/255"}}]\n'
    parse(text)
    name, value = right.split(": ")
    value = value.strip('"')
    problem = fault(text.replace(right, f'{name}: "{value}\\n"'))
    assert problem.where.endswith(f" {key}")
    assert problem.code == "recipe-out-of-range" or "scale" in key


@pytest.mark.parametrize(
    ("line", "key", "code", "message", "hint"),
    [
        ("target: rpi-5", "target", "recipe-unknown-value", "unknown value `rpi-5`", "did you mean `rpi5`?"),
        ("device: gpu", "device", "recipe-unknown-value", "unknown value `gpu`", "did you mean `cuda`?"),
        ("on_violation: 3", "on_violation", "recipe-unknown-value", "`3`", "known values: best-effort, fail"),
        ("seed: true", "seed", "recipe-wrong-type", "expected an integer, found `true`", ""),
        ("seed: 1.0", "seed", "recipe-wrong-type", "expected an integer, found the number 1.0", "write 1"),
        ("seed: -1", "seed", "recipe-out-of-range", "-1 is out of range: at least 0 and below 4294967296", "seed"),
        ("seed: '1'", "seed", "recipe-wrong-type", "expected an integer, found the text `1`", "without quotes"),
        ("seed:", "seed", "recipe-wrong-type", "expected an integer, found nothing", "give it a value"),
        ("seed: [1]", "seed", "recipe-wrong-type", "expected an integer, found a list", ""),
        ("threads: 0", "threads", "recipe-out-of-range", "0 is out of range: at least 1", "for training"),
        ("threads: 100000", "threads", "recipe-out-of-range", "and at most 256", "for training"),
        ("labels: [1]", "labels[0]", "recipe-wrong-type", "expected text, found the integer 1", '"1"'),
        ("labels: {a: b}", "labels", "recipe-wrong-type", "expected text or a list, found a mapping", ""),
        ("labels: [a, b, a]", "labels[2]", "recipe-conflict", "the label `a` is there twice", "a name of its own"),
        ("labels: ''", "labels", "recipe-out-of-range", "must not be empty", "name a file"),
        ("budget: 3", "budget", "recipe-wrong-type", "expected a mapping, found the integer 3", ""),
        ("budget: {metric_drop: 1%}", "budget.metric_drop", "recipe-wrong-type", "the text `1%`", "a fraction: 0.01"),
        ("budget: {size_mb: .inf}", "budget.size_mb", "recipe-out-of-range", "inf is not a finite number", ""),
        ("budget: {size_mb: .nan}", "budget.size_mb", "recipe-out-of-range", "nan is not a finite number", ""),
        ("budget:\n  - size_mb: 5", "budget", "recipe-wrong-type", "found a list", "without the `-`"),
        (
            "golden: {source: evl}",
            "golden.source",
            "recipe-unknown-value",
            "unknown value `evl`",
            "did you mean `eval`?",
        ),
        ("provenance: {date: 2024}", "provenance.date", "recipe-wrong-type", "found the integer 2024", '"2024"'),
        ("preprocess: [softmax]", "preprocess[0]", "recipe-unknown-value", "an operation of `postprocess`", "move it"),
        ("postprocess: [layout]", "postprocess[0]", "recipe-unknown-value", "an operation of `preprocess`", "move it"),
        ("preprocess: [{normalize: {}}]", "preprocess[0]", "recipe-unknown-value", "`normalize`", "`normalise`?"),
        ("preprocess: [{crop: {width: 3}}]", "preprocess[0].crop", "recipe-missing-key", "key `height`", "pixels"),
        (
            "postprocess: [labels]",
            "postprocess[0].labels",
            "recipe-conflict",
            "no labels",
            "name the classes by `labels`",
        ),
        (
            "postprocess: [argmax, softmax]",
            "postprocess[1].softmax",
            "recipe-conflict",
            "before `argmax`",
            "put it before",
        ),
        ("robustness: [{gain: {factor: 1}}]", "robustness[0].gain.factor", "recipe-conflict", "changes nothing", "1.5"),
        ("steps: [{distil: {epochs: 1}}]", "steps[0]", "recipe-unknown-value", "step `distil`", "`distill`?"),
        ("steps: [quantize]", "steps[0]", "recipe-unknown-value", "unknown step `quantize`", "known steps: prune"),
        ("steps: [{prune: 0.5}]", "steps[0].prune", "recipe-wrong-type", "expected a mapping, found the number", ""),
        ("steps: [[prune]]", "steps[0]", "recipe-wrong-type", "one step with its settings, found a list", "- name"),
        ("steps: [{a: 1, b: 2}]", "steps[0]", "recipe-wrong-type", "found the keys `a`, `b`", "- name"),
        ("steps: [finetune]", "steps[0].finetune", "recipe-missing-key", "missing key `epochs`", "passes"),
        ("steps: {}", "steps", "recipe-wrong-type", "expected a list, found a mapping", ""),
        (
            "steps: [{finetune: {epochs: 1, augment: data}}]",
            "steps[0].finetune.augment",
            "recipe-out-of-range",
            "`data` has not the form",
            "path.py:function",
        ),
        (
            "steps: [{sparsify: {pattern: 2:4, for_size: true}}, {prune: {channel_ratio: 0.5}}]",
            "steps[1]",
            "recipe-conflict",
            "breaks its pattern",
            "put `prune` before",
        ),
        (
            "steps: [{sparsify: {pattern: 2:4}}]",
            "steps[0].sparsify.pattern",
            "recipe-conflict",
            "no runtime on x86-64 skips zeros",
            "or write `for_size: true`",
        ),
        (
            "steps: [{prune: {channel_ratio: 0.5, macs_ratio: 0.5}}]",
            "steps[0].prune.macs_ratio",
            "recipe-conflict",
            "both given",
            "keep one",
        ),
        ("steps: [prune]", "steps[0].prune.channel_ratio", "recipe-conflict", "no target is given", "give one"),
    ],
)
def test_a_fault_names_its_key_and_how_to_mend_it(line: str, key: str, code: str, message: str, hint: str) -> None:
    problem = fault(MINIMAL + line + "\n")
    assert problem.where == f"kws/recipe.yaml:8 {key}"
    assert problem.code == code
    assert message in problem.message
    assert problem.hint
    assert hint in problem.hint


def test_settings_that_are_not_indented_under_their_step_are_told_so() -> None:
    problem = fault(MINIMAL + "steps:\n  - prune:\n    channel_ratio: 0.5\n    round_to: 4\n")
    assert problem.message == "`channel_ratio`, `round_to` beside `prune`, not in it"
    assert problem.hint == "indent them further, under `prune:`"


def test_two_steps_in_one_item_are_told_apart() -> None:
    problem = fault(MINIMAL + "steps:\n  - prune: {channel_ratio: 0.5}\n    finetune: {epochs: 1}\n")
    assert problem.message == "2 steps in one item"


def test_a_misspelt_required_key_is_one_fault_not_two() -> None:
    problem = fault(MINIMAL.replace('entry: "model', 'entri: "model'))
    assert (problem.message, problem.hint) == ("unknown key `entri`", "did you mean `entry`?")


def test_a_missing_source_names_the_sources() -> None:
    problem = fault(MINIMAL.replace('source: python, entry: "model.py:build"', "entry: a"))
    assert (problem.where, problem.message) == ("kws/recipe.yaml:3 model", "missing key `source`")
    assert "python, hf, onnx, tflite" in problem.hint


def test_a_misspelt_source_key_is_recognised() -> None:
    assert fault(MINIMAL.replace("model: {source:", "model: {sourc:")).hint == "`sourc` should be `source`"


def test_a_value_on_a_later_line_has_that_line() -> None:
    problem = fault(MINIMAL + "budget:\n  size_mb: 5\n\n  metric_drop: 2\n")
    assert problem.where == "kws/recipe.yaml:11 budget.metric_drop"


def test_a_name_with_a_line_break_is_refused() -> None:
    assert fault(MINIMAL.replace("name: tiny", 'name: "tiny\\n"')).code == "recipe-out-of-range"


def test_operations_get_their_defaults() -> None:
    text = (
        MINIMAL
        + "preprocess:\n  - normalise: {mean: [0.5, 1]}\n  - layout: {to: CHW, from: HW}\npostprocess: [softmax]\n"
    )
    recipe = parse(text).recipe
    normalise, layout = recipe.preprocess
    assert normalise.settings == {"input": None, "scale": 1.0, "mean": [0.5, 1.0], "std": 1.0, "axis": -1}
    assert layout.settings == {"input": None, "to": "CHW", "from": "HW"}
    assert (recipe.postprocess[0].op, recipe.postprocess[0].settings) == ("softmax", {"output": None})


def test_arguments_of_entries_pass_as_they_are_written() -> None:
    text = MINIMAL.replace('build"}', 'build", args: {a: [1, {b: yes}], c: 1e-3, d: null, e: false}}')
    model = parse(text).recipe.model
    assert isinstance(model, PythonModel)
    assert model.args == {"a": [1, {"b": "yes"}], "c": 0.001, "d": None, "e": False}


def test_a_place_is_named_even_for_a_key_that_is_not_written() -> None:
    loaded = parse(PRUNE, "budget.size_mb=3")
    assert loaded.where("steps[0].prune.channel_ratio") == "kws/recipe.yaml:9 steps[0].prune.channel_ratio"
    assert loaded.where("steps[1].distill.alpha") == "kws/recipe.yaml:10 steps[1].distill.alpha"
    assert loaded.where("provenance.origin") == "kws/recipe.yaml:1 provenance.origin"
    assert loaded.where("budget.size_mb") == "--set budget.size_mb"
    assert loaded.where("") == "kws/recipe.yaml:1"
    assert loaded.lines["steps[1].distill.epochs"] == 10


@pytest.mark.parametrize(
    ("where", "located"),
    [
        ("steps[0].prune", "kws/recipe.yaml:9 steps[0].prune"),
        ("steps[0].prune.ignore[1]", "kws/recipe.yaml:9 steps[0].prune.ignore[1]"),
        ("steps[1].distill.epochs", "--set steps[1].distill.epochs"),
        ("artifacts[0] body.conv2", "kws/recipe.yaml:7 artifacts[0] body.conv2"),
        ("model.entry", "kws/recipe.yaml:3 model.entry"),
        ("device", "kws/recipe.yaml:1 device"),
        ("kws/recipe.yaml:9 steps[0].prune", "kws/recipe.yaml:9 steps[0].prune"),
        ("--set budget.size_mb", "--set budget.size_mb"),
        ("model.0.weight", "model.0.weight"),
        ("model.onnx", "model.onnx"),
        ("kws/model.py:8", "kws/model.py:8"),
        ("baseline", "baseline"),
        ("", ""),
    ],
)
def test_an_error_of_a_run_that_names_a_key_gets_its_line_once(where: str, located: str) -> None:
    loaded = parse(PRUNE, "steps[1].distill.epochs=4")
    with pytest.raises(StepError) as caught, loaded.locating(), loaded.locating():
        raise StepError("no", where=where, code="step-changed-nothing")
    assert caught.value.problems[0].where == located


def test_a_recipe_of_plain_data_has_no_lines_to_name() -> None:
    data = {"version": 1, "name": "kws", "model": {"source": "object"}, "data": {"source": "object"}}
    loaded = load_recipe(data | {"task": {"kind": "classification"}, "artifacts": [{"format": "onnx"}]})
    with pytest.raises(StepError) as caught, loaded.locating():
        raise StepError("no", where="artifacts[0] conv", code="step-changed-nothing")
    assert caught.value.problems[0].where == "artifacts[0] conv"


class Strange(StepConfig, tag="strange", frozen=True, kw_only=True):
    """A plug-in's step, with types and rules that ours do not have."""

    pair: tuple[int, Annotated[int, Meta(ge=1)]] = (1, 1)
    on: bool = False
    text: Annotated[str, Meta(min_length=2)] = "ab"

    def __post_init__(self) -> None:
        if self.text == "no":
            raise ValueError("no is no answer")


@pytest.mark.parametrize(
    ("settings", "key", "message"),
    [
        ("{pair: [1, 0]}", "steps[0].strange.pair", "Expected `int` >= 1"),
        ("{on: yes}", "steps[0].strange.on", "expected true or false, found the text `yes`"),
        ("{text: a}", "steps[0].strange.text", "`a` has 1 characters: at least 2"),
        ('{text: "no"}', "steps[0].strange", "no is no answer"),
    ],
)
def test_a_step_of_another_package_is_checked_likewise(
    monkeypatch: pytest.MonkeyPatch, settings: str, key: str, message: str
) -> None:
    monkeypatch.setattr("edgeglm.recipe.walk.step_types", lambda: {"strange": Strange, "finetune": Finetune})
    good = parse(MINIMAL + "steps: [{strange: {pair: [2, 3], on: true}}]\n").recipe
    assert good.steps == [Strange(pair=(2, 3), on=True)]
    problem = fault(MINIMAL + f"steps: [{{strange: {settings}}}]\n")
    assert problem.where == f"kws/recipe.yaml:8 {key}"
    assert message in problem.message


def test_an_override_of_a_struct_names_the_deepest_key() -> None:
    walker = Walker("r.yaml")
    walker.lines = {"": 1, "a": 2, "a.b[3]": 5}
    assert walker.where("a.b[3].c") == "r.yaml:5 a.b[3].c"
    assert walker.where("a.b[2].c") == "r.yaml:2 a.b[2].c"


def write(folder: Path, content: bytes) -> Path:
    path = folder / "recipe.yaml"
    path.write_bytes(content)
    return path


def caught(path: Path | str, **settings: Any) -> RecipeError:
    with pytest.raises(RecipeError) as error:
        load_recipe(path, **settings)
    return error.value


def test_a_file_is_loaded_and_paths_are_relative_to_its_folder(tmp_path: Path) -> None:
    loaded = load_recipe(str(write(tmp_path, b"\xef\xbb\xbf" + MINIMAL.encode())))
    assert (loaded.recipe.name, loaded.folder) == ("tiny", tmp_path)


def test_a_missing_file_names_one_with_a_like_name(tmp_path: Path) -> None:
    path = write(tmp_path, b"")
    error = caught(tmp_path / "recipee.yaml")
    assert (error.code, error.problems[0].hint) == ("recipe-not-found", f"did you mean {path}?")
    assert caught(tmp_path / "x" / "recipe.yaml").code == "recipe-not-found"
    assert caught(path / "recipe.yaml").code == "recipe-not-found"
    assert caught("a\0b").code == "recipe-unreadable"


def test_a_folder_is_refused_and_its_recipe_named(tmp_path: Path) -> None:
    path = write(tmp_path, b"")
    error = caught(tmp_path)
    assert (error.code, error.problems[0].hint) == ("recipe-unreadable", f"did you mean {path}?")


def test_a_file_that_cannot_be_read_says_why(tmp_path: Path) -> None:
    error = caught(tmp_path / ("x" * 300))
    assert (error.code, error.problems[0].message) == ("recipe-unreadable", "cannot be read: File name too long")


@pytest.mark.parametrize(
    ("content", "where", "code"),
    [
        (b"", "", "recipe-empty"),
        (b"# nothing\n", "", "recipe-empty"),
        (b"---\n", "", "recipe-empty"),
        (b"- a\n", ":1", "recipe-wrong-type"),
        (b"\nplain text\n", ":2", "recipe-wrong-type"),
        (b"a: 1\nb: \xff\n", ":2", "recipe-not-yaml"),
        (MINIMAL.encode("utf-16"), ":1", "recipe-not-yaml"),
        (b"#" * (256 * 1024 + 1), "", "recipe-too-large"),
    ],
)
def test_what_is_no_recipe_is_one_error(tmp_path: Path, content: bytes, where: str, code: str) -> None:
    path = write(tmp_path, content)
    (problem,) = caught(path).problems
    assert (problem.where, problem.code) == (f"{path}{where}", code)
    assert problem.hint


FULL = (
    MINIMAL
    + """\
  - {format: tflite, quantize: {scheme: static-int8, ignore: ["re:.*head", "a b: c", "#x", "1e-3", "yes", "null"]}}
  - format: tflite
    quantize: {scheme: dynamic-int8, layers: [{match: words, scheme: weight-only-int4, block_size: 64}]}
labels: ["0", "é", "a'b", 'c"d', "tab\\t", "\\U0001F600", "", "~", " x", "-", "2024-01-01", "0x1F", "...", "a\\u2028b"]
preprocess: [{resize: {height: 8, width: 8}}, {normalise: {mean: [0.5], scale: 1/255}}]
postprocess: [softmax, {top-k: {k: 2}}, labels]
steps:
  - prune: {channel_ratio: 0.1, iterations: 3}
  - distill: {epochs: 12, learning_rate: 1e-30, clip_norm: null}
robustness: [{noise: {std: 0.1}}, {blur: {sigma: 2, axes: [-1]}}, {entry: ./shifts.py:fog}]
budget: {metric_drop: 0.01, size_mb: 1e+22}
threads: 2
"""
)


@pytest.mark.parametrize("text", [MINIMAL, PRUNE, FULL])
def test_a_resolved_recipe_loads_to_an_equal_one_and_writes_every_default(text: str) -> None:
    recipe = parse(text).recipe
    resolved = dump_recipe(recipe)
    again = parse(resolved)
    assert again.recipe == recipe
    assert dump_recipe(again.recipe) == resolved
    written = set(again.lines)
    for index, step in enumerate(recipe.steps):
        names = {f"steps[{index}].{type(step).__struct_config__.tag}.{name}" for name in step.__struct_fields__}
        assert names <= written
    assert {field.name for field in msgspec.structs.fields(recipe)} <= written


@pytest.mark.parametrize(
    ("override", "hint"),
    [
        ("budget.on_violation=fail", "`on_violation` belongs at the top level, not indented"),
        ("metric_drop=0.1", "`metric_drop` belongs under `budget`"),
        ("data.calibration=3", "`calibration` belongs under `quantize` of an artifact or under `data.fractions`"),
        ("model.epochs=3", "`epochs` belongs in the step `distill` or in the step `finetune`"),
        ("data.weights=m.pt", "`weights` belongs under `model`, with `source: python`"),
        ("data.path=photos", "`path` is for `data` with `source` `npz`, `csv`, `images` or `text`"),
        ("task.neighbours=3", "`neighbours` is for `task` with `kind` `embedding`"),
        ("data.entri=x", "did you mean `entry`?"),
    ],
)
def test_a_key_of_another_level_is_sent_there(override: str, hint: str) -> None:
    assert fault(MINIMAL, override).hint == hint


@pytest.mark.parametrize(
    ("override", "hint"),
    [
        ("preprocess=[{resize: 224}]", "write `- resize: {height: 224, width: 224}`"),
        ("preprocess=[{layout: CHW}]", "write `- layout: {to: CHW}`"),
        ("steps=[{prune: 0.5}]", "write `- prune: {channel_ratio: 0.5}`"),
        ("steps=[{distill: 10}]", "write `- distill: {epochs: 10}`"),
        ("steps=prune", "write [prune]"),
        ("slices=device", "write [device]"),
        ("artifacts=autos", "did you mean `auto`?"),
        ("artifacts=openvino", "write [{format: openvino}], or `artifacts: auto`"),
        ("artifacts=int8", "write [{format: ...}], or `artifacts: auto`"),
        ("artifacts[0].quantize={scheme: static-int8, layers: stem}", "write [{match: stem, scheme: ...}]"),
        ("budget.metric_drop=2", "`metric_drop` is: a fraction, 0 to 1: 0.01 is one point lost"),
    ],
)
def test_a_value_in_place_of_settings_is_shown_in_its_form(override: str, hint: str) -> None:
    assert fault(MINIMAL, override).hint == hint
