"""Biases of static INT8 ONNX graphs are moved to where the float network's means are, and only where that helps."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from edgeglm.artifacts import bias_correction, calibration, onnx_walk
from edgeglm.artifacts import onnx as artifacts
from edgeglm.artifacts.calibration import Kept
from edgeglm.artifacts.onnx_bias import correct
from edgeglm.artifacts.onnx_graph import sort_nodes
from edgeglm.artifacts.onnx_static import to_static_int8
from edgeglm.artifacts.onnx_walk import Walk, run_each
from edgeglm.boards import BOARDS
from edgeglm.recipe.types import Quantize

if TYPE_CHECKING:
    from pathlib import Path

SHIFT = 0.5  # of one layer's outputs, in their own unit
LAYERS = ("conv", "depthwise", "grouped", "turned", "head")


def network() -> onnx.ModelProto:
    """Return a network of every kind of layer that has a bias, with a shortcut around some of them and a branch."""
    random = np.random.default_rng(0)
    shapes = {
        "conv": (8, 3, 3, 3),
        "depthwise": (8, 1, 3, 3),
        "grouped": (8, 4, 1, 1),
        "turned": (8, 8, 2, 2),
        "head": (5, 8),
    }
    weights = {}
    for name, shape in shapes.items():
        channels = shape[1] if name == "turned" else shape[0]
        weights[f"{name}.w"] = (random.normal(size=shape) / np.prod(shape[1:]) ** 0.5).astype(np.float32)
        weights[f"{name}.b"] = random.normal(size=channels).astype(np.float32)
    weights |= {"low": np.zeros((), np.float32), "high": np.full((), 6, np.float32), "limit": np.zeros(1, np.float32)}
    branches = [
        helper.make_graph(
            [helper.make_node(op, ["p"], [f"{op}.out"])],
            op,
            [],
            [helper.make_tensor_value_info(f"{op}.out", TensorProto.FLOAT, None)],
        )
        for op in ("Neg", "Identity")
    ]
    nodes = [
        helper.make_node("Conv", ["x", "conv.w", "conv.b"], ["c"], name="conv", pads=[1, 1, 1, 1]),
        helper.make_node("Relu", ["c"], ["r"], name="relu"),
        helper.make_node(
            "Conv", ["r", "depthwise.w", "depthwise.b"], ["d"], name="depthwise", group=8, pads=[1, 1, 1, 1]
        ),
        helper.make_node("Clip", ["d", "low", "high"], ["l"], name="clip"),
        helper.make_node("Conv", ["l", "grouped.w", "grouped.b"], ["g"], name="grouped", group=2),
        helper.make_node("Add", ["g", "r"], ["s"], name="sum"),
        helper.make_node("ConvTranspose", ["s", "turned.w", "turned.b"], ["t"], name="turned", strides=[2, 2]),
        helper.make_node("GlobalAveragePool", ["t"], ["p4"], name="pool"),
        helper.make_node("Flatten", ["p4"], ["p"], name="flatten"),
        helper.make_node("Gemm", ["p", "head.w", "head.b"], ["y"], name="head", transB=1),
        helper.make_node("ReduceMin", ["p"], ["m"], name="least", keepdims=0),
        helper.make_node("Less", ["m", "limit"], ["low?"], name="less"),
        helper.make_node("If", ["low?"], ["z"], name="if", then_branch=branches[0], else_branch=branches[1]),
    ]
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 3, 8, 8])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n", 5])],
        [numpy_helper.from_array(values, name) for name, values in weights.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.checker.check_model(model)
    return model


def images(count: int, seed: int = 1) -> np.ndarray:
    """Return noise around another colour each: the mean over an image tells the colour."""
    random = np.random.default_rng(seed)
    return (random.normal(size=(count, 3, 8, 8)) + 3 * random.normal(size=(count, 3, 1, 1))).astype(np.float32)


def kept(values: np.ndarray) -> Kept:
    found = Kept([{"x": values}], len(values))
    list(found)
    return found


@pytest.fixture(params=["x86-64", "rpi5"])
def models(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> tuple[onnx.ModelProto, onnx.ModelProto]:
    """Return the float network, and its static INT8 form as the quantizer leaves it."""
    before = network()
    monkeypatch.setattr(bias_correction, "SAMPLES", 0)
    after = to_static_int8(
        network(), set(), [{"x": images(64)}], tmp_path / "q.onnx", board=BOARDS[request.param], reduce_range=False
    )
    sort_nodes(after.graph)
    return before, after


def bias_of(model: onnx.ModelProto, layer: str) -> tuple[onnx.TensorProto, np.ndarray]:
    constants = {tensor.name: tensor for tensor in model.graph.initializer}
    node = next(node for node in model.graph.node if node.name == layer)
    maker = next(maker for maker in model.graph.node if node.input[2] in maker.output)
    return constants[maker.input[0]], numpy_helper.to_array(constants[maker.input[1]])


def damage(model: onnx.ModelProto, layer: str) -> None:
    """Let a layer answer too much by SHIFT in every channel."""
    bias, scale = bias_of(model, layer)
    steps = np.rint(SHIFT / scale).astype(np.int32)
    bias.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(bias) + steps, bias.name))


def error(before: onnx.ModelProto, after: onnx.ModelProto) -> float:
    rows = [{"x": images(64, seed=2)}]
    (a,), (b,) = (next(run_each(model, ["y"], rows)) for model in (before, after))
    return float(np.mean((a - b) ** 2) / np.var(a))


@pytest.mark.parametrize("layer", LAYERS)
def test_a_shifted_bias_is_put_back(layer: str, models: tuple[onnx.ModelProto, onnx.ModelProto]) -> None:
    before, after = models
    best = error(before, after)
    damage(after, layer)
    worst = error(before, after)
    assert worst > 4 * best, (worst, best)  # else this shows nothing
    correct(before, after, kept(images(96)))
    assert error(before, after) < worst / 3, (worst, best)


def test_each_layer_ends_at_its_float_mean(models: tuple[onnx.ModelProto, onnx.ModelProto]) -> None:
    before, after = models
    for layer in LAYERS:
        damage(after, layer)
    correct(before, after, kept(images(96)))
    names = {node.name: node.output[0] for node in before.graph.node}
    rows = [{"x": image[None]} for number, image in enumerate(images(96)) if number % 3 != 2]
    for layer in LAYERS[:-1]:
        output = next(node.output[0] for node in after.graph.node if node.name == layer)
        means = [
            np.mean([run[0] for run in run_each(model, [name], rows)], axis=(0, 1, 3, 4))
            for model, name in ((before, names[layer]), (after, output))
        ]
        _, scale = bias_of(after, layer)
        assert np.abs(means[0] - means[1]).max() < 0.02, layer  # of values around 1, damaged by SHIFT
        assert np.median(np.abs(means[0] - means[1]) / scale) < 50, layer


def test_what_other_samples_lose_by_is_not_kept(models: tuple[onnx.ModelProto, onnx.ModelProto]) -> None:
    before, after = models
    odd = images(96)
    odd[np.arange(96) % 3 != 2] *= -20
    content = after.SerializeToString(deterministic=True)
    correct(before, after, kept(odd))
    assert after.SerializeToString(deterministic=True) == content


def test_too_few_samples_to_judge_by_change_nothing(models: tuple[onnx.ModelProto, onnx.ModelProto]) -> None:
    before, after = models
    damage(after, "conv")
    content = after.SerializeToString(deterministic=True)
    correct(before, after, kept(images(23)))
    assert after.SerializeToString(deterministic=True) == content


def test_little_memory_takes_fewer_samples(
    models: tuple[onnx.ModelProto, onnx.ModelProto], monkeypatch: pytest.MonkeyPatch
) -> None:
    before, after = models
    damage(after, "conv")
    worst = error(before, after)
    monkeypatch.setattr(onnx_walk, "KEPT_BYTES", 1)
    correct(before, after, kept(images(96)))
    assert error(before, after) < worst / 2


def test_a_walk_gives_what_one_run_does_and_lets_go_of_the_rest(
    models: tuple[onnx.ModelProto, onnx.ModelProto],
) -> None:
    _, after = models
    names = [next(node.output[0] for node in after.graph.node if node.name == layer) for layer in LAYERS]
    rows = [{"x": image[None]} for image in images(3)]
    whole = list(run_each(after, names, rows))
    walk = Walk(after, names, rows)
    for number, name in enumerate(names):
        for run, values in zip(whole, walk.advance(name), strict=True):
            np.testing.assert_allclose(values, run[number], atol=1e-5)
    assert walk.held == [{}] * 3


def test_inputs_and_outputs_without_a_name_are_passed_over() -> None:
    """A Clip has no lower end, a recurrent cell is asked for its last state alone."""
    random = np.random.default_rng(0)
    weights = {"w": random.normal(size=(1, 16, 3)), "r": random.normal(size=(1, 16, 4)), "high": np.array(0.5)}
    graph = helper.make_graph(
        [
            helper.make_node("LSTM", ["x", "w", "r"], ["", "h"], hidden_size=4),
            helper.make_node("Clip", ["h", "", "high"], ["l"]),
            helper.make_node("Tanh", ["l"], ["y"]),
        ],
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["t", "n", 3])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, "n", 4])],
        [numpy_helper.from_array(values.astype(np.float32), name) for name, values in weights.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    rows = [{"x": random.normal(size=(5, 1, 3)).astype(np.float32)} for _ in range(2)]
    walk = Walk(model, ["h", "y"], rows)
    for name in ("h", "y"):
        np.testing.assert_allclose(walk.advance(name), [run[0] for run in run_each(model, [name], rows)], atol=1e-6)


@pytest.mark.parametrize("board", ["x86-64", "rpi5"])
@pytest.mark.parametrize("ranges", [None, "mean"])
def test_a_static_file_is_corrected_as_it_is_written_and_always_the_same(
    board: str, ranges: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = tmp_path / "f.onnx"
    onnx.save(network(), source)
    scheme = Quantize(scheme="static-int8", ranges=ranges, ignore=["depthwise"])

    def written(name: str) -> onnx.ModelProto:
        batches = iter([{"x": images(40)}, {"x": images(60, seed=3)}])
        artifacts.quantize(source, tmp_path / name, scheme, batches, board=BOARDS[board])
        return onnx.load(tmp_path / name)

    first, second = written("a.onnx"), written("b.onnx")
    monkeypatch.setattr(bias_correction, "SAMPLES", 0)
    plain = written("plain.onnx")
    assert first.SerializeToString() == second.SerializeToString()
    if ranges == "mean":  # what is clipped no bias brings back: it stays as it was
        assert first.SerializeToString() == plain.SerializeToString()
    else:
        assert error(network(), first) < error(network(), plain)


def test_an_output_that_is_a_constant_is_no_reason_to_fail(models: tuple[onnx.ModelProto, onnx.ModelProto]) -> None:
    before, after = models
    damage(after, LAYERS[0])
    for model in models:  # as the anchors of a detector
        model.graph.initializer.append(numpy_helper.from_array(np.ones(3, np.float32), "anchors"))
        model.graph.output.append(helper.make_tensor_value_info("anchors", TensorProto.FLOAT, [3]))
    hurt = error(before, after)
    correct(before, after, kept(images(60)))
    assert error(before, after) < hurt / 2


def test_what_the_runtime_refuses_piece_by_piece_stays_as_it_was(
    models: tuple[onnx.ModelProto, onnx.ModelProto], monkeypatch: pytest.MonkeyPatch
) -> None:
    before, after = models
    damage(after, LAYERS[0])
    content = after.SerializeToString()

    def refused(self: Walk, name: str) -> None:
        onnx_walk._session(onnx.ModelProto())  # ONNX Runtime's own error

    monkeypatch.setattr(Walk, "advance", refused)
    correct(before, after, kept(images(60)))
    assert after.SerializeToString() == content


def test_a_network_that_gives_another_number_of_boxes_stays_as_it_was() -> None:
    runs = [[np.ones((number, 4))] for number in range(1, 9)]
    other = [[np.ones((number + 1, 4))] for number in range(1, 9)]
    assert bias_correction.farther(runs, other, runs)
    assert not bias_correction.farther(runs, runs, runs)


def test_only_a_rise_beyond_chance_counts() -> None:
    random = np.random.default_rng(0)
    wanted = [[random.normal(size=5)] for _ in range(32)]
    noise = [random.normal(size=5) for _ in wanted]
    near, far = ([[run[0] + size * part] for run, part in zip(wanted, noise, strict=True)] for size in (0.1, 0.3))
    assert bias_correction.farther(wanted, near, far)
    assert not bias_correction.farther(wanted, far, near)
    assert not bias_correction.farther(wanted, near, [far[0], *near[1:]])  # one run decides nothing


def test_samples_that_are_held_take_bounded_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    batches = [{"a": np.zeros((4, 25), np.float32)} for _ in range(5)]  # 100 bytes a row
    monkeypatch.setattr(calibration, "KEPT_BYTES", 650)
    held = Kept(batches, 96)
    assert [len(batch["a"]) for batch in held] == [4] * 5
    assert [len(batch["a"]) for batch in held.batches] == [4, 2]
    few = Kept(batches, 5)
    list(few)
    assert [len(batch["a"]) for batch in few.batches] == [4, 1]
