"""What `edgeglm check` finds in the files of data, tokenizers and encoders, and how a run says the same."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import save_file
from tokenizers import Tokenizer
from tokenizers.models import Unigram

import edgeglm
from edgeglm.checks.check import check_recipe
from edgeglm.errors import Problem, RecipeError, UserError
from edgeglm.recipe import load_recipe
from edgeglm.sources.hf_folder import most_tokens
from edgeglm.sources.tokenizer_file import greatest_token
from tests.support.texts import save_tokenizer

RECIPE = """\
version: 1
name: pumps
model: {source: python, entry: "model.py:build"}
data:
  source: csv
  path: pumps.csv
  target: state
slices:
  - site
task: {kind: classification}
artifacts: [{format: onnx}]
"""
TEXTS = """\
version: 1
name: texts
model: {source: python, entry: "model.py:build"}
data: {source: text, path: texts}
task: {kind: classification}
preprocess:
  - tokenize: {tokenizer: tokenizer.json, length: 16}
artifacts: [{format: onnx}]
"""


def write(folder: Path, recipe: str, files: dict[str, str]) -> Path:
    for name, text in {"recipe.yaml": recipe, "model.py": "def build(): ...\n", **files}.items():
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text(text)
    return folder


def problems(folder: Path, *overrides: str) -> list[Problem]:
    with pytest.raises(RecipeError) as caught:
        check_recipe(folder / "recipe.yaml", overrides)
    for problem in caught.value.problems:
        assert problem.hint
    return list(caught.value.problems)


def table(head: str = "heat,site,state", rows: int = 30, mark: str = ",") -> str:
    return "\n".join([head, *(mark.join((f"{n}", "ab"[n % 2], "01"[n % 2])) for n in range(rows))])


@pytest.fixture
def pumps(tmp_path: Path) -> Path:
    return write(tmp_path, RECIPE, {"pumps.csv": table()})


@pytest.fixture
def texts(tmp_path: Path) -> Path:
    rows = "\n".join(f"the pump is hot {n}\t{n % 2}" for n in range(9))
    save_tokenizer(tmp_path / "tokenizer.json")
    return write(tmp_path, TEXTS, {"texts/train.tsv": rows, "texts/eval.tsv": rows})


def test_every_column_that_is_not_there_is_named_at_its_key(pumps: Path) -> None:
    check_recipe(pumps / "recipe.yaml")
    (pumps / "pumps.csv").write_text(table("heat,sight,stat"))
    found = problems(pumps, "data.group=machine", "data.categorical={kind: [a]}")
    recipe = pumps / "recipe.yaml"
    assert [problem.where for problem in found] == [
        "--set data.categorical.kind", f"{recipe}:7 data.target", "--set data.group", f"{recipe}:9 slices[0]",
    ]  # fmt: skip
    assert found[1].message == f"`{pumps / 'pumps.csv'}:1` has no column `state`"
    assert found[1].hint == "did you mean `stat`?"
    assert {problem.code for problem in found} == {"data-columns"}


def test_a_run_names_the_key_of_a_missing_column_too(pumps: Path) -> None:
    (pumps / "pumps.csv").write_text(table("heat,site,stat"))
    with pytest.raises(UserError, match="has no column `state`") as caught:
        edgeglm.compress(pumps / "recipe.yaml", output=pumps / "out")
    assert caught.value.problems[0].where == f"{pumps / 'recipe.yaml'}:7 data.target"


@pytest.mark.parametrize(
    ("text", "override", "hint"),
    [
        pytest.param(table(mark=";").replace(",", ";"), "data.ignore=[]", 'delimiter: ";"', id="delimiter"),
        pytest.param(table("3,4,5"), "data.ignore=[]", "`header: false`", id="no header"),
        pytest.param(table(), "data.header=false", "called 1 to 3", id="numbered"),
        pytest.param(table(mark="\t").replace(",", "\t"), "data.ignore=[]", 'delimiter: "\\t"', id="tabs"),
    ],
)
def test_a_table_of_another_form_is_recognised(pumps: Path, text: str, override: str, hint: str) -> None:
    (pumps / "pumps.csv").write_text(text)
    assert hint in problems(pumps, override)[0].hint


@pytest.mark.parametrize(
    ("rows", "overrides", "said"),
    [
        pytest.param(12, ["data.window=13"], "12 rows, of which 2 are for `eval`, and a window takes 13", id="whole"),
        pytest.param(40, ["data.window=9"], "40 rows, of which 8 are for `eval`", id="share of it"),
        pytest.param(40, ["data.window=5", "data.horizon=4"], "a window takes 5 and 4 to predict", id="horizon"),
        pytest.param(40, ["data.window=8", "data.gap=1"], "of which 7 are for `eval`", id="gap"),
    ],
)
def test_a_window_that_cannot_fit_is_found_before_the_run(
    pumps: Path, rows: int, overrides: list[str], said: str
) -> None:
    (pumps / "pumps.csv").write_text(table(rows=rows))
    (found,) = problems(pumps, "data.features=[heat]", "task={kind: regression}", *overrides)
    assert (found.code, said in found.message) == ("data-too-few", True), found.message
    assert found.where == "--set data.window"
    check_recipe(pumps / "recipe.yaml", ["data.features=[heat]", "task={kind: regression}", "data.window=2"])


@pytest.mark.parametrize(
    ("overrides", "where", "said", "hint"),
    [
        (["data={source: csv, path: pumps.csv}"], "data.target", "no column of targets", "`target: ` and the column"),
        (["data={source: npz, path: d.npz, targets: null}"], "data.targets", "no array of targets", "name of the"),
        (
            ["task={kind: detection}", "postprocess=[{boxes: {format: xyxy}}]"],
            "data.source", "judged by boxes", "source: npz",
        ),
        (["task={kind: segmentation}"], "data.source", "judged by a map of classes", "source: python"),
        (
            ["data={source: text, path: texts, tsv: pairs}", "preprocess=[{tokenize: {tokenizer: t, length: 9}}]"],
            "data.tsv", "kind: embedding", "tsv: labels",
        ),
    ],
)  # fmt: skip
def test_a_source_without_the_targets_that_the_task_needs_is_refused(
    pumps: Path, overrides: list[str], where: str, said: str, hint: str
) -> None:
    found = next(problem for problem in problems(pumps, "slices=[]", *overrides) if problem.where.endswith(where))
    assert found.code == "recipe-conflict"
    assert said in found.message
    assert hint in found.hint
    assert "return (inputs, targets)" not in found.hint


def test_texts_without_labels_are_told_how_labels_are_written(texts: Path) -> None:
    check_recipe(texts / "recipe.yaml")
    (texts / "texts" / "eval.tsv").rename(texts / "texts" / "eval.txt")
    (found,) = problems(texts)
    assert (found.code, found.where) == ("data-no-targets", f"{texts / 'recipe.yaml'}:4 data.path")
    assert "write eval.tsv" in found.hint
    (texts / "texts" / "train.tsv").rename(texts / "texts" / "train.txt")
    check_recipe(texts / "recipe.yaml", ["task={kind: embedding}"])


def test_labels_of_texts_are_no_scored_pairs(texts: Path) -> None:
    (found,) = problems(texts, "task={kind: embedding}")
    assert (found.code, found.where) == ("data-targets", f"{texts / 'recipe.yaml'}:4 data.tsv")
    assert "tsv: pairs" in found.hint


def test_columns_of_texts_are_looked_for_too(texts: Path) -> None:
    rows = "sentence\tlabel\n" + (texts / "texts" / "eval.tsv").read_text()
    for name in ("train", "eval"):
        (texts / "texts" / f"{name}.tsv").write_text(rows)
    (found,) = problems(texts, "data.header=true")
    assert (found.code, found.where) == ("data-columns", f"{texts / 'recipe.yaml'}:4 data.text")
    (found,) = problems(texts, "data.header=true", "data.text=sentense")
    assert (found.where, found.hint) == ("--set data.text", "did you mean `sentence`?")
    (found,) = problems(texts, "slices=[device]")
    assert (found.where, "header: true" in found.hint) == ("--set slices[0]", True)


def test_arrays_of_groups_and_slices_are_looked_for_too(pumps: Path) -> None:
    np.savez(pumps / "d.npz", x=np.zeros(3), y=np.zeros(3))
    found = problems(pumps, "data={source: npz, path: d.npz, group: machine}")
    assert [(problem.where, problem.code) for problem in found] == [
        ("--set data.group", "data-array-missing"),
        (f"{pumps / 'recipe.yaml'}:9 slices[0]", "data-array-missing"),
    ]


@pytest.mark.parametrize(
    ("files", "written", "code", "said", "hint"),
    [
        pytest.param({}, "none.json", "file-missing", "no file `none.json`", "tokenizer.json", id="missing"),
        pytest.param({"old/vocab.txt": "a"}, "old/tokenizer.json", "file-missing", "no file", "has vocab.txt alone",
                     id="old kind"),
        pytest.param({"old/a": "a"}, "old", "tokenizer-invalid", "is a folder", "it has no tokenizer.json",
                     id="folder"),
        pytest.param({"old/vocab.txt": "a"}, "old", "tokenizer-invalid", "is a folder", "it has vocab.txt, and no",
                     id="old folder"),
        pytest.param({"vocab.txt": "a"}, "vocab.txt", "tokenizer-invalid", "older kind", "save_pretrained", id="words"),
        pytest.param({"t.json": "{"}, "t.json", "tokenizer-invalid", "not JSON", "copy the file again", id="cut"),
        pytest.param({"t.json": "[" * 100_000}, "t.json", "tokenizer-invalid", "not JSON", "copy the file", id="deep"),
        pytest.param({"c.json": "{}"}, "c.json", "tokenizer-invalid", "no `model`", "which is beside it", id="config"),
        pytest.param({"t.json": '{"model": {}}'}, "t.json", "tokenizer-invalid", "t.json is no tokenizer.json",
                     "save_pretrained", id="refused by the library"),
    ],
)  # fmt: skip
def test_what_is_no_tokenizer_is_refused_at_its_key(
    texts: Path, files: dict[str, str], written: str, code: str, said: str, hint: str
) -> None:
    write(texts, TEXTS.replace("tokenizer.json", written), files)
    (found,) = problems(texts)
    assert (found.code, said in found.message, hint in found.hint) == (code, True, True), str(found)
    assert found.where.startswith(f"{texts / 'recipe.yaml'}:7 preprocess[0].tokenize")


@pytest.mark.parametrize("written", [".", "./", "sub/.."])
def test_the_folder_of_a_tokenizer_stands_for_its_file(texts: Path, written: str) -> None:
    (texts / "sub").mkdir()
    write(texts, TEXTS.replace("tokenizer.json", written), {})
    check_recipe(texts / "recipe.yaml", ())
    (step,) = load_recipe(texts / "recipe.yaml").recipe.preprocess
    assert step.settings["tokenizer"] == f"{written.rstrip('/')}/tokenizer.json"


def test_a_length_without_room_for_text_is_refused(texts: Path) -> None:
    (found,) = problems(texts, "preprocess[0].tokenize.length=2")
    assert (found.code, "leaves no room" in found.message) == ("tokenizer-invalid", True)
    assert found.where == "--set preprocess[0].tokenize.length"
    assert found.hint.endswith("give more")


def encoder(folder: Path, **config: Any) -> None:
    folder.mkdir(exist_ok=True)
    (folder / "config.json").write_text(json.dumps({"model_type": "bert", "max_position_embeddings": 12, **config}))
    save_file({"weight": np.zeros(3, np.float32)}, folder / "model.safetensors")


def test_more_tokens_than_an_encoder_has_positions_are_refused(texts: Path) -> None:
    encoder(texts / "bert")
    model = "model={source: hf, path: bert, task: classification}"
    (found,) = problems(texts, model)
    assert (found.code, found.where) == ("model-positions", f"{texts / 'recipe.yaml'}:7 preprocess[0].tokenize.length")
    assert "16 tokens, and the model has positions for 12" in found.message
    assert "write 12 or less" in found.hint
    check_recipe(texts / "recipe.yaml", [model, "preprocess[0].tokenize.length=12"])


@pytest.mark.parametrize(
    ("config", "outputs"),
    [
        pytest.param({"id2label": {"0": "a", "1": "b", "2": "c"}}, 3, id="named"),
        pytest.param({"num_labels": 4}, 4, id="counted"),
        pytest.param({}, 2, id="what transformers leaves out"),
    ],
)
def test_as_many_labels_are_wanted_as_an_encoder_has_classes(texts: Path, config: dict[str, Any], outputs: int) -> None:
    encoder(texts / "bert", max_position_embeddings=64, **config)
    model = "model={source: hf, path: bert, task: classification}"
    names = "abcde"
    check_recipe(texts / "recipe.yaml", [model])
    check_recipe(texts / "recipe.yaml", [model, f"labels=[{', '.join(names[:outputs])}]"])
    (found,) = problems(texts, model, "labels=[a, b, c, d, e]")
    assert (found.code, found.where) == ("labels-mismatch", "--set labels")
    assert f"there are 5 labels, and the model has {outputs} classes" in found.message
    write(texts, TEXTS, {"labels.txt": "\n".join(names)})
    assert problems(texts, model, "labels=labels.txt")[0].code == "labels-mismatch"


@pytest.mark.parametrize(
    ("rows", "extra", "token"),
    [
        pytest.param(14, [], None, id="as many as there are tokens"),
        pytest.param(13, [], "leaks", id="a word too many"),
        pytest.param(14, ["[NEW]"], "[NEW]", id="an added token"),
    ],
)
def test_a_tokenizer_of_more_tokens_than_an_encoder_has_rows_is_refused(
    texts: Path, rows: int, extra: list[str], token: str | None
) -> None:
    encoder(texts / "bert", vocab_size=rows, max_position_embeddings=64)
    tokenizer = Tokenizer.from_file(str(texts / "tokenizer.json"))
    tokenizer.add_special_tokens(extra)
    tokenizer.save(str(texts / "tokenizer.json"))
    model = "model={source: hf, path: bert, task: classification}"
    if token is None:
        check_recipe(texts / "recipe.yaml", [model])
        return
    (found,) = problems(texts, model)
    assert (found.code, found.where) == (
        "model-vocabulary", f"{texts / 'recipe.yaml'}:7 preprocess[0].tokenize.tokenizer",
    )  # fmt: skip
    assert f"from 0 to {rows} (`{token}`)" in found.message
    assert f"has {rows} rows" in found.message


def test_the_tokens_of_a_unigram_tokenizer_are_counted_too(tmp_path: Path) -> None:
    path = tmp_path / "tokenizer.json"
    model = Unigram([("<unk>", 0.0), ("a", -1.0), ("b", -2.0)], unk_id=0)
    Tokenizer(model).save(str(path))
    assert greatest_token(path) == ("b", 2)
    assert greatest_token(tmp_path / "none.json") == ("", -1)
    path.write_text("[]")
    assert greatest_token(path) == ("", -1)


def test_weights_of_an_encoder_that_were_cut_short_are_found(texts: Path) -> None:
    encoder(texts / "bert")
    path = texts / "bert" / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-4])
    (found,) = problems(
        texts, "model={source: hf, path: bert, task: classification}", "preprocess[0].tokenize.length=8"
    )
    assert (found.code, found.where) == ("weights-corrupt", "--set model.path")


def test_a_teacher_is_looked_at_like_the_model(texts: Path) -> None:
    step = "steps=[{distill: {epochs: 1, teacher: {source: hf, path: none, task: classification}}}]"
    (found,) = problems(texts, step)
    assert (found.code, found.where) == ("model-file-missing", "--set steps[0].distill.teacher.path")


@pytest.mark.parametrize(
    ("config", "most"),
    [
        ({"model_type": "bert", "max_position_embeddings": 512}, 512),
        ({"model_type": "roberta", "max_position_embeddings": 514, "pad_token_id": 1}, 512),
        ({"model_type": "modernbert", "max_position_embeddings": 8192}, None),
        ({"model_type": "bert"}, None),
    ],
)
def test_positions_are_counted_as_the_encoder_does(config: dict[str, Any], most: int | None) -> None:
    assert most_tokens(config) == most
