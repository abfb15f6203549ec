from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from edgeglm.data.splits import ArraySplit
from edgeglm.errors import ModelError, StepError
from edgeglm.nn.calling import call, to_tensors
from edgeglm.nn.depth import drop_layers
from edgeglm.nn.loading import state_sha256
from edgeglm.nn.structure import load_weights, replay, save_weights
from edgeglm.steps import DropLayers
from edgeglm.tasks import Embedding
from tests.support.nets import OptionA, Plain, images, make_context, make_model
from tests.support.sequence_nets import SERIES, TOKENS, Torch, encoder_of, model_of

if TYPE_CHECKING:
    from pathlib import Path

    from edgeglm.model import Model
    from edgeglm.steps import Context

PICTURES = ArraySplit({"x": images(80, channels=3, size=16)}, np.arange(80) % 10)


def shortened(model: Model, ctx: Context, **settings: Any) -> Model:
    return drop_layers(model, DropLayers(**settings), ctx)


def bert(layers: int = 6, kind: str = "BertModel") -> tuple[Model, Context]:
    model = model_of(encoder_of(kind, num_hidden_layers=layers), TOKENS)
    return model, make_context(model, TOKENS, task=Embedding())


def resnet(blocks: int = 3) -> tuple[Model, Context]:
    model = make_model(OptionA(blocks, width=8), images(channels=3, size=16))
    return model, make_context(model, PICTURES)


def refused(code: str, model: Model, ctx: Context, **settings: Any) -> StepError:
    with pytest.raises(StepError) as caught:
        shortened(model, ctx, **settings)
    assert caught.value.code == code
    assert caught.value.problems[0].hint
    return caught.value


def answer(model: Model, split: ArraySplit) -> Tensor:
    with torch.no_grad():
        (output,) = call(model.module.eval(), to_tensors(model, split.rows(np.arange(4)))).values()
    return output


@pytest.mark.parametrize("kind", ["BertModel", "RobertaModel", "DistilBertModel", "ElectraModel", "MPNetModel"])
def test_layers_spread_evenly_stay_and_answer_as_if_the_others_passed_on_what_they_got(kind: str) -> None:
    model, ctx = bert(kind=kind)
    before = state_sha256(model.module)
    result = shortened(model, ctx, keep=3, by="even")
    (edit,) = result.edits
    assert [name.rpartition(".")[2] for name, *_ in edit["skip"]] == ["1", "2", "4"]
    assert "3 blocks stay" in ctx.notes[0]
    stack = model.module.get_submodule(edit["skip"][0][0].rpartition(".")[0])
    expected = replay(model, []).module
    del expected.get_submodule(edit["skip"][0][0].rpartition(".")[0])[4]
    del expected.get_submodule(edit["skip"][0][0].rpartition(".")[0])[1:3]
    inputs = to_tensors(model, TOKENS.rows(np.arange(4)))
    with torch.no_grad():
        torch.testing.assert_close(answer(result, TOKENS), expected(**inputs), rtol=0, atol=0)
    assert len(stack) == 6
    assert state_sha256(model.module) == before


def test_the_layers_that_cost_least_go_first() -> None:
    model, ctx = bert()
    layers = model.module.encoder.encoder.layer
    with torch.no_grad():  # these two do almost nothing
        for index in (1, 4):
            layers[index].attention.output.dense.weight.mul_(1e-4)
            layers[index].output.dense.weight.mul_(1e-4)
        for index in (0, 2, 3, 5):
            layers[index].output.dense.weight.mul_(30)
    result = shortened(model, ctx, keep=4)
    gone = [name for name, *_ in result.edits[0]["skip"]]
    assert sorted(gone) == ["encoder.encoder.layer.1", "encoder.encoder.layer.4"]
    assert "->" in ctx.notes[0]


def test_blocks_of_a_resnet_that_keep_their_shape_can_go() -> None:
    model, ctx = resnet()
    result = shortened(model, ctx, keep=3)
    gone = [name for name, *_ in result.edits[0]["skip"]]
    assert len(gone) == 4
    assert not {"layer2.0", "layer3.0"} & set(gone)  # these change it
    assert answer(result, PICTURES).shape == (4, 10)


def test_torchs_own_encoder_loses_layers_from_its_list() -> None:
    model = model_of(Torch())
    ctx = make_context(model, SERIES)
    result = shortened(model, ctx, drop=["encoder.layers.0"])
    assert result.edits[0] == {"edit": "drop-layers", "skip": [], "remove": ["encoder.layers.0"]}
    assert len(result.module.encoder.layers) == 1
    torch.testing.assert_close(
        result.module.encoder.layers[0].linear1.weight, model.module.encoder.layers[1].linear1.weight
    )
    assert "moved up" in ctx.notes[1]


@pytest.mark.parametrize("settings", [{"keep": 2, "by": "even"}, {"keep": 1}, {"drop": ["re:.*layer\\.[24]"]}])
def test_replayed_edits_give_the_shorter_network_again(settings: dict[str, Any], tmp_path: Path) -> None:
    model, ctx = bert()
    result = shortened(model, ctx, **settings)
    edits = json.loads(json.dumps(result.edits))
    again = replay(model, edits)
    assert state_sha256(again.module) == state_sha256(result.module)
    save_weights(result, tmp_path / "w.safetensors")
    loaded = load_weights(replay(bert()[0], edits), tmp_path / "w.safetensors")
    torch.testing.assert_close(answer(loaded, TOKENS), answer(result, TOKENS), rtol=0, atol=0)


def test_a_measurement_that_was_cut_short_goes_on_and_ends_the_same(tmp_path: Path) -> None:
    model, _ = resnet()
    whole = shortened(model, make_context(model, PICTURES), keep=4)
    done: list[int] = []

    class KilledError(Exception):
        pass

    def progress(now: int, total: int, **_: float) -> None:
        done.append(now)
        if now == 9 and total:
            raise KilledError

    ctx = make_context(model, PICTURES, checkpoint=tmp_path / "c.pt", progress=progress)
    with pytest.raises(KilledError):
        shortened(model, ctx, keep=4)
    done.clear()
    again: list[int] = []
    ctx = make_context(model, PICTURES, checkpoint=tmp_path / "c.pt", progress=lambda now, *_, **__: again.append(now))
    result = shortened(model, ctx, keep=4)
    assert again[0] >= 8
    assert result.edits == whole.edits
    assert state_sha256(result.module) == state_sha256(whole.module)


def test_a_dry_run_measures_nothing() -> None:
    model, _ = resnet()
    ctx = make_context(model, PICTURES, dry_run=True, progress=lambda *_, **__: pytest.fail("measured"))
    assert len(shortened(model, ctx, keep=3).edits[0]["skip"]) == 4


def test_ignored_blocks_stay() -> None:
    model, ctx = bert()
    result = shortened(model, ctx, keep=1, by="even", ignore=["re:.*layer\\.[0-2]"])
    assert [name.rpartition(".")[2] for name, *_ in result.edits[0]["skip"]] == ["4", "5"]


def test_what_cannot_be_done_is_said() -> None:
    model, ctx = bert()
    assert "6 blocks can go" in str(refused("step-changed-nothing", model, ctx, keep=6))
    refused("pattern-matches-nothing", model, ctx, drop=["encoder.layer.9"])
    refused("pattern-matches-nothing", model, ctx, keep=2, ignore=["nowhere"])
    plain = make_model(Plain())
    refused("drop-layers-no-blocks", plain, make_context(plain), keep=1)


def test_a_forward_that_needs_a_block_by_name_is_an_error_of_the_users() -> None:
    class Peeks(OptionA):
        def forward(self, x: Tensor) -> Tensor:
            return super().forward(x) + self.layer1[1].bn1.weight.sum()

    model = make_model(Peeks(2, width=8), images(channels=3, size=16))
    error = refused("drop-layers-broke-network", model, make_context(model, PICTURES), drop=["layer1.1"])
    assert "bn1" in str(error)


def test_an_edit_of_another_network_is_refused() -> None:
    edits = [{"edit": "drop-layers", "skip": [["encoder.layer.9", 0, False]], "remove": []}]
    with pytest.raises(ModelError) as caught:
        replay(bert()[0], edits)
    assert caught.value.code == "structure-mismatch"


def test_a_block_called_by_keyword_or_answering_a_tuple_can_go() -> None:
    class Block(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner = nn.Linear(8, 8)

        def forward(self, *, states: Tensor) -> tuple[Tensor]:
            return (states + self.inner(states),)

    class Stack(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.blocks, self.head = nn.ModuleList([Block() for _ in range(3)]), nn.Linear(8, 4)

        def forward(self, x: Tensor) -> Tensor:
            for block in self.blocks:
                (x,) = block(states=x)
            return self.head(x.mean(1))

    model = model_of(Stack())
    result = shortened(model, make_context(model, SERIES), keep=1, by="even")
    assert result.edits[0]["skip"] == [["blocks.1", "states", True], ["blocks.2", "states", True]]


@pytest.mark.parametrize(("settings", "field"), [({}, "keep"), ({"keep": 1, "drop": ["a"]}, "drop")])
def test_settings_that_contradict_each_other_are_told_by_field(settings: dict[str, Any], field: str) -> None:
    ((named, message, hint),) = DropLayers(**settings).problems()
    assert named == field
    assert message
    assert hint
    assert DropLayers(keep=2).problems() == DropLayers(drop=["a"]).problems() == []
