from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from edgeglm.errors import RecipeError
from edgeglm.recipe import load_recipe
from tests.support.recipes import MINIMAL, parse

PLAIN: dict[str, Any] = {
    "version": 1,
    "name": "tiny",
    "model": {"source": "python", "entry": "model.py:build"},
    "data": {"source": "python", "entry": "data.py:load"},
    "task": {"kind": "classification"},
    "artifacts": ({"format": "onnx"},),
}


def test_plain_data_gives_the_recipe_that_the_same_file_gives() -> None:
    assert load_recipe(PLAIN).recipe == parse(MINIMAL).recipe
    assert load_recipe(PLAIN, overrides=["seed=3"]).recipe.seed == 3


def test_paths_of_plain_data_are_relative_to_the_working_directory() -> None:
    loaded = load_recipe({**PLAIN, "labels": Path("labels.txt")})
    assert (loaded.recipe.labels, loaded.folder) == ("labels.txt", Path())
    assert (loaded.where("labels"), loaded.where("")) == ("labels", "recipe")


def refused(**changes: Any) -> list[tuple[str, str]]:
    with pytest.raises(RecipeError) as caught:
        load_recipe({**PLAIN, **changes})
    return [(problem.where, problem.message) for problem in caught.value.problems]


def test_faults_of_plain_data_name_the_key_alone() -> None:
    assert refused(sed=1, steps=[{"prune": {"channel_ratio": 2}}]) == [
        ("recipe", "unknown key `sed`"),
        ("steps[0].prune.channel_ratio", "2 is out of range: above 0 and below 1"),
    ]


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (object, "is a type, which a recipe cannot hold"),
        (b"x", "is a bytes, which a recipe cannot hold"),
        (2**64, "is an integer of more than 64 bits"),
        ("a\0", "holds a NUL character"),
        ({1: 2}, "a key must be text, this is 1"),
    ],
)
def test_a_value_that_no_recipe_can_hold_is_named(value: Any, message: str) -> None:
    ((where, said),) = refused(model={**PLAIN["model"], "args": {"a": [value]}})
    assert where == "model.args.a[0]"
    assert message in said


def test_plain_data_that_holds_itself_is_refused() -> None:
    loop: list[Any] = []
    loop.append(loop)
    ((_, message),) = refused(labels=loop)
    assert message == "nested deeper than 50 levels"
