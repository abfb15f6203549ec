"""The shipped recipes: files, data, weights, page and figures belong together, and each can be started from."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from edgeglm.errors import UserError
from edgeglm.log import SilentLog
from edgeglm.nn.inference import predict
from edgeglm.pipeline.project import open_project
from edgeglm.recipe import load_recipe
from edgeglm.recipe.files import file_problems
from edgeglm.scaffold import init
from edgeglm.shipped import recipe_files, shipped_recipes

ROOT = Path(__file__).resolve().parents[2]
FOLDERS = {name: folder for name, folder, _ in shipped_recipes()}
# what the shipped weights reach on the split that decides
REACHED = {
    "digits-cnn": 0.99,
    "digits-dscnn": 0.99,
    "tabular-mlp": 0.96,
    "tabular-tabnet": 0.95,
    "vibration-lstm": 0.96,
    "digits-segmentation": 0.7,
    "minilm": 0.9999,
    "minilm-small": 0.9999,
}


@pytest.mark.parametrize("name", FOLDERS)
def test_the_shipped_weights_do_what_the_page_says_on_data_without_faults(name: str) -> None:
    loaded = load_recipe(FOLDERS[name] / "recipe.yaml")
    assert file_problems(loaded) == []
    assert loaded.recipe.name == name
    project = open_project(loaded, log=SilentLog())
    assert project.data.warnings == ()  # no copies between the splits, nothing missing among those judged
    split = project.data.evaluation
    judged = project.judge.prepared(predict(project.original, split, threads=1), split)
    result = project.judge.evaluate(judged, split.targets, project.data.labels)
    assert result.metric.higher_is_better
    assert result.metric.value >= REACHED[name]
    project.entries.close()


@pytest.mark.parametrize("name", [name for name, folder in FOLDERS.items() if (folder / "data.py").is_file()])
def test_its_data_come_out_the_same_each_time(name: str) -> None:
    digests = []
    for _ in range(2):
        project = open_project(load_recipe(FOLDERS[name] / "recipe.yaml"), log=SilentLog())
        digests.append(project.data.sha256)
        project.entries.close()
    assert digests[0] == digests[1]


@pytest.mark.parametrize("name", FOLDERS)
def test_its_files_are_small_and_its_page_names_each(name: str) -> None:
    files = recipe_files(FOLDERS[name])
    assert all(path.stat().st_size < 1_500_000 for path in files)
    page = (FOLDERS[name] / "README.md").read_text()
    names = {str(path.relative_to(FOLDERS[name])) for path in files} - {"README.md"}
    assert {file for file in names if f"`{file}`" not in page} == set()
    assert f"my-{name}/recipe.yaml" in page


@pytest.mark.parametrize(("one", "other"), [("minilm", "minilm-small")])
def test_recipes_on_the_same_sentences_hold_the_same_copies(one: str, other: str) -> None:
    for path in recipe_files(FOLDERS[one]):
        if path.suffix in (".txt", ".tsv", ".json"):
            assert (FOLDERS[other] / path.relative_to(FOLDERS[one])).read_bytes() == path.read_bytes()


def test_the_tables_of_the_pages_are_those_that_the_measured_figures_give() -> None:
    done = subprocess.run(
        [sys.executable, ROOT / "benchmarks" / "recipes.py", "--check"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("name", FOLDERS)
def test_init_copies_it_for_a_board(name: str, tmp_path: Path) -> None:
    started = init(tmp_path / "mine", recipe=name, target="rpi5")
    assert [path.read_bytes() for path in sorted(started.files) if path.name != "recipe.yaml"] == [
        path.read_bytes() for path in recipe_files(FOLDERS[name]) if path.name != "recipe.yaml"
    ]
    loaded = load_recipe(tmp_path / "mine" / "recipe.yaml")
    assert file_problems(loaded) == []
    assert loaded.recipe.target == "rpi5"


def test_a_recipe_that_is_not_shipped_is_refused_with_the_closest_name(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no shipped recipe is called `digit-cnn`") as caught:
        init(tmp_path / "mine", recipe="digit-cnn")
    assert "digits-cnn" in caught.value.problems[0].hint
    with pytest.raises(UserError, match="has its own model") as caught:
        init(tmp_path / "mine", recipe="digits-cnn", model=tmp_path / "m.pt")
    assert caught.value.code == "init-recipe"
    assert not (tmp_path / "mine").exists()
