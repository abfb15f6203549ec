"""The shipped recipe digits-cnn: its data, its weights and its training script belong together."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
from edgeglm_agent.processing import Preprocess
from edgeglm_agent.wire import ProcessOp

from edgeglm.nn.inference import predict
from edgeglm.recipe import load_recipe
from edgeglm.recipe.files import file_problems
from edgeglm.sources.entry import Entries

if TYPE_CHECKING:
    from collections.abc import Iterator

FOLDER = Path(__file__).resolve().parents[3] / "recipes" / "digits-cnn"


@pytest.fixture
def entries() -> Iterator[Entries]:
    opened = Entries(FOLDER)
    yield opened
    opened.close()


def test_the_recipe_is_right_and_its_network_reads_digits(entries: Entries) -> None:
    loaded = load_recipe(FOLDER / "recipe.yaml")
    assert file_problems(loaded) == []
    recipe = loaded.recipe
    preprocess = Preprocess([ProcessOp(step.op, step.settings) for step in recipe.preprocess])
    labels = tuple((FOLDER / "labels.txt").read_text().split())
    data = recipe.data.load(entries, preprocess=preprocess, task=recipe.task, labels=labels, seed=recipe.seed)
    assert data.warnings == ()  # no copies between the splits, and every digit among those judged
    assert {name: len(split) for name, split in data.splits.items()} == {"train": 862, "calibration": 216, "eval": 719}
    model = recipe.model.load(entries, data.evaluation.rows(np.arange(4)))
    recipe.task.check(model.outputs, data)
    outputs = predict(model, data.evaluation, threads=1)
    result = recipe.task.evaluate(outputs, data.evaluation.targets, labels)
    assert result.metric.value >= 0.99
    assert min(row.n for row in result.per_class) >= 30  # so that every class is judged
