"""A pattern that is no regular expression is found as the recipe is read, whatever the setting that holds it."""

from __future__ import annotations

import pytest

from edgeglm.steps import step_types

SETTINGS = {
    ("prune", "ignore"): {"channel_ratio": 0.5},
    ("sparsify", "ignore"): {"pattern": "2:4"},
    ("drop-layers", "ignore"): {"keep": 2},
    ("drop-layers", "drop"): {},
    ("finetune", "freeze"): {"epochs": 1},
    ("distill", "freeze"): {"epochs": 1},
}


@pytest.mark.parametrize(("step", "key"), SETTINGS)
def test_a_broken_pattern_is_named_at_its_setting(step: str, key: str) -> None:
    kind, others = step_types()[step], SETTINGS[step, key]
    assert kind(**others, **{key: ["re:.*dense", "plain("]}).problems() == []
    ((where, message, _),) = kind(**others, **{key: ["re:("]}).problems()
    assert where == key
    assert "`re:(` is no regular expression" in message
