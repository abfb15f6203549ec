"""Folders of images: upright, in the order of the labels, every damaged file named."""

from __future__ import annotations

import tracemalloc
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from edgeglm_agent.processing import Preprocess
from PIL import Image

from edgeglm.data.slices import with_entry_slices
from edgeglm.errors import DataError
from edgeglm.files import tidied
from edgeglm.sources import ImagesData, image_files
from edgeglm.sources.entry import Entries
from edgeglm.sources.image_files import read_image
from edgeglm.tasks import Classification

if TYPE_CHECKING:
    from pathlib import Path

RESIZE = [{"resize": {"height": 8, "width": 8}}]


def write(path: Path, seed: int, size: tuple[int, int] = (8, 8)) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    noise = np.random.default_rng(seed).integers(0, 256, (*size, 3), dtype=np.uint8)
    Image.fromarray(noise).save(path)


def folder_of_classes(root: Path, names: tuple[str, ...] = ("cat", "dog"), each: int = 10, seed: int = 0) -> Path:
    for number, name in enumerate(names):
        for index in range(each):
            write(root / name / f"{index:02d}.png", seed + 1000 * number + index)
    return root


def load(root: Path, *, labels: tuple[str, ...] = (), preprocess: Any = (), **kwargs: Any) -> Any:
    config = ImagesData(path=root.name, **kwargs)
    return config.load(
        Entries(root.parent), preprocess=Preprocess.of(preprocess), task=Classification(), labels=labels, seed=0
    )


def refused(code: str, root: Path, match: str, where: Path | None = None, **kwargs: Any) -> DataError:
    with pytest.raises(DataError, match=match) as caught:
        load(root, **kwargs)
    assert caught.value.code == code
    assert caught.value.problems[0].where.startswith(str(where or root))
    return caught.value


def test_a_folder_per_class_is_divided_and_named(tmp_path: Path) -> None:
    data = load(folder_of_classes(tmp_path / "photos"))
    assert data.labels == ("cat", "dog")
    assert {name: len(split) for name, split in data.splits.items()} == {"train": 14, "calibration": 2, "eval": 4}
    assert data.evaluation.targets.tolist() == [0, 0, 1, 1]
    rows = data.evaluation.rows(np.arange(4))["input"]
    assert rows.shape == (4, 8, 8, 3)
    assert rows.dtype == np.float32
    assert rows.max() > 200  # as stored: 0 to 255 until the recipe normalises


def test_the_order_of_the_classes_is_that_of_the_labels(tmp_path: Path) -> None:
    root = folder_of_classes(tmp_path / "photos")
    forward, backward = load(root, labels=("cat", "dog")), load(root, labels=("dog", "cat"))
    assert backward.labels == ("dog", "cat")
    assert (1 - backward.evaluation.targets).tolist() == sorted(forward.evaluation.targets, reverse=True)


def test_folders_of_splits_are_taken_as_they_are(tmp_path: Path) -> None:
    for seed, (name, each) in enumerate({"train": 9, "eval": 4, "night": 3}.items()):
        folder_of_classes(tmp_path / "photos" / name, each=each, seed=100 * seed)
    data = load(tmp_path / "photos", eval_splits=["eval", "night"])
    sizes = {name: len(split) for name, split in data.splits.items()}
    assert sizes == {"train": 15, "calibration": 3, "eval": 8, "night": 6}


def test_a_class_may_be_called_train(tmp_path: Path) -> None:
    data = load(folder_of_classes(tmp_path / "photos", ("bus", "train")))
    assert data.labels == ("bus", "train")


def test_images_are_turned_upright(tmp_path: Path) -> None:
    pixels = np.zeros((4, 6, 3), np.uint8)
    pixels[0, 0] = 255
    exif = Image.Exif()
    exif[0x0112] = 6  # the camera was turned: rotate by 90 degrees to see it upright
    Image.fromarray(pixels).save(tmp_path / "turned.png", exif=exif)
    upright = read_image(tmp_path / "turned.png", "rgb")
    assert upright.shape == (6, 4, 3)
    assert upright[0, 3].tolist() == [255, 255, 255]


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA", "CMYK", "I;16"])
@pytest.mark.parametrize(("wanted", "channels"), [("rgb", 3), ("grey", 1)])
def test_every_kind_of_image_becomes_uint8_of_the_mode_wanted(
    tmp_path: Path, mode: str, wanted: str, channels: int
) -> None:
    if mode == "I;16":
        image = Image.fromarray(np.full((5, 7), 0x8080, np.uint16))
    else:
        image = Image.new("RGB", (7, 5), (128, 128, 128)).convert(mode)
    path = tmp_path / ("image.tif" if mode == "CMYK" else "image.png")
    image.save(path)
    pixels = read_image(path, wanted)
    assert pixels.shape == (5, 7, channels)
    assert pixels.dtype == np.uint8
    if mode != "1":
        assert abs(int(pixels.mean()) - 128) <= 6


def test_a_palette_with_transparency_is_read_without_a_warning(tmp_path: Path, recwarn: Any) -> None:
    image = Image.new("P", (4, 4))
    image.info["transparency"] = b"\x00\xff"
    image.save(tmp_path / "p.png", transparency=b"\x00\xff")
    assert read_image(tmp_path / "p.png", "rgb").shape == (4, 4, 3)
    assert not list(recwarn)


@pytest.mark.parametrize("damage", ["cut", "text", "empty"])
def test_a_damaged_image_is_named(tmp_path: Path, damage: str) -> None:
    root = folder_of_classes(tmp_path / "photos")
    bad = root / "dog" / "07.png"
    write(bad, 0, (64, 64))
    content = bad.read_bytes()
    bad.write_bytes({"cut": content[: len(content) // 2], "text": b"hello" * 30, "empty": b""}[damage])
    refused("data-file-corrupt", root, "cannot be read as an image", bad)


def test_images_of_several_sizes_need_a_resize(tmp_path: Path) -> None:
    root = folder_of_classes(tmp_path / "photos")
    write(root / "cat" / "03.png", 3, (12, 9))
    error = refused("data-shape", root, r"2 sizes, most of them \[8, 8, 3\]; .*03.png is \[12, 9, 3\]")
    assert "resize" in error.problems[0].hint
    assert load(root, preprocess=RESIZE).evaluation.rows(np.arange(2))["input"].shape == (2, 8, 8, 3)


def test_files_that_are_no_images_are_counted(tmp_path: Path) -> None:
    root = folder_of_classes(tmp_path / "photos")
    for name in ("notes.txt", "labels.csv", "more.txt", ".DS_Store", "Thumbs.db"):
        (root / "cat" / name).write_text("x")
    assert any("3 files are no images and were ignored (1 .csv, 2 .txt)" in w for w in load(root).warnings)


def test_folders_that_are_no_data_are_refused(tmp_path: Path) -> None:
    refused("data-file-missing", tmp_path / "photos", "no such folder")
    root = folder_of_classes(tmp_path / "photos")
    refused("data-classes", root, "no folder for bird; no label for the folder cat", labels=("bird", "dog"))
    refused("data-split-missing", root, "names 2", eval_splits=["eval", "night"])
    (root / "emu").mkdir()
    refused("data-class-empty", root, "no image in it", root / "emu")
    (tmp_path / "none").mkdir()
    refused("data-classes", tmp_path / "none", "one is wanted for each class")
    folder_of_classes(tmp_path / "split" / "train")
    refused("data-split-missing", tmp_path / "split", "no folder `eval`")


def test_the_same_photo_in_two_splits_is_found(tmp_path: Path) -> None:
    folder_of_classes(tmp_path / "photos" / "train")
    folder_of_classes(tmp_path / "photos" / "eval", each=4)
    refused("splits-overlap", tmp_path / "photos", "8 of 8 samples")


def test_copies_of_a_photo_are_not_divided(tmp_path: Path) -> None:
    root = folder_of_classes(tmp_path / "photos", each=20)
    for path in sorted(root.rglob("*.png")):
        path.with_name(f"copy-{path.name}").write_bytes(path.read_bytes())
    assert load(root).warnings == ()


def test_more_images_than_fit_in_memory_are_decoded_when_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = folder_of_classes(tmp_path / "photos")
    in_memory = load(root)
    monkeypatch.setattr(image_files, "MOST_BYTES_IN_MEMORY", 1000)
    lazy = load(root)
    assert lazy.sha256 == in_memory.sha256
    assert any("decoded each time" in warning for warning in lazy.warnings)
    rows = np.array([3, 0])
    np.testing.assert_array_equal(lazy.evaluation.rows(rows)["input"], in_memory.evaluation.rows(rows)["input"])


def test_a_large_set_is_never_in_memory_as_a_whole_and_its_slices_are_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = folder_of_classes(tmp_path / "photos", each=300)
    preprocess = [{"resize": {"height": 64, "width": 64}}]
    (tmp_path / "slices.py").write_text(
        "def light(inputs, targets, split):\n"
        "    assert len(inputs) <= 32 and len(targets) == len(inputs)\n"
        "    return ['dark' if image.mean() < 127 else 'light' for image in inputs]\n"
    )
    monkeypatch.setattr(image_files, "MOST_BYTES_IN_MEMORY", 2_000_000)
    load(root, preprocess=preprocess)  # what is imported on the way does not count
    entries = Entries(tmp_path)
    tracemalloc.start()
    data = with_entry_slices(load(root, preprocess=preprocess), ["./slices.py:light"], entries)
    most = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    entries.close()
    one = 64 * 64 * 3 * 4
    assert all(len(split) * one > 2_000_000 for split in data.splits.values())
    assert most < 600 * one / 4  # a few parts of 32 at a time, of 600 images
    rows = data.evaluation.rows(np.arange(len(data.evaluation)))["input"]
    assert data.slices["eval"]["light=dark"].tolist() == [bool(image.mean() < 127) for image in rows]


def test_without_training_images_there_is_no_split_train(tmp_path: Path) -> None:
    root = folder_of_classes(tmp_path / "photos" / "eval").parent
    data = load(root)
    assert list(data.splits) == ["eval"]
    assert data.labels == ("cat", "dog")
    assert len(data.calibration) == 0


@pytest.mark.parametrize("in_memory", [True, False])
def test_all_damaged_images_are_named_in_one_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, in_memory: bool
) -> None:
    if not in_memory:
        monkeypatch.setattr(image_files, "MOST_BYTES_IN_MEMORY", 10)
    root = folder_of_classes(tmp_path / "photos")
    damaged = sorted((root / "cat").glob("*.png"))[:4] + sorted((root / "dog").glob("*.png"))[:3]
    for path in damaged:
        path.write_bytes(path.read_bytes()[:60])
    message = refused("data-file-corrupt", root, "7 files cannot be read as images").problems[0].message
    assert [str(path) in message for path in damaged] == [True] * 5 + [False] * 2
    assert "and 2 more" in message


def test_paths_are_shown_without_the_way_back_out_of_the_recipes_folder(tmp_path: Path) -> None:
    root = folder_of_classes(tmp_path / "photos")
    (tmp_path / "mine").mkdir()
    (root / "cat" / "00.png").write_bytes(b"no image")
    with pytest.raises(DataError) as caught:
        ImagesData(path="../photos").load(
            Entries(tmp_path / "mine"), preprocess=Preprocess(), task=Classification(), labels=(), seed=0
        )
    assert caught.value.problems[0].where == str(root / "cat" / "00.png")


def test_a_way_out_of_a_link_is_left_as_it_is(tmp_path: Path) -> None:
    (tmp_path / "a" / "b").mkdir(parents=True)
    (tmp_path / "link").symlink_to("a/b")
    assert tidied(tmp_path / "link" / ".." / "x") == tmp_path / "link" / ".." / "x"
    assert tidied(tmp_path / "a" / ".." / "x") == tmp_path / "x"
