"""What a sample looks like on the page."""

from __future__ import annotations

import base64
import io
from pathlib import Path

import numpy as np
import pytest
from edgeglm_agent.wire import TensorSpec
from PIL import Image

from edgeglm.data.samples import show_sample
from edgeglm.recipe import ProcessStep
from tests.support.texts import save_tokenizer

HERE = Path()


def picture_of(values: np.ndarray, layout: str, *steps: ProcessStep) -> np.ndarray:
    """Return the pixels that are shown of a sample."""
    spec = TensorSpec("input", "float32", values.shape, layout)
    sample = show_sample({"input": values}, [spec], steps, HERE)
    assert sample.kind == "image"
    head, _, data = sample.image.partition(",")
    assert head in ("data:image/png;base64", "data:image/jpeg;base64")
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(data))))


@pytest.mark.parametrize("scale", ["1/255", 1.0], ids=["fraction", "whole"])
def test_a_picture_is_shown_as_it_was_before_normalisation(scale: str | float) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (12, 10, 3)).astype(np.uint8)
    mean, std = np.array([0.4, 0.5, 0.6]), np.array([0.2, 0.3, 0.25])
    factor = 1 / 255 if isinstance(scale, str) else scale
    values = ((pixels * factor - mean) / std).astype(np.float32)
    step = ProcessStep("normalise", {"scale": scale, "mean": mean.tolist(), "std": std.tolist()})
    np.testing.assert_array_equal(picture_of(np.moveaxis(values, -1, 0), "NCHW", step), pixels)
    np.testing.assert_array_equal(picture_of(values, "NHWC", step), pixels)


def test_a_picture_of_unknown_scale_is_stretched_to_its_own_range() -> None:
    values = np.linspace(-3, 5, 8 * 8, dtype=np.float32).reshape(1, 8, 8)
    shown = picture_of(values, "NCHW")
    assert (shown.min(), shown.max()) == (0, 255)
    flat = picture_of(np.full((1, 8, 8), 7.5, np.float32), "NCHW")
    assert flat.shape == (8, 8)


def test_a_large_picture_becomes_a_small_one_of_few_bytes() -> None:
    noise = np.random.default_rng(0).integers(0, 256, (3, 400, 300)).astype(np.float32)
    shown = picture_of(noise, "NCHW")
    assert max(shown.shape[:2]) == 96
    spec = TensorSpec("input", "float32", (3, 400, 300), "NCHW")
    assert len(show_sample({"input": noise}, [spec], [], HERE).image) < 20_000


def test_series_are_thinned_out_lines_and_few_numbers_are_written_out() -> None:
    wave = np.sin(np.linspace(0, 20, 1000, dtype=np.float32))
    for values in (np.stack([wave] * 5, axis=1), np.stack([wave] * 5)):  # (T, C) and (C, T)
        sample = show_sample({"x": values}, [TensorSpec("x", "float32", values.shape, "")], [], HERE)
        assert (sample.kind, len(sample.series), len(sample.series[0])) == ("series", 3, 96)
        assert sample.series[0][0] == 0
    numbers = np.array([5.1, 3.5, 1e-7], np.float32)
    sample = show_sample({"x": numbers}, [TensorSpec("x", "float32", (3,), "NC")], [], HERE)
    assert (sample.kind, sample.text) == ("text", "5.1, 3.5, 1e-07")


def test_a_text_is_read_back_from_its_token_numbers(tmp_path: Path) -> None:
    from edgeglm_agent.processing.tokenize import Tokenize

    path = save_tokenizer(tmp_path / "tokenizer.json")
    words = "the pump is hot"
    tokens = Tokenize(tokenizer=path.name, length=8).tokens([words], tmp_path)
    specs = [TensorSpec(name, "int64", (8,), "") for name in tokens]
    step = ProcessStep("tokenize", {"tokenizer": path.name, "length": 8, "input_ids": "input_ids"})
    sample = show_sample({name: values[0] for name, values in tokens.items()}, specs, [step], tmp_path)
    assert sample.kind == "text"
    assert sample.text == words
