"""Which scheme each operator gets."""

from __future__ import annotations

import pytest

from edgeglm.artifacts.plan import make_plan
from edgeglm.errors import ExportError
from edgeglm.recipe.types import LayerRule, Quantize

LAYERS = {"a": ["table"], "b": ["block.0.up"], "c": ["block.0.down"], "d": ["block.1.down"], "e": ["head"], "f": []}


def rule(match: str, scheme: str = "weight-only-int4", block_size: int | None = None) -> LayerRule:
    return LayerRule(match=match, scheme=scheme, block_size=block_size)


def test_each_operator_is_in_one_group_and_later_entries_win() -> None:
    settings = Quantize(
        scheme="dynamic-int8",
        layers=[rule("block", "weight-only-int8"), rule("re:.*down", block_size=64)],
        ignore=["head", "block.1.down"],
    )
    chief, block, down, ignored = make_plan(settings, LAYERS, where="").groups
    assert (chief.scheme, chief.operators) == ("dynamic-int8", {"a", "f"})
    assert (block.scheme, block.operators) == ("weight-only-int8", {"b"})
    assert (down.scheme, down.operators, down.block_size) == ("weight-only-int4", {"c"}, 64)
    assert (ignored.scheme, ignored.operators) == ("none", {"d", "e"})


def test_operators_are_asked_for_by_scheme() -> None:
    plan = make_plan(Quantize(scheme="dynamic-int8", layers=[rule("table")], ignore=["head"]), LAYERS, where="")
    assert plan.of("none", "weight-only-int4") == {"a", "e"}
    assert plan.but("dynamic-int8") == {"a", "e"}
    assert plan.has("weight-only-int4")
    assert not plan.has("static-int8")


def test_an_entry_whose_layers_later_ones_take_is_refused() -> None:
    settings = Quantize(scheme="dynamic-int8", layers=[rule("head"), rule("re:h.*", "none")])
    with pytest.raises(ExportError, match=r"`head` of `layers` matches only what later entries") as caught:
        make_plan(settings, LAYERS, where="model.onnx")
    assert caught.value.code == "pattern-matches-nothing"


def test_an_entry_that_makes_nothing_smaller_is_refused() -> None:
    plan = make_plan(Quantize(scheme="dynamic-int8", layers=[rule("block")]), LAYERS, where="")
    plan.check({"a", "b", "c"}, large={"a", "b"})
    with pytest.raises(ExportError, match="weight-only-int4 quantized nothing that `block` matches") as caught:
        plan.check({"a", "b", "c"}, large={"b", "c"})
    assert caught.value.code == "quantized-nothing"
