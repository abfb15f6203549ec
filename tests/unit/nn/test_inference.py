from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from edgeglm.data.splits import ArraySplit
from edgeglm.nn.inference import predict
from edgeglm.nn.macs import count_macs, count_params
from edgeglm.nn.precision import measure_precision
from tests.support.nets import Grouped, Plain, Recurrent, images, make_model


def test_batches_come_together_in_order_whatever_their_size() -> None:
    model = make_model(Plain())
    split = ArraySplit({"any name": images(11)}, None)
    whole = predict(model, split, batch=11, threads=1)["logits"]
    assert whole.shape == (11, 4)
    assert whole.dtype == np.float32
    np.testing.assert_allclose(predict(model, split, batch=3, threads=1)["logits"], whole, rtol=1e-5, atol=1e-6)
    direct = model.module(torch.from_numpy(images(11))).detach().numpy()
    np.testing.assert_allclose(whole, direct, rtol=1e-5, atol=1e-6)


def test_the_thread_count_of_the_process_is_left_as_it_was() -> None:
    before = torch.get_num_threads()
    predict(make_model(Plain()), ArraySplit({"x": images(2)}, None), threads=before + 1)
    assert torch.get_num_threads() == before


def test_macs_are_those_of_convolutions_and_matrix_products() -> None:
    by_hand = 16 * 9 * 64 + 16 * 16 * 9 * 16 + 64 * 24 + 24 * 4
    assert count_macs(make_model(Plain())) == by_hand


def test_macs_of_grouped_convolutions_are_divided_by_the_groups() -> None:
    by_hand = (16 * 9 + 32 * 4 * 9 + 16 * 32 * 9) * 64 + 16 * 4
    assert count_macs(make_model(Grouped())) == by_hand


def test_macs_of_lstms_are_counted_in_every_layer_and_direction() -> None:
    model = make_model(Recurrent(), np.zeros((2, 8, 10)))
    by_hand = 8 * 16 * 3 * 10 + 10 * 4 * 16 * (16 + 16) + 16 * 32 + 32 * 4
    assert count_macs(model) == by_hand

    class Both(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.rnn = nn.LSTM(8, 16, num_layers=2, bidirectional=True, batch_first=True)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.rnn(x)[0]

    model = make_model(Both(), np.zeros((2, 5, 8)))
    assert count_macs(model) == 5 * 2 * 4 * 16 * ((8 + 16) + (32 + 16))


def test_macs_of_attention_are_counted_though_it_is_fused() -> None:
    encoder = nn.TransformerEncoderLayer(16, 2, dim_feedforward=32, batch_first=True)
    model = make_model(encoder, np.zeros((2, 5, 16)))
    projections, scores, feed_forward = 4 * 5 * 16 * 16, 2 * 5 * 5 * 16, 2 * 5 * 16 * 32
    assert count_macs(model) == projections + scores + feed_forward


def test_a_shared_tensor_counts_once() -> None:
    module = nn.Sequential(nn.Linear(8, 8), nn.Linear(8, 8))
    module[1].weight = module[0].weight
    assert count_params(make_model(module, np.ones((2, 8)))) == 64 + 8 + 8


def test_the_measured_precision_leaves_the_network_as_it_was() -> None:
    model = make_model(Plain())
    before = {name: value.clone() for name, value in model.module.state_dict().items()}
    choice = measure_precision(model, {"input": images()}, device="cpu", threads=1, rounds=2)
    assert choice in {"float32", "bfloat16"}
    assert all(torch.equal(before[name], value) for name, value in model.module.state_dict().items())
    assert all(parameter.grad is None for parameter in model.module.parameters())


def test_without_bfloat16_in_the_cpu_nothing_is_timed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("edgeglm.nn.precision.bfloat16_supported", lambda _: False)
    monkeypatch.setattr("edgeglm.nn.precision.deepcopy", lambda _: pytest.fail("it was timed"))
    assert measure_precision(make_model(Plain()), {"input": images()}, device="cpu", threads=1) == "float32"


def test_a_network_without_kernels_in_bfloat16_is_trained_in_float32() -> None:
    class Inverse(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.weight = nn.Parameter(torch.eye(3))

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            kind = torch.bfloat16 if torch.is_autocast_enabled("cpu") else x.dtype
            with torch.autocast("cpu", enabled=False):  # autocast itself would go back to float32 for this operator
                return x @ torch.linalg.inv(self.weight.to(kind)).to(x.dtype)

    model = make_model(Inverse(), np.ones((2, 3)))
    assert measure_precision(model, {"x": np.ones((2, 3))}, device="cpu", threads=1) == "float32"
