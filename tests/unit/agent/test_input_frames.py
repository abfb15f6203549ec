from __future__ import annotations

import io
import random
from typing import Any

import numpy as np
import pytest
from edgeglm_agent.inputs._base import InputError
from edgeglm_agent.inputs.decode import DamagedError
from edgeglm_agent.inputs.frames import ImageCutter, Layout
from edgeglm_agent.processing.images import read_image
from PIL import Image

PIXELS = np.random.default_rng(0).integers(0, 256, (24, 34, 3)).astype(np.uint8)


def jpeg(pixels: np.ndarray = PIXELS, **options: Any) -> bytes:
    out = io.BytesIO()
    Image.fromarray(pixels).save(out, "JPEG", **options)
    return out.getvalue()


def with_preview() -> bytes:
    """Return an image that holds a smaller one in its EXIF block, as those of phones and cameras do."""
    return jpeg(exif=b"Exif\0\0II*\0\x08\0\0\0\0\0\0\0" + jpeg(PIXELS[:8, :8]))


def ppm(pixels: np.ndarray = PIXELS) -> bytes:
    return b"P6\n%d %d\n255\n" % (pixels.shape[1], pixels.shape[0]) + pixels.tobytes()


IMAGES = [
    pytest.param(jpeg(), id="baseline"),
    pytest.param(jpeg(progressive=True), id="progressive"),
    pytest.param(jpeg(restart_marker_blocks=1), id="restart markers"),
    pytest.param(with_preview(), id="with a preview within"),
    pytest.param(ppm(), id="ppm"),
]


@pytest.mark.parametrize("image", IMAGES)
@pytest.mark.parametrize("step", [1, 7, 1000, 1_000_000])
def test_images_in_a_row_are_cut_wherever_the_bytes_are_parted(image: bytes, step: int) -> None:
    stream = image * 3
    cutter = ImageCutter()
    found = [whole for start in range(0, len(stream), step) for whole in cutter.feed(stream[start : start + step])]
    assert found == [image] * 3


def test_what_stands_between_images_is_passed_over() -> None:
    assert list(ImageCutter().feed(b"\0\0junk" + jpeg() + b"\0" * 100 + jpeg() + b"\xff\xd8")) == [jpeg()] * 2


@pytest.mark.parametrize("step", [1, 7, 1000])
def test_words_between_ppm_images_are_passed_over(step: int) -> None:
    ppm = b"P6\n4 4\n255\n" + b"a" * 48
    stream = b"Process started: low light\n" + ppm + b"P6: dropped a frame\n" + ppm * 2 + jpeg() + b"\n" + ppm
    cutter = ImageCutter()
    found = [whole for start in range(0, len(stream), step) for whole in cutter.feed(stream[start : start + step])]
    assert found == [ppm, ppm, ppm, jpeg(), ppm]


def test_an_image_that_is_cut_off_costs_itself_alone() -> None:
    whole = jpeg()
    found = list(ImageCutter().feed(whole[:200] + whole + whole))
    assert found[-1] == whole
    assert whole in found


def test_a_stream_of_noise_neither_hangs_nor_grows() -> None:
    noise, cutter = random.Random(0), ImageCutter()
    for _ in range(300):
        for frame in cutter.feed(b"\xff\xd8\xff" * noise.randint(0, 1) + noise.randbytes(5000)):
            assert frame
    whole = jpeg()
    assert list(cutter.feed(whole * 100))[-1] == whole  # noise may look like a segment of 64 KB, and no more


def test_a_jpeg_frame_without_huffman_tables_is_read_as_with_them() -> None:
    """USB cameras leave the usual tables out of their frames."""
    whole = jpeg(optimize=False)
    bare, at = bytearray(whole[:2]), 2
    while whole[at + 1] != 0xDA:
        after = at + 2 + int.from_bytes(whole[at + 2 : at + 4], "big")
        if whole[at + 1] != 0xC4:
            bare += whole[at:after]
        at = after
    bare += whole[at:]
    assert len(bare) < len(whole)
    layout = Layout(kind="images")
    assert np.array_equal(layout.array(bare, "rgb"), layout.array(whole, "rgb"))


@pytest.mark.parametrize("mode", ["rgb", "grey"])
def test_a_frame_is_the_array_that_the_same_image_in_a_file_is(mode: Any) -> None:
    out = io.BytesIO()
    Image.fromarray(PIXELS).save(out, "PNG")
    wanted = read_image(io.BytesIO(out.getvalue()), mode)
    size = {"width": 34, "height": 24}
    padded = np.zeros((24, 104), np.uint8)
    padded[:, :102] = PIXELS.reshape(24, 102)
    assert np.array_equal(Layout(kind="rgb", **size).array(PIXELS.tobytes(), mode), wanted)
    assert np.array_equal(Layout(kind="rgb", align=4, **size).array(padded.tobytes(), mode), wanted)
    assert np.array_equal(Layout(kind="bgr", **size).array(PIXELS[:, :, ::-1].tobytes(), mode), wanted)
    assert np.array_equal(Layout(kind="images").array(ppm(), mode), wanted)


def test_a_grey_frame_has_one_channel_or_three_alike() -> None:
    grey = PIXELS[:, :, 0]
    layout = Layout(kind="grey", width=34, height=24)
    assert np.array_equal(layout.array(grey.tobytes(), "grey"), grey[:, :, None])
    assert np.array_equal(layout.array(grey.tobytes(), "rgb"), np.repeat(grey[:, :, None], 3, axis=2))


@pytest.mark.parametrize(
    ("matrix", "colour", "yuv"),
    [  # of video range, as ITU-R BT.601 and BT.709 give them
        ("bt601", (255, 255, 255), (235, 128, 128)),
        ("bt601", (0, 0, 0), (16, 128, 128)),
        ("bt601", (255, 0, 0), (81, 90, 240)),
        ("bt601", (0, 255, 0), (145, 54, 34)),
        ("bt709", (255, 0, 0), (63, 102, 240)),
        ("bt709", (0, 0, 255), (32, 240, 118)),
    ],
)
def test_yuv_becomes_the_colour_that_it_stands_for(matrix: Any, colour: tuple[int, ...], yuv: tuple[int, ...]) -> None:
    y, u, v = yuv
    frame = bytes([y]) * 8 + bytes([u]) * 2 + bytes([v]) * 2
    pixels = Layout(kind="yuv420", width=4, height=2, matrix=matrix).array(frame, "rgb")
    assert pixels.shape == (2, 4, 3)
    assert np.abs(pixels.astype(int) - np.array(colour)).max() <= 2


def test_damaged_frames_are_faults() -> None:
    with pytest.raises(DamagedError):
        Layout(kind="images").array(jpeg()[:300], "rgb")
    with pytest.raises(DamagedError):
        Layout(kind="rgb", width=4, height=4).array(b"x" * 47, "rgb")


@pytest.mark.parametrize(
    ("settings", "key"),
    [
        ({"kind": "rgb"}, "width"),
        ({"kind": "yuv420", "width": 5, "height": 4}, "width"),
        ({"kind": "rgb", "width": 16384, "height": 16384}, "width"),
    ],
)
def test_frames_that_cannot_be_are_refused(settings: Any, key: str) -> None:
    with pytest.raises(InputError) as raised:
        Layout(**settings).check()
    assert raised.value.key == key
