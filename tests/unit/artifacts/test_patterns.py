"""Layer patterns of `ignore`."""

from __future__ import annotations

import pytest

from edgeglm.artifacts.patterns import select, with_parents
from edgeglm.errors import ExportError

LAYERS = {"n1": ["stem"], "n2": ["layer1.0.conv1"], "n3": ["layer1.0.conv2"], "n4": ["layer10.0.conv1"], "n5": []}


@pytest.mark.parametrize(
    ("patterns", "expected"),
    [
        pytest.param([], set(), id="none"),
        pytest.param(["stem"], {"n1"}, id="exact"),
        pytest.param(["layer1"], {"n2", "n3"}, id="a layer stands for those it holds, not for others that begin alike"),
        pytest.param(["re:.*conv1"], {"n2", "n4"}, id="expression"),
        pytest.param([r"re:layer\d"], {"n2", "n3"}, id="an expression matches the whole name"),
        pytest.param(["stem", "layer1.0.conv2"], {"n1", "n3"}, id="several"),
    ],
)
def test_patterns_select_the_operators_of_the_layers_they_name(patterns: list[str], expected: set[str]) -> None:
    assert select(patterns, LAYERS) == expected


@pytest.mark.parametrize(
    ("pattern", "hint"),
    [
        ("layer1.0.conv3", "did you mean `layer1.0.conv2`"),
        ("stm", "did you mean `stem`"),
        ("re:head.*", "the layers are `layer1`"),
        ("conv1", "did you mean"),
        ("re:stm", "did you mean `stem`? (`re:` patterns match whole names)"),
    ],
)
def test_a_pattern_without_a_match_is_refused_with_what_could_be_meant(pattern: str, hint: str) -> None:
    with pytest.raises(ExportError, match="matches no layer") as caught:
        select([pattern], LAYERS, where="model.onnx")
    assert caught.value.code == "pattern-matches-nothing"
    assert hint in caught.value.problems[0].hint
    assert caught.value.problems[0].where == "model.onnx"


def test_what_is_no_regular_expression_is_refused() -> None:
    with pytest.raises(ExportError, match="not a regular expression") as caught:
        select(["re:(conv"], LAYERS)
    assert caught.value.code == "pattern-invalid"


def test_a_layer_is_listed_after_those_that_hold_it() -> None:
    assert with_parents("a.b.c") == ["a", "a.b", "a.b.c"]
