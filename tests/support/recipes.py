"""Recipes as text, and what is wrong with them."""

from __future__ import annotations

from pathlib import Path

import pytest

from edgeglm.errors import Problem, RecipeError
from edgeglm.recipe import LoadedRecipe, parse_recipe

MINIMAL = """\
version: 1
name: tiny
model: {source: python, entry: "model.py:build"}
data: {source: python, entry: "data.py:load"}
task: {kind: classification}
artifacts:
  - {format: onnx}
"""


def parse(text: str, *overrides: str) -> LoadedRecipe:
    return parse_recipe(text, Path("kws/recipe.yaml"), overrides=overrides)


def faults(text: str, *overrides: str) -> list[Problem]:
    """Return every problem of a recipe that is wrong."""
    with pytest.raises(RecipeError) as caught:
        parse(text, *overrides)
    return list(caught.value.problems)


def fault(text: str, *overrides: str) -> Problem:
    """Return the one problem of a recipe that is wrong in one way."""
    (problem,) = faults(text, *overrides)
    return problem
