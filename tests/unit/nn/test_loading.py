from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from edgeglm.errors import ModelError
from edgeglm.nn.calling import call
from edgeglm.nn.loading import build_python_model, state_sha256
from tests.support.nets import Plain, images

SAMPLE = {"input": images()}


def build(module: object, weights: Path | None = None, sample: dict[str, np.ndarray] | None = None):
    return build_python_model(module, weights, sample or SAMPLE, where="recipe.yaml:4 model.entry")


def refused(code: str, *args, **kwargs) -> str:
    with pytest.raises(ModelError) as caught:
        build(*args, **kwargs)
    assert caught.value.code == code
    assert caught.value.problems[0].where
    assert caught.value.problems[0].hint
    return str(caught.value)


def test_a_network_comes_back_in_eval_mode_with_names_shapes_and_layouts() -> None:
    model = build(Plain().double().train())
    assert not model.module.training
    assert next(model.module.parameters()).dtype == torch.float32
    (spec,) = model.inputs
    assert (spec.name, spec.dtype, spec.shape, spec.layout) == ("image", "float32", (1, 8, 8), "NCHW")
    (spec,) = model.outputs
    assert (spec.name, spec.dtype, spec.shape, spec.layout) == ("logits", "float32", (4,), "NC")


@pytest.mark.parametrize(
    ("returned", "said"),
    [
        pytest.param(None, "return model", id="nothing"),
        pytest.param({"a": torch.zeros(1)}, "model.weights", id="a state_dict"),
        pytest.param(Plain, "Plain()", id="the class"),
        pytest.param((Plain(), 1), "alone", id="a tuple"),
        pytest.param("resnet", "return model", id="a name"),
    ],
)
def test_what_is_no_module_is_refused_with_the_way_to_return_one(returned: object, said: str) -> None:
    assert said in refused("model-not-a-module", returned)


def test_a_scripted_module_is_refused() -> None:
    refused("model-scripted", torch.jit.trace(nn.Linear(4, 2), torch.zeros(1, 4)))


def test_a_data_parallel_wrapper_is_taken_off() -> None:
    assert isinstance(build(nn.DataParallel(Plain())).module, Plain)


@pytest.mark.parametrize("wrap", ["plain", "state_dict", "model", "nested", "module.", "_orig_mod.module."])
@pytest.mark.parametrize("suffix", ["safetensors", "pt"])
def test_weights_are_found_in_the_usual_wrappers(wrap: str, suffix: str, tmp_path: Path) -> None:
    trained = Plain()
    state = dict(trained.state_dict())
    if wrap.endswith("."):
        state = {wrap + name: value for name, value in state.items()}
    path = tmp_path / f"w.{suffix}"
    if suffix == "safetensors":
        save_file(state, path)
    else:
        held = {"state_dict": {"state_dict": state}, "model": {"model": state, "epoch": 3}}
        held["nested"] = {"model": {"state_dict": state}, "optimizer": {"lr": 0.1}}
        torch.save(held.get(wrap, state), path)
    assert state_sha256(build(Plain(), path).module) == state_sha256(trained)


def test_every_mismatch_is_listed_at_once(tmp_path: Path) -> None:
    state = dict(Plain().state_dict())
    del state["head.bias"], state["first.0.weight"]
    state["extra"] = torch.zeros(3)
    state["hidden.weight"] = torch.zeros(24, 7)
    save_file(state, tmp_path / "w.safetensors")
    text = refused("weights-mismatch", Plain(), tmp_path / "w.safetensors")
    assert "2 missing, 1 unexpected, 1 of another shape" in text
    for said in ("head.bias (4,)", "first.0.weight (16, 1, 3, 3)", "extra (3,)", "(24, 7) in the file, (24, 64) in"):
        assert said in text


def test_nan_in_weights_names_the_tensors(tmp_path: Path) -> None:
    state = dict(Plain().state_dict())
    state["head.bias"] = torch.full((4,), float("nan"))
    save_file(state, tmp_path / "w.safetensors")
    assert "head.bias" in refused("weights-nan", Plain(), tmp_path / "w.safetensors")


def test_nan_in_weights_that_the_function_loaded_itself_is_seen_too() -> None:
    module = Plain()
    module.head.bias.data[0] = float("inf")
    assert "head.bias" in refused("weights-nan", module)


def test_a_full_pickle_is_refused_with_the_snippet_that_converts_it(tmp_path: Path) -> None:
    torch.save(nn.Linear(2, 2), tmp_path / "m.pt")
    text = refused("weights-pickle", Plain(), tmp_path / "m.pt")
    assert "save_file" in text
    assert "weights_only=False" in text


@pytest.mark.parametrize("name", ["torn.safetensors", "torn.pt", "text.pt"])
def test_a_torn_file_of_weights_is_named(name: str, tmp_path: Path) -> None:
    path = tmp_path / name
    if name == "text.pt":
        path.write_text("not weights")
    elif path.suffix == ".pt":
        torch.save(Plain().state_dict(), path)
        path.write_bytes(path.read_bytes()[:-500])
    else:
        save_file(Plain().state_dict(), path)
        path.write_bytes(path.read_bytes()[:-500])
    with pytest.raises(ModelError) as caught:
        build(Plain(), path)
    assert caught.value.code in {"weights-corrupt", "weights-pickle"}


def test_a_missing_file_of_weights_is_named(tmp_path: Path) -> None:
    refused("weights-missing", Plain(), tmp_path / "none.pt")


def test_a_file_without_weights_says_what_it_holds(tmp_path: Path) -> None:
    torch.save({"epoch": 3, "best": 0.5}, tmp_path / "w.pt")
    assert "epoch, best" in refused("weights-no-state-dict", Plain(), tmp_path / "w.pt")


def test_a_refused_batch_names_the_layer_and_the_shape_it_got() -> None:
    text = refused("model-refuses-input", Plain(), sample={"input": images(channels=3)})
    assert "layer first.0 (Conv2d)" in text
    assert "(4, 3, 8, 8) float32" in text


def test_channels_last_images_get_the_hint_to_move_the_channels() -> None:
    sample = {"input": images().transpose(0, 2, 3, 1)}
    assert "move the channels" in refused("model-refuses-input", Plain(), sample=sample)


class Two(nn.Module):
    def __init__(self, fault: str = "") -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(3))
        self.fault = fault

    def forward(self, left: Tensor, right: Tensor) -> object:
        joined = left * self.scale + right
        return {
            "": {"right": joined, "mean": joined.mean(1)},
            "nan": joined / 0,
            "rows": joined.sum(0),
            "nothing": None,
            "tuple": (joined, joined.mean(1)),
        }[self.fault]


PAIR = {"right": np.ones((2, 3), np.float32), "left": np.ones((2, 3))}


def test_several_inputs_take_the_order_of_forward_and_no_output_the_name_of_an_input() -> None:
    model = build(Two(), sample=PAIR)
    assert [spec.name for spec in model.inputs] == ["left", "right"]
    assert [(spec.name, spec.shape, spec.layout) for spec in model.outputs] == [
        ("right_output", (3,), "NC"),
        ("mean", (), ""),
    ]


def test_inputs_are_given_by_name_where_forward_has_others_between_them() -> None:
    class Gap(nn.Module):
        def forward(self, left: Tensor, mask: Tensor | None = None, right: Tensor | None = None) -> Tensor:
            assert mask is None
            assert right is not None
            return left - right

    model = build(Gap(), sample={"right": PAIR["right"] * 3, "left": PAIR["left"]})
    tensors = {spec.name: torch.ones(1, 3) * scale for spec, scale in zip(model.inputs, (1, 3), strict=True)}
    assert torch.equal(call(model.module, tensors)["logits"], torch.full((1, 3), -2.0))


def test_the_fields_of_a_named_tuple_name_the_outputs() -> None:
    class Answer(NamedTuple):
        score: Tensor
        length: int

    class Named(nn.Module):
        def forward(self, x: Tensor) -> Answer:
            return Answer(x.flatten(1), 3)

    assert [spec.name for spec in build(Named()).outputs] == ["score"]


def test_whole_numbers_given_to_a_convolution_get_the_hint_to_give_floats() -> None:
    sample = {"input": images().astype(np.int64)}
    assert "float32" in refused("model-refuses-input", Plain(), sample=sample)


def test_an_input_that_the_data_does_not_give_is_asked_for() -> None:
    class Masked(nn.Module):
        def forward(self, tokens: Tensor, mask: Tensor) -> Tensor:
            return (tokens * mask).float().sum(1, keepdim=True)

    said = refused("model-refuses-input", Masked(), sample={"tokens": np.ones((2, 5), np.int64)})
    assert "forward() wants more inputs than the data gives" in said


class Tokens(nn.Module):
    """A table of 10 words, and one of 6 positions."""

    def __init__(self) -> None:
        super().__init__()
        self.words, self.positions = nn.Embedding(10, 4), nn.Embedding(6, 4)

    def forward(self, tokens: Tensor) -> Tensor:
        return (self.words(tokens) + self.positions(torch.arange(tokens.shape[1]))).mean(1)


@pytest.mark.parametrize(
    ("length", "largest", "said"),
    [
        (8, 9, "`positions` 6 rows: lower `preprocess[0].tokenize.length` to 6"),
        (5, 12, "tokens go up to 12, and `words` has 10 rows"),
    ],
)
def test_a_table_without_a_row_for_a_token_is_named_with_the_setting(length: int, largest: int, said: str) -> None:
    assert said in refused("model-refuses-input", Tokens(), sample={"tokens": np.full((2, length), largest)})


def test_a_tuple_of_outputs_is_numbered() -> None:
    assert [spec.name for spec in build(Two("tuple"), sample=PAIR).outputs] == ["output0", "output1"]


def test_inputs_that_forward_does_not_take_are_refused() -> None:
    assert "left, right" in refused("model-inputs-mismatch", Two(), sample={"a": PAIR["left"], "b": PAIR["left"]})


@pytest.mark.parametrize(
    ("fault", "code"),
    [("nan", "model-output-nan"), ("rows", "model-output-shape"), ("nothing", "model-no-output")],
)
def test_an_answer_that_is_none_is_refused(fault: str, code: str) -> None:
    refused(code, Two(fault), sample=PAIR)


def test_tokens_stay_integers() -> None:
    module = nn.Sequential(nn.Embedding(10, 4), nn.Flatten(), nn.Linear(12, 2))
    model = build(module, sample={"tokens": np.arange(6).reshape(2, 3)})
    assert model.inputs[0].dtype == "int64"


def test_lazy_layers_take_their_shape_from_the_sample() -> None:
    model = build(nn.Sequential(nn.Flatten(), nn.LazyLinear(3)))
    assert model.module[1].in_features == 64


def test_a_network_that_cannot_be_copied_is_refused_at_once() -> None:
    module = Plain()
    module.kept = (i for i in range(3))
    refused("model-not-copyable", module)


def test_the_fingerprint_changes_with_one_bit_of_one_buffer() -> None:
    module = Plain()
    before = state_sha256(module)
    module.first[1].running_mean[0] += 1e-6
    assert state_sha256(module) != before
