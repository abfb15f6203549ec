from __future__ import annotations

from typing import Any

import msgspec
import numpy as np
import pytest
from edgeglm_agent.processing import Detection, Postprocess, Preprocess, ProcessingError
from edgeglm_agent.processing._base import Answers
from edgeglm_agent.processing.boxes import DecodeBoxes
from hypothesis import given, settings
from hypothesis import strategies as st


def found(ops: list[Any], outputs: dict[str, Any], **given: Any) -> list[Detection]:
    arrays = {name: np.asarray(values, np.float32) for name, values in outputs.items()}
    (result,) = Postprocess.of(ops, ["a", "b", "c"]).batch(arrays, **given)
    assert isinstance(result, list)
    assert all(isinstance(one, Detection) for one in result)
    return result  # type: ignore[return-value]


@pytest.mark.parametrize(
    ("format_", "box"),
    [("xyxy", [10, 20, 30, 60]), ("yxyx", [20, 10, 60, 30]), ("cxcywh", [20, 40, 20, 40])],
)
@pytest.mark.parametrize("axis", [-1, 0])
def test_every_way_to_write_a_box_gives_the_same_box(format_: str, box: list[float], axis: int) -> None:
    rows = np.array([[[*box, 0.1, 0.75, 0.25]]], np.float32)  # (1, 1 box, 4 + 3 classes)
    rows = rows if axis == -1 else rows.transpose(0, 2, 1)
    (one,) = found([{"boxes": {"format": format_, "axis": axis}}, "labels"], {"out": rows})
    assert one == Detection((10.0, 20.0, 30.0, 60.0), 0.75, 1, "b")


def test_a_share_of_the_input_becomes_pixels() -> None:
    ops = [{"boxes": {"format": "cxcywh", "normalised": True, "input_size": [100, 200], "columns": ["box", "score"]}}]
    (one,) = found(ops, {"out": [[[0.5, 0.5, 0.1, 0.2, 0.9]]]})
    assert one.box == pytest.approx((90, 40, 110, 60))


def test_objectness_weighs_the_class_score_and_weak_boxes_go() -> None:
    ops = [{"boxes": {"format": "xyxy", "columns": ["box", "objectness", "scores"], "min_score": 0.3}}]
    rows = [[[0, 0, 1, 1, 0.5, 0.5, 0.5], [0, 0, 2, 2, 1.0, 0.2, 0.4], [0, 0, 3, 3, 0.9, 0.1, 0.8]]]
    assert [(one.index, round(one.score, 5)) for one in found(ops, {"out": rows})] == [(1, 0.72), (1, 0.4)]
    ops = [{"boxes": {"format": "xyxy", "columns": ["objectness", "box"]}}]  # one class, no scores
    assert found(ops, {"out": [[[0.5, 0, 0, 1, 1]]]}) == [Detection((0, 0, 1, 1), 0.5, 0)]


def test_boxes_scores_and_classes_may_lie_in_outputs_of_their_own() -> None:
    settings_ = {"format": "yxyx", "columns": ["box"], "scores": "s", "classes": "c", "normalised": True}
    ops = [{"boxes": {**settings_, "input_size": [10, 10], "output": "b"}}]
    outputs = {"c": [[2.0, 0.0]], "s": [[0.9, 0.1]], "b": [[[0, 0.1, 1, 0.5], [0, 0, 1, 1]]]}
    assert found(ops, outputs) == [Detection((1, 0, 5, 10), pytest.approx(0.9), 2)]
    ops = [{"boxes": {"format": "xyxy", "columns": ["box"], "scores": "s", "output": "b"}}]
    outputs = {"s": [[[0.1, 0.6], [0.0, 0.1]]], "b": [[[0, 0, 1, 1], [0, 0, 1, 1]]]}
    assert [one.index for one in found(ops, outputs)] == [1]


@pytest.mark.parametrize(
    ("how", "classes"),
    [
        ({"columns": ["box", "scores"]}, 3),
        ({"columns": ["box", "scores"], "axis": 0}, 1),
        ({"columns": ["box"], "output": "box", "scores": "many"}, 5),
        ({"columns": ["box"], "output": "box", "scores": "one"}, 1),
        ({"columns": ["box"], "output": "box", "scores": "many", "classes": "number"}, 0),
        ({"columns": ["box", "score"]}, 1),
        ({"columns": ["box", "score", "class"]}, 0),
        ({"columns": ["objectness", "box"]}, 1),
    ],
)
def test_how_many_classes_the_scores_tell_apart_is_known_wherever_they_lie(how: Any, classes: int) -> None:
    shapes = {"out": (1, 5, 7), "box": (1, 5, 4), "many": (1, 5, 5), "one": (1, 5), "number": (1, 5)}
    op = msgspec.convert({"format": "xyxy", **how}, DecodeBoxes)
    assert op.count_classes(Answers({name: np.zeros(shape, np.float32) for name, shape in shapes.items()})) == classes


def test_a_grid_is_decoded_as_fastestdet_does() -> None:
    """By hand: cell (x=2, y=1) of a 3 x 4 grid of 16 pixels, offset by tanh, size by sigmoid of the whole image."""
    grid = np.zeros((1, 5 + 2, 3, 4), np.float32)
    grid[0, :, 1, 2] = [0.8, 0.5, -0.25, 0.0, -1.0, 0.1, 0.9]
    settings_ = {"format": "grid-tanh", "columns": ["objectness", "box", "scores"], "axis": 0, "strides": [16]}
    (one,) = found([{"boxes": settings_}], {"map": grid})
    x, y = (np.tanh(0.5) + 2) * 16, (np.tanh(-0.25) + 1) * 16
    width, height = 64 * 0.5, 48 / (1 + np.exp(1.0))
    assert one.box == pytest.approx((x - width / 2, y - height / 2, x + width / 2, y + height / 2), rel=1e-5)
    assert (one.score, one.index) == (pytest.approx(0.72), 1)


def test_grids_in_a_row_are_decoded_as_yolox_does() -> None:
    """By hand: 32 x 32 pixels at strides 8 and 16: 16 + 4 cells; the last but one is cell (x=0, y=1) of stride 16."""
    rows = np.zeros((1, 20, 6), np.float32)
    rows[0, 18] = [0.25, 0.5, np.log(2.0), 0.0, 1.0, 0.5]
    settings_ = {"format": "grid-exp", "columns": ["box", "objectness", "scores"], "strides": [8, 16]}
    (one,) = found([{"boxes": {**settings_, "input_size": [32, 32]}}], {"out": rows})
    assert one.box == pytest.approx((4 - 16, 24 - 8, 4 + 16, 24 + 8))
    with pytest.raises(ProcessingError, match=r"20 boxes; strides \[8, 16\] on 64 x 32 pixels make 40"):
        found([{"boxes": {**settings_, "input_size": [64, 32]}}], {"out": rows})
    with pytest.raises(ProcessingError, match="`input_size` must say"):
        found([{"boxes": settings_}], {"out": rows})


def test_numbers_that_are_not_finite_make_no_box() -> None:
    rows = [[[0, 0, np.nan, 1, 0.9], [0, 0, 1, 1, np.inf], [0, 0, 1, 1, 0.5]]]
    assert [one.score for one in found([{"boxes": {"format": "xyxy", "columns": ["box", "score"]}}], {"o": rows})] == [
        0.5
    ]
    columns = ["box", "score", "class"]
    rows = [[[0, 0, 1, 1, 0.9, np.nan], [0, 0, 1, 1, 0.5, 2]]]
    assert [one.index for one in found([{"boxes": {"format": "xyxy", "columns": columns}}], {"o": rows})] == [2]


@pytest.mark.parametrize(
    ("settings_", "says"),
    [
        ({"columns": ["scores"]}, "names `box` once"),
        ({"columns": ["box"]}, "nothing says what the boxes score"),
        ({"columns": ["box", "scores", "class"]}, "either `scores`"),
        ({"scores": "s"}, "take them out of `columns`"),
        ({"format": "grid-exp"}, "needs `strides`"),
        ({"normalised": True}, "needs `input_size`"),
        ({"format": "polar"}, "Invalid enum value 'polar'"),
    ],
)
def test_settings_of_boxes_that_do_not_go_together_are_refused(settings_: dict[str, Any], says: str) -> None:
    with pytest.raises(ProcessingError, match="postprocess") as raised:
        Postprocess.of([{"boxes": {"format": "xyxy", **settings_}}])
    assert says in raised.value.message


@pytest.mark.parametrize(
    ("outputs", "says"),
    [
        ({"o": [[[0, 0, 1, 1]]]}, "4 values a box, which are not box, scores"),
        ({"o": [[0, 0, 1, 1]]}, "no boxes along axis -1"),
        ({"o": [[[0, 0, 1, 1, 0.5]]], "s": 0}, None),
    ],
)
def test_an_output_that_holds_no_boxes_is_named(outputs: dict[str, Any], says: str | None) -> None:
    if says is None:
        assert len(found([{"boxes": {"format": "xyxy"}}], outputs)) == 1
        return
    with pytest.raises(ProcessingError, match=r"postprocess\[0\].boxes: output `o`") as raised:
        found([{"boxes": {"format": "xyxy"}}], outputs)
    assert says in raised.value.message


BOXES = {"boxes": {"format": "xyxy", "columns": ["box", "score", "class"], "min_score": 0.0}}


def test_boxes_that_overlap_one_of_their_class_go() -> None:
    rows = [
        [0, 0, 10, 10, 0.9, 0],
        [0, 0, 10, 9, 0.8, 0],  # 0.9 of the first
        [0, 0, 10, 9, 0.7, 1],  # of another class
        [0, 0, 10, 5, 0.6, 0],  # 0.5 of the first: not more than the limit
        [20, 20, 30, 30, 0.95, 0],
    ]
    out = {"o": [rows]}
    kept = found([BOXES, {"nms": {"iou": 0.5}}], out)
    assert [round(one.score, 2) for one in kept] == [0.95, 0.9, 0.7, 0.6]
    assert [round(one.score, 2) for one in found([BOXES, {"nms": {"iou": 0.5, "per_class": False}}], out)] == [
        0.95,
        0.9,
        0.6,
    ]
    assert [round(one.score, 2) for one in found([BOXES, {"nms": {"iou": 0.5, "max_boxes": 2}}], out)] == [0.95, 0.9]
    sure = found([BOXES, {"nms": {"iou": 0.5}}, {"threshold": {"limit": 0.85}}, "labels"], out)
    assert [(one.label, round(one.score, 2)) for one in sure] == [("a", 0.95), ("a", 0.9)]


def test_equal_scores_keep_the_order_of_the_boxes() -> None:
    rows = [[[i, 0, i + 1, 1, 0.5, 0] for i in range(20)]]
    assert [one.box[0] for one in found([BOXES, "nms"], {"o": rows})] == list(range(20))


def intersection_over_union(a: Detection, b: Detection) -> float:
    sides = [min(a.box[i + 2], b.box[i + 2]) - max(a.box[i], b.box[i]) for i in (0, 1)]
    shared = max(0.0, sides[0]) * max(0.0, sides[1])
    areas = [(one.box[2] - one.box[0]) * (one.box[3] - one.box[1]) for one in (a, b)]
    return shared / (sum(areas) - shared)


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 2**20), count=st.integers(0, 25), iou=st.sampled_from([0.1, 0.45, 0.9]))
def test_suppression_is_the_greedy_one_of_the_textbook(seed: int, count: int, iou: float) -> None:
    rng = np.random.default_rng(seed)
    corner, size = rng.integers(0, 12, (count, 2)), rng.integers(1, 10, (count, 2))
    # scores of few values: ties; corners on whole numbers: equal boxes
    rows = np.column_stack([corner, corner + size, rng.integers(1, 6, count) / 6, rng.integers(0, 2, count)])
    out = {"o": rows.astype(np.float32)[np.newaxis]}
    everything = found([BOXES], out)
    assert [one.score for one in everything] == sorted((one.score for one in everything), reverse=True)
    kept: list[Detection] = []
    for one in everything:
        if all(other.index != one.index or intersection_over_union(other, one) <= iou + 1e-6 for other in kept):
            kept.append(one)
    assert found([BOXES, {"nms": {"iou": iou, "max_boxes": 1000}}], out) == kept


@settings(max_examples=60, deadline=None)
@given(
    size=st.tuples(st.integers(20, 60), st.integers(20, 60)),
    wanted=st.tuples(st.integers(16, 64), st.integers(16, 64)),
    keep_aspect=st.sampled_from(["stretch", "crop", "pad"]),
)
def test_a_box_found_in_what_the_model_sees_is_found_in_the_image(
    size: tuple[int, int], wanted: tuple[int, int], keep_aspect: str
) -> None:
    """A bright square is drawn, resize and crop change the image, and the square is looked up in what came out."""
    image = np.zeros((*size, 3), np.uint8)
    middle = [length // 2 for length in size]
    box = (middle[1] - 4, middle[0] - 4, middle[1] + 4, middle[0] + 4)
    image[box[1] : box[3], box[0] : box[2]] = 255
    cut = {"crop": {"height": wanted[0] - 2, "width": wanted[1] - 3}}
    resize = {"resize": {"height": wanted[0], "width": wanted[1], "keep_aspect": keep_aspect}}
    preprocess = Preprocess.of([resize, cut, {"layout": {"to": "CHW"}}])
    seen = preprocess.one(image)[0]
    rows, columns = np.nonzero(seen.max(axis=1) > 127)[0], np.nonzero(seen.max(axis=0) > 127)[0]
    if not len(rows) or not len(columns) or rows[0] == 0 or columns[0] == 0:
        return  # cut off: there is nothing to look up
    if rows[-1] + 1 == seen.shape[0] or columns[-1] + 1 == seen.shape[1]:
        return
    out = {"o": np.array([[[columns[0], rows[0], columns[-1] + 1, rows[-1] + 1, 1, 0]]], np.float32)}
    (one,) = found([BOXES], out, frames=[preprocess.frame(image)])
    pixel = max(size[0] / wanted[0], size[1] / wanted[1], 1.0)  # of what the model sees, in pixels of the image
    assert np.abs(np.array(one.box) - box).max() <= 1.5 * pixel


def test_boxes_end_where_the_image_ends() -> None:
    image = np.zeros((40, 80, 3), np.uint8)
    preprocess = Preprocess.of([{"resize": {"height": 64, "width": 64, "keep_aspect": "pad"}}])
    frame = preprocess.frame(image)  # 32 x 64, 16 rows from the top
    out = {"o": np.array([[[-5, 0, 32, 32, 1, 0]]], np.float32)}
    (one,) = found([BOXES], out, frames=[frame])
    assert one.box == (0.0, 0.0, 40.0, 20.0)


def test_a_frame_knows_channels_first_images_and_several_inputs() -> None:
    to_rows = Preprocess.of([{"layout": {"from": "CHW", "to": "HWC"}}, {"resize": {"height": 10, "width": 10}}])
    assert to_rows.frame(np.zeros((3, 20, 30))).size == (20, 30)
    sample = {"speed": np.zeros(2), "image": np.zeros((20, 30, 3))}
    assert Preprocess.of([{"resize": {"height": 5, "width": 5}}]).frame(sample).placement.scale == (0.25, 5 / 30)
    with pytest.raises(ProcessingError, match="no input is an image"):
        Preprocess.of([]).frame(np.zeros(4))


def test_a_batch_of_images_gives_each_what_it_gives_alone() -> None:
    rng = np.random.default_rng(3)
    corner = rng.uniform(0, 20, (4, 30, 2))
    rows = np.concatenate([corner, corner + rng.uniform(1, 9, (4, 30, 2)), rng.uniform(0, 1, (4, 30, 3))], axis=-1)
    postprocess = Postprocess.of([{"boxes": {"format": "xyxy"}}, "nms", "labels"], ["a", "b", "c"])
    out = rows.astype(np.float32)
    alone = [postprocess.one({"o": row[np.newaxis]}) for row in out]
    assert postprocess.batch({"o": out}) == alone
    assert Postprocess(postprocess.wire()).batch({"o": out}) == alone
