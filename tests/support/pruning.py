"""Pruning as the tests of it ask for it."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from edgeglm.data.splits import ArraySplit
from edgeglm.errors import StepError
from edgeglm.model import Model
from edgeglm.nn.pruning import prune_channels
from edgeglm.steps import Context, Prune
from tests.support.nets import images, make_context


def pruned(model: Model, ctx: Context | None = None, **settings: Any) -> Model:
    return prune_channels(model, Prune(**{"round_to": 1, **settings}), ctx or make_context(model))


def refused(code: str, model: Model, **settings: Any) -> str:
    with pytest.raises(StepError) as caught:
        pruned(model, **settings)
    assert caught.value.code == code
    assert caught.value.problems[0].where.startswith("steps[0]")
    assert caught.value.problems[0].hint
    return str(caught.value)


def image_data(channels: int = 3, size: int = 16) -> ArraySplit:
    return ArraySplit({"x": images(16, channels=channels, size=size)}, np.arange(16) % 4)
