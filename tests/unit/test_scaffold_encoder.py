"""`init` for a text encoder: the recipe that it writes is right, and loads."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from edgeglm_agent.processing import Preprocess
from edgeglm_agent.wire import ProcessOp

from edgeglm.checks.check import check_recipe
from edgeglm.errors import EdgeglmError, UserError
from edgeglm.recipe import load_recipe
from edgeglm.scaffold import init
from edgeglm.sources import HfModel
from edgeglm.sources.entry import Entries
from tests.support.checkpoints import save_tiny
from tests.support.texts import WORDS, save_tokenizer


def checkpoint(folder: Path, kind: str, **changes: Any) -> Path:
    save_tiny(folder, kind, **changes)
    save_tokenizer(folder / "tokenizer.json")
    return folder


def texts(folder: Path, suffix: str, line: str) -> None:
    (folder / "texts").mkdir()
    for name, first in (("train", 0), ("eval", 100)):
        lines = [line.format(text=" ".join(WORDS[int(d)] for d in str(first + n)), n=n % 2) for n in range(40)]
        (folder / "texts" / f"{name}.{suffix}").write_text("\n".join(lines))


@pytest.mark.parametrize(
    ("kind", "changes", "suffix", "line", "output"),
    [
        pytest.param("BertModel", {}, "txt", "{text}", ("embedding", (16,)), id="embedding"),
        pytest.param(
            "BertForSequenceClassification",
            {"id2label": {0: "calm", 1: "angry"}, "label2id": {"calm": 0, "angry": 1}},
            "tsv",
            "{text}\t{n}",
            ("logits", (2,)),
            id="classification",
        ),
    ],
)
def test_the_recipe_is_right_and_loads_model_and_texts(
    tmp_path: Path, kind: str, changes: Any, suffix: str, line: str, output: tuple[str, tuple[int, ...]]
) -> None:
    started = init(tmp_path / "mine", model=checkpoint(tmp_path / "encoder", kind, **changes))
    assert [path.name for path in started.files] == ["recipe.yaml"]
    assert f"texts/train.{suffix} and eval.{suffix}" in started.to_do[0]
    texts(tmp_path / "mine", suffix, line)
    assert check_recipe(started.files[0]).loaded.recipe.labels == (["calm", "angry"] if "id2label" in changes else [])
    loaded = load_recipe(started.files[0])
    recipe, entries = loaded.recipe, Entries(loaded.folder)
    preprocess = Preprocess([ProcessOp(op.op, op.settings) for op in recipe.preprocess], folder=loaded.folder)
    data = recipe.data.load(entries, preprocess=preprocess, task=recipe.task, labels=(), seed=0)
    rows = data.evaluation.rows(np.arange(4))
    assert rows["input_ids"].shape == (4, 32)  # no longer than the encoder takes
    model = recipe.model.load(entries, rows)
    assert [(spec.name, spec.shape) for spec in model.outputs] == [output]


def test_pooling_is_that_of_sentence_transformers_where_it_says_so(tmp_path: Path) -> None:
    folder = checkpoint(tmp_path / "encoder", "BertModel")
    (folder / "1_Pooling").mkdir()
    said = {"pooling_mode_cls_token": True, "pooling_mode_mean_tokens": False}
    (folder / "1_Pooling" / "config.json").write_text(json.dumps(said))
    model = load_recipe(init(tmp_path / "mine", model=folder).files[0]).recipe.model
    assert isinstance(model, HfModel)
    assert (model.task, model.pooling) == ("embedding", "cls")


def test_a_checkpoint_without_a_tokenizer_leaves_that_to_the_user(tmp_path: Path) -> None:
    folder = checkpoint(tmp_path / "encoder", "BertModel")
    (folder / "tokenizer.json").unlink()
    assert "has no tokenizer.json" in init(tmp_path / "mine", model=folder).to_do[0]


@pytest.mark.parametrize(("option", "given"), [("--images", {"images": Path()}), ("--entry", {"entry": "m.py:f"})])
def test_an_encoder_takes_neither_images_nor_an_entry(tmp_path: Path, option: str, given: Any) -> None:
    with pytest.raises(UserError, match="folder of a text encoder") as caught:
        init(tmp_path / "mine", model=checkpoint(tmp_path / "encoder", "BertModel"), **given)
    assert caught.value.problems[0].where == option
    assert not (tmp_path / "mine").exists()


def test_a_folder_that_is_no_checkpoint_is_refused(tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    with pytest.raises(EdgeglmError, match=r"no config\.json") as caught:
        init(tmp_path / "mine", model=tmp_path / "other")
    assert caught.value.code == "model-file-missing"


@pytest.mark.parametrize(
    ("files", "option", "said", "hint", "code"),
    [
        pytest.param(["m.onnx"], "", r"no config\.json", "--model {folder}/m.onnx", "model-file-missing", id="a file"),
        pytest.param(["cat/1.JPG"], "", r"no config\.json", "--images {folder}", "model-file-missing", id="images"),
        pytest.param(["cat/1.JPG"], "--images", r"that of a text encoder", "--images", "model-file-missing", id="both"),
        pytest.param([], "--entry", r"no config\.json", "save_pretrained", "model-file-missing", id="nothing"),
        pytest.param(["in/config.json"], "--images", r"no config\.json", "did you mean", "model-file-missing", id="in"),
        pytest.param(
            ["config.json", "model.safetensors"], "--images", "a `vit` without a `vocab_size`",
            "--model {folder}/model.safetensors", "hf-architecture", id="of images",
        ),
    ],
)  # fmt: skip
def test_a_folder_is_called_a_text_encoder_only_once_it_is_one(
    tmp_path: Path, files: list[str], option: str, said: str, hint: str, code: str
) -> None:
    folder = tmp_path / "other"
    folder.mkdir()
    for name in files:
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text('{"model_type": "vit"}')
    given: Any = {"": {}, "--images": {"images": folder}, "--entry": {"entry": "m.py:f"}}[option]
    with pytest.raises(EdgeglmError, match=said) as caught:
        init(tmp_path / "mine", model=folder, **given)
    (problem,) = caught.value.problems
    assert (problem.where, problem.code) == (str(folder), code)
    assert hint.format(folder=folder) in problem.hint


def test_what_a_text_model_needs_is_warned_of_where_it_is_not_installed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    started = init(tmp_path / "mine", model=checkpoint(tmp_path / "encoder", "BertModel"))
    texts(tmp_path / "mine", "txt", "{text}")
    assert not check_recipe(started.files[0]).warnings
    monkeypatch.setattr("edgeglm.checks.check.find_spec", lambda _: None)
    said = [(warning.message, warning.hint) for warning in check_recipe(started.files[0]).warnings]
    assert said == [
        (f"{name} is not installed here", "pip install 'edgeglm[hf]'") for name in ("transformers", "tokenizers")
    ]
