"""Encoders from a local folder of transformers."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from edgeglm.data.splits import ArraySplit
from edgeglm.errors import MissingExtraError, ModelError, RecipeError, UserError
from edgeglm.log import SilentLog
from edgeglm.model import Model
from edgeglm.nn.inference import predict
from edgeglm.pipeline.project import Project, open_project
from edgeglm.recipe import load_recipe
from edgeglm.sources import HfModel
from edgeglm.sources.entry import Entries
from tests.support.checkpoints import save_tiny
from tests.support.texts import WORDS, save_tokenizer

MASK = np.array([[1] * 8, [1] * 5 + [0] * 3, [1] * 2 + [0] * 6], np.int64)
SAMPLE = {"input_ids": np.arange(3 * 8).reshape(3, 8) % 40 * MASK, "attention_mask": MASK}
TYPED = {**SAMPLE, "token_type_ids": np.zeros((3, 8), np.int64)}


def load(folder: Path, sample: Any = SAMPLE, task: str = "embedding", **settings: Any) -> Model:
    return HfModel(path=folder.name, task=task, **settings).load(Entries(folder.parent), sample)  # type: ignore[arg-type]


def answer(model: Model, sample: Any = SAMPLE) -> np.ndarray:
    (values,) = predict(model, ArraySplit(sample, None), threads=1).values()
    return values


@pytest.mark.parametrize("pooling", ["mean", "cls", "max"])
def test_tokens_that_are_no_padding_are_pooled(tmp_path: Path, pooling: str) -> None:
    network = save_tiny(tmp_path / "m")
    model = load(tmp_path / "m", pooling=pooling, normalise=False)
    assert [(spec.name, spec.dtype, spec.shape) for spec in model.inputs] == [
        ("input_ids", "int64", (8,)),
        ("attention_mask", "int64", (8,)),
    ]
    assert [(spec.name, spec.shape) for spec in model.outputs] == [("embedding", (16,))]
    wanted = []
    for ids, count in zip(SAMPLE["input_ids"], MASK.sum(1), strict=True):
        with torch.no_grad():
            hidden = network(input_ids=torch.tensor(ids[None, :count])).last_hidden_state[0]
        wanted.append({"mean": hidden.mean(0), "cls": hidden[0], "max": hidden.amax(0)}[pooling].numpy())
    np.testing.assert_allclose(answer(model), np.stack(wanted), atol=2e-6)


def test_a_folder_may_lie_in_an_installed_package_of_which_no_code_is_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "site" / "my_encoder").mkdir(parents=True)
    (tmp_path / "site" / "my_encoder" / "__init__.py").write_text("raise RuntimeError('imported')")
    save_tiny(tmp_path / "site" / "my_encoder" / "model")
    monkeypatch.syspath_prepend(tmp_path / "site")
    source = HfModel(path="package:my_encoder/model", task="embedding")
    model = source.load(Entries(tmp_path), SAMPLE)
    assert isinstance(model, Model)
    assert len(source.fingerprint(Entries(tmp_path))) == 64


@pytest.mark.parametrize("path", ["package:not_there/model", "package:../model", "package:json.decoder/model"])
def test_a_package_that_is_not_installed_is_named_with_the_command_that_installs_it(tmp_path: Path, path: str) -> None:
    with pytest.raises(MissingExtraError, match="is not installed here") as caught:
        HfModel(path=path, task="embedding").load(Entries(tmp_path), SAMPLE)
    assert "pip install" in caught.value.problems[0].hint


def test_a_path_stays_within_its_package(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="leads out of the package `json`"):
        HfModel(path="package:json/../secret", task="embedding").load(Entries(tmp_path), SAMPLE)


def test_the_class_names_of_a_checkpoint_in_a_package_are_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "site" / "named_encoder").mkdir(parents=True)
    (tmp_path / "site" / "named_encoder" / "__init__.py").touch()
    save_tiny(tmp_path / "site" / "named_encoder" / "model")
    monkeypatch.syspath_prepend(tmp_path / "site")
    source = HfModel(path="package:named_encoder/model", task="classification")
    assert source.class_names(Entries(tmp_path)) == ()  # its config names none


def test_normalised_embeddings_have_length_one_and_differ_from_row_to_row(tmp_path: Path) -> None:
    save_tiny(tmp_path / "m")
    values = answer(load(tmp_path / "m"))
    np.testing.assert_allclose(np.linalg.norm(values, axis=1), 1, atol=1e-6)
    assert np.ptp(values, axis=0).max() > 0.01


def test_token_types_are_taken_where_the_data_has_them(tmp_path: Path) -> None:
    save_tiny(tmp_path / "m")
    typed = load(tmp_path / "m", TYPED)
    assert [spec.name for spec in typed.inputs] == ["input_ids", "attention_mask", "token_type_ids"]
    np.testing.assert_allclose(answer(typed, TYPED), answer(load(tmp_path / "m")), atol=1e-6)


def test_an_encoder_without_token_types_says_so(tmp_path: Path) -> None:
    save_tiny(tmp_path / "m", "DistilBertModel")
    assert [spec.name for spec in load(tmp_path / "m").inputs] == ["input_ids", "attention_mask"]
    with pytest.raises(ModelError, match="forward\\(\\) takes input_ids, attention_mask") as caught:
        load(tmp_path / "m", TYPED)
    assert caught.value.code == "model-inputs-mismatch"


def test_what_the_answer_does_not_need_is_no_parameter(tmp_path: Path) -> None:
    network = save_tiny(tmp_path / "m")
    model = load(tmp_path / "m")
    pooler = sum(value.numel() for name, value in network.named_parameters() if name.startswith("pooler"))
    whole = sum(value.numel() for value in network.parameters())
    assert pooler > 0
    assert sum(value.numel() for value in model.module.parameters()) == whole - pooler


def test_a_classifier_answers_as_transformers_does(tmp_path: Path) -> None:
    network = save_tiny(tmp_path / "m", "BertForSequenceClassification", num_labels=3)
    model = load(tmp_path / "m", task="classification")
    assert [(spec.name, spec.shape) for spec in model.outputs] == [("logits", (3,))]
    with torch.no_grad():
        wanted = network(**{name: torch.tensor(values) for name, values in SAMPLE.items()}).logits.numpy()
    np.testing.assert_allclose(answer(model), wanted, atol=1e-6)


def test_half_precision_weights_become_float32(tmp_path: Path) -> None:
    save_tiny(tmp_path / "m").half().save_pretrained(tmp_path / "m")
    assert {value.dtype for value in load(tmp_path / "m").module.parameters()} == {torch.float32}


def test_a_base_model_is_no_classifier_with_a_random_head(tmp_path: Path) -> None:
    save_tiny(tmp_path / "m")
    with pytest.raises(ModelError, match=r"it lacks classifier\.bias, classifier\.weight") as caught:
        load(tmp_path / "m", task="classification")
    assert caught.value.code == "weights-mismatch"
    assert "no head of classes" in caught.value.problems[0].hint


def test_weights_that_do_not_fit_the_config_are_refused(tmp_path: Path) -> None:
    save_tiny(tmp_path / "m")
    weights = load_file(tmp_path / "m" / "model.safetensors")
    name = "encoder.layer.1.output.dense.weight"
    save_file({**weights, name: torch.zeros(16, 8)}, tmp_path / "m" / "model.safetensors", {"format": "pt"})
    with pytest.raises(ModelError, match=f"of another shape: {name}"):
        load(tmp_path / "m")
    save_file({k: v for k, v in weights.items() if k != name}, tmp_path / "m" / "model.safetensors", {"format": "pt"})
    with pytest.raises(ModelError, match=f"it lacks {name}"):
        load(tmp_path / "m")


def test_a_damaged_file_of_weights_is_the_users_error(tmp_path: Path) -> None:
    save_tiny(tmp_path / "m")
    path = tmp_path / "m" / "model.safetensors"
    path.write_bytes(path.read_bytes()[:500])
    with pytest.raises(ModelError) as caught:
        load(tmp_path / "m")
    assert caught.value.code == "weights-corrupt"


@pytest.mark.parametrize(
    ("left", "code", "said"),
    [
        pytest.param(None, "model-file-missing", "no such folder", id="no folder"),
        pytest.param({}, "model-file-missing", "no config.json", id="empty"),
        pytest.param({"config.json": "{"}, "hf-config", "cannot be read", id="no JSON"),
        pytest.param({"config.json": "[1]"}, "hf-config", "no `model_type`", id="no object"),
        pytest.param({"config.json": '{"model_type": "bert"}'}, "weights-missing", "model.safetensors", id="alone"),
        pytest.param(
            {"config.json": '{"model_type": "bert"}', "pytorch_model.bin": "x"},
            "weights-pickle",
            "pytorch_model.bin may hold any code",
            id="pickle",
        ),
        pytest.param(
            {"config.json": '{"model_type": "bert"}', "model.safetensors.index.json": "{}"},
            "weights-missing",
            "several files",
            id="shards",
        ),
        pytest.param(
            {
                "config.json": '{"model_type": "bert"}',
                "model.safetensors": "version https://git-lfs.github.com/spec/v1",
            },
            "file-lfs-pointer",
            "git-lfs pointer",
            id="lfs",
        ),
    ],
)
def test_a_folder_that_cannot_be_used_is_one_clear_error(tmp_path: Path, left: Any, code: str, said: str) -> None:
    for name, text in (left or {}).items():
        (tmp_path / "m").mkdir(exist_ok=True)
        (tmp_path / "m" / name).write_text(text)
    if left == {}:
        (tmp_path / "m").mkdir()
    with pytest.raises(UserError, match=said) as caught:
        load(tmp_path / "m")
    assert (caught.value.code, caught.value.problems[0].where) == (code, str(tmp_path / "m"))


@pytest.mark.parametrize(
    ("config", "said"),
    [
        pytest.param({"model_type": "gpt2"}, "`gpt2` generates text", id="decoder"),
        pytest.param({"model_type": "bert", "is_decoder": True}, "`bert` generates text", id="made a decoder"),
        pytest.param({"model_type": "t5"}, "`t5` generates text", id="both"),
        pytest.param({"model_type": "vit"}, "`vit` is no encoder of text", id="images"),
        pytest.param({"model_type": "mine"}, "knows no such architecture", id="unknown"),
    ],
)
def test_what_is_no_text_encoder_is_refused(tmp_path: Path, config: dict[str, Any], said: str) -> None:
    save_tiny(tmp_path / "m")
    (tmp_path / "m" / "config.json").write_text(json.dumps(config))
    with pytest.raises(ModelError, match=said) as caught:
        load(tmp_path / "m")
    assert caught.value.code == "hf-architecture"


def test_code_in_the_folder_is_never_run(tmp_path: Path) -> None:
    save_tiny(tmp_path / "m")
    config = json.loads((tmp_path / "m" / "config.json").read_text())
    config |= {"model_type": "mine", "auto_map": {"AutoConfig": "code.Mine", "AutoModel": "code.Mine"}}
    (tmp_path / "m" / "config.json").write_text(json.dumps(config))
    (tmp_path / "m" / "code.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')\nclass Mine: pass\n")
    with pytest.raises(ModelError) as caught:
        load(tmp_path / "m")
    assert caught.value.code == "hf-architecture"
    assert not (tmp_path / "ran").exists()


def test_the_fingerprint_follows_the_config(tmp_path: Path) -> None:
    save_tiny(tmp_path / "m")
    config, entries = HfModel(path="m", task="embedding"), Entries(tmp_path)
    before = config.fingerprint(entries)
    assert before == config.fingerprint(entries)
    path = tmp_path / "m" / "config.json"
    path.write_text(path.read_text().replace('"num_attention_heads": 2', '"num_attention_heads": 4'))
    assert config.fingerprint(entries) != before


def test_nothing_of_transformers_reaches_the_terminal(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    save_tiny(tmp_path / "m", "BertForMaskedLM")
    capfd.readouterr()
    load(tmp_path / "m")
    assert capfd.readouterr() == ("", "")


NAMED = {"id2label": {0: "calm", 1: "angry"}, "label2id": {"calm": 0, "angry": 1}}


@pytest.mark.parametrize(
    ("changes", "task", "names"),
    [
        pytest.param(NAMED, "classification", ("calm", "angry"), id="named"),
        pytest.param({"num_labels": 3}, "classification", (), id="LABEL_0"),
        pytest.param(NAMED, "embedding", (), id="no classifier"),
    ],
)
def test_a_checkpoint_names_its_classes(tmp_path: Path, changes: Any, task: Any, names: tuple[str, ...]) -> None:
    save_tiny(tmp_path / "m", "BertForSequenceClassification", **changes)
    assert HfModel(path="m", task=task).class_names(Entries(tmp_path)) == names


RECIPE = """\
version: 1
name: moods
model: {{source: hf, path: m, task: classification}}
data: {{source: text, path: t}}
task: {{kind: classification}}
preprocess: [{{tokenize: {{tokenizer: tokenizer.json, length: 8}}}}]
labels: {labels}
artifacts: [{{format: onnx}}]
"""


def test_classes_go_by_the_models_names_and_another_order_of_them_is_refused(tmp_path: Path) -> None:
    save_tiny(tmp_path / "m", "BertForSequenceClassification", **NAMED)
    save_tokenizer(tmp_path / "tokenizer.json")
    (tmp_path / "t").mkdir()
    lines = [f"{' '.join(WORDS[int(d)] for d in str(n))}\t{('angry', 'calm')[n % 2]}" for n in range(40)]
    (tmp_path / "t" / "eval.tsv").write_text("\n".join(lines))

    def opened(labels: str) -> Project:
        (tmp_path / "recipe.yaml").write_text(RECIPE.format(labels=labels))
        return open_project(load_recipe(tmp_path / "recipe.yaml"), log=SilentLog())

    for labels in ("[]", "[calm, angry]"):
        project = opened(labels)
        assert project.data.labels == ("calm", "angry")
        assert project.data.evaluation.targets is not None
        assert project.data.evaluation.targets[:4].tolist() == [1, 0, 1, 0]
    with pytest.raises(RecipeError, match="output 0 of the model is `calm`") as caught:
        opened("[angry, calm]")
    assert caught.value.code == "labels-order"
