from __future__ import annotations

import io
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from edgeglm_agent.processing import Preprocess
from edgeglm_agent.processing.images import ImageError, image_mode, read_image
from PIL import Image


def encoded(pixels: np.ndarray, kind: str = "PNG", **options: object) -> bytes:
    out = io.BytesIO()
    Image.fromarray(pixels).save(out, kind, **options)
    return out.getvalue()


def test_an_image_is_read_as_height_width_channels(tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (5, 7, 3)).astype(np.uint8)
    (tmp_path / "a.png").write_bytes(encoded(pixels))
    assert np.array_equal(read_image(tmp_path / "a.png", "rgb"), pixels)
    assert read_image(io.BytesIO(encoded(pixels)), "grey").shape == (5, 7, 1)


def test_an_image_that_was_taken_sideways_is_turned_upright() -> None:
    wide = np.zeros((4, 8, 3), np.uint8)
    exif = Image.Exif()
    exif[0x0112] = 6  # rotate by 90 degrees
    assert read_image(io.BytesIO(encoded(wide, "JPEG", exif=exif)), "rgb").shape == (8, 4, 3)


def test_what_is_no_image_and_what_is_a_damaged_one_are_told_apart() -> None:
    with pytest.raises(ImageError) as no_image:
        read_image(io.BytesIO(b"hello"), "rgb")
    whole = encoded(np.random.default_rng(0).integers(0, 256, (40, 40, 3)).astype(np.uint8))
    with pytest.raises(ImageError) as damaged:
        read_image(io.BytesIO(whole[: len(whole) // 2]), "rgb")
    assert no_image.value.unknown
    assert not damaged.value.unknown


def test_an_image_with_more_pixels_than_allowed_is_refused_before_it_is_decoded() -> None:
    small_file = encoded(np.zeros((2000, 2000), np.uint8))
    with pytest.raises(ImageError, match=r"2000 x 2000 pixels; at most 1 million are read"):
        read_image(io.BytesIO(small_file), "grey", most_pixels=1_000_000)


@pytest.mark.parametrize(
    ("ops", "shape", "mode"),
    [
        pytest.param([{"layout": {"to": "CHW"}}], (3, 8, 8), "rgb", id="three channels"),
        pytest.param([{"layout": {"to": "CHW"}}], (1, 8, 8), "grey", id="one channel"),
        pytest.param(["grey", {"layout": {"to": "CHW"}}], (1, 8, 8), "rgb", id="made grey by an operation"),
        pytest.param([{"layout": {"from": "HW", "to": "CHW"}}], (1, 8, 8), "grey", id="learnt without channels"),
        pytest.param([{"crop": {"height": 90, "width": 90}}], (90, 90, 1), "grey", id="cut out of a larger one"),
        pytest.param([{"resize": {"height": 9, "width": 5}}], (9, 5, 3), "rgb", id="resized"),
        pytest.param([], (16,), "rgb", id="no image at all"),
    ],
)
def test_the_model_tells_how_many_channels_are_read(ops: list[object], shape: tuple[int, ...], mode: str) -> None:
    assert image_mode(Preprocess.of(ops), shape) == mode  # type: ignore[arg-type]


def test_to_find_out_takes_no_more_memory_than_an_image_of_the_model() -> None:
    ops = [{"normalise": {"scale": "1/255"}}, {"layout": {"from": "HW", "to": "CHW"}}]
    preprocess = Preprocess.of(ops)
    tracemalloc.start()
    try:
        image_mode(preprocess, (1, 32, 32))
        _, most = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert most < 1_000_000  # bytes; a worker would keep them for as long as it runs
