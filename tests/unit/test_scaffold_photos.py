"""Recipes for folders of images: sizes, channels, classes and splits."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from safetensors.torch import save_file
from torch import nn

from edgeglm.errors import DataError
from edgeglm.scaffold import init
from edgeglm.sources.entry import Entries
from tests.support.drafts import opened, photos, unfinished, valid


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Work in an empty folder, as a user does."""
    monkeypatch.chdir(tmp_path)
    yield
    if Entries._active is not None:
        Entries._active.close()


@pytest.mark.parametrize(("size", "wanted"), [((48, 64), (48, 64)), ((600, 800), (224, 224))])
def test_the_size_is_that_of_most_images_and_at_most_what_boards_take(size: Any, wanted: tuple[int, int]) -> None:
    root = photos(Path("photos"), ("cat", "dog"), size)
    Image.new("RGB", (13, 17)).save(root / "cat" / "0.png")
    init(Path("mine"), images=root)
    resize = unfinished(Path("mine"), "model.entry").recipe.preprocess[0]
    assert (resize.op, resize.settings["height"], resize.settings["width"]) == ("resize", *wanted)


def test_colour_images_become_grey_for_a_network_of_one_channel() -> None:
    network = nn.Sequential(nn.Conv2d(1, 8, 3), nn.Tanh(), nn.Conv2d(8, 8, 3, groups=2), nn.Linear(8, 3))
    save_file(network.state_dict(), "m.safetensors")
    init(Path("mine"), model=Path("m.safetensors"), images=photos(Path("photos")))
    assert unfinished(Path("mine"), "model.entry").recipe.data.mode == "grey"


def test_grey_images_stay_grey() -> None:
    for name in ("a", "b"):
        (Path("scans") / name).mkdir(parents=True)
        for index in range(8):
            noise = np.random.default_rng(ord(name) + index).integers(0, 256, (20, 20), dtype=np.uint8)
            Image.fromarray(noise).save(Path("scans") / name / f"{index}.png")
    save_file(nn.Sequential(nn.Flatten(), nn.Linear(400, 2)).state_dict(), "m.safetensors")
    init(Path("mine"), model=Path("m.safetensors"), images=Path("scans"))
    loaded = valid(Path("mine"))
    assert loaded.recipe.data.mode == "grey"
    assert opened(loaded)[1].evaluation.rows(np.arange(1))["input"].shape == (1, 1, 20, 20)


def test_images_in_folders_of_splits_are_understood() -> None:
    for split in ("train", "eval"):
        photos(Path("photos") / split, ("cat", "dog"))
    init(Path("mine"), images=Path("photos"))
    assert Path("mine/labels.txt").read_text() == "cat\ndog\n"


def test_the_usual_names_of_evaluation_splits_are_written_into_the_recipe() -> None:
    for split in ("train", "val", "test"):
        photos(Path("photos") / split, ("cat", "dog"))
    init(Path("mine"), images=Path("photos"))
    assert unfinished(Path("mine"), "model.entry").recipe.data.eval_splits == ["val", "test"]
    assert "# 60 images of 2 classes" in Path("mine/recipe.yaml").read_text()


def test_a_folder_of_another_name_that_holds_classes_is_named() -> None:
    for split in ("train", "eval", "night"):
        photos(Path("photos") / split, ("cat", "dog"))
    to_do = init(Path("mine"), images=Path("photos")).to_do
    assert any("photos/night" in line and "eval_splits" in line for line in to_do)


def test_splits_without_one_to_evaluate_on_are_refused_before_anything_is_written() -> None:
    photos(Path("photos") / "train", ("cat", "dog"))
    with pytest.raises(DataError, match="no folder `eval`") as caught:
        init(Path("mine"), images=Path("photos"))
    assert caught.value.code == "data-split-missing"
    assert not Path("mine").exists()


def test_images_of_many_sizes_do_not_decide_the_size() -> None:
    for number, name in enumerate(("cat", "dog")):
        (Path("photos") / name).mkdir(parents=True)
        for index in range(5):
            Image.new("RGB", (32 + 10 * index, 40 + number)).save(Path("photos") / name / f"{index}.png")
    started = init(Path("mine"), images=Path("photos"))
    asked = "sizes differ (32x40 to 72x41): which did you train with?"
    assert f"resize: {{height: 224, width: 224}}   # to check: {asked}" in Path("mine/recipe.yaml").read_text()
    assert any(asked in line for line in started.to_do)


@pytest.mark.parametrize(
    ("make", "code"),
    [
        (lambda: None, "data-file-missing"),
        (lambda: Path("photos").mkdir(), "data-classes"),
        (lambda: photos(Path("photos"), ("cat",)), "data-classes"),
        (lambda: [photos(Path("photos")), Path("photos/emu").mkdir()], "data-class-empty"),
    ],
)
def test_images_that_are_not_there_are_refused_before_anything_is_written(make: Any, code: str) -> None:
    make()
    with pytest.raises(DataError) as caught:
        init(Path("mine"), images=Path("photos"))
    assert caught.value.code == code
    assert not Path("mine").exists()
