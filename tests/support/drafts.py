"""What `edgeglm init` wrote, opened; and images to write it for."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from edgeglm_agent.processing import Preprocess
from edgeglm_agent.wire import ProcessOp
from PIL import Image

from edgeglm.recipe import LoadedRecipe, load_recipe
from edgeglm.recipe.files import file_problems
from edgeglm.sources.entry import Entries
from edgeglm.tasks import Classification


def valid(directory: Path) -> LoadedRecipe:
    """Return the recipe in a folder, which must be right and name files that are there."""
    loaded = load_recipe(directory / "recipe.yaml")
    assert file_problems(loaded) == []
    return loaded


def unfinished(directory: Path, key: str) -> LoadedRecipe:
    """Return the recipe in a folder, which lacks only the function that this key names."""
    loaded = load_recipe(directory / "recipe.yaml")
    problem = file_problems(loaded)[0]
    assert problem.code == "entry-unfinished"
    assert problem.where.endswith(f" {key}")
    return loaded


def opened(loaded: LoadedRecipe) -> tuple[Any, Any]:
    """Return (model, data) of a recipe, checked against each other, as the first seconds of a run do."""
    recipe, entries = loaded.recipe, Entries(loaded.folder)
    preprocess = Preprocess([ProcessOp(step.op, step.settings) for step in recipe.preprocess])
    assert isinstance(recipe.labels, str)
    labels = tuple((loaded.folder / recipe.labels).read_text().split())
    data = recipe.data.load(entries, preprocess=preprocess, task=Classification(), labels=labels, seed=0)
    model = recipe.model.load(entries, data.evaluation.rows(np.arange(2)))
    recipe.task.check(model.outputs, data)
    return model, data


def photos(root: Path, names: tuple[str, ...] = ("cat", "dog", "owl"), size: tuple[int, int] = (32, 32)) -> Path:
    """Write ten images of noise for each class; return the folder."""
    for number, name in enumerate(names):
        (root / name).mkdir(parents=True)
        for index in range(10):
            noise = np.random.default_rng((number, index)).integers(0, 256, (*size, 3), dtype=np.uint8)
            Image.fromarray(noise).save(root / name / f"{index}.png")
    return root
