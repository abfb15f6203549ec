"""Whatever the text: a recipe, or a RecipeError with places. Never anything else."""

from __future__ import annotations

import string
from pathlib import Path

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from edgeglm.errors import RecipeError
from edgeglm.recipe import LoadedRecipe, dump_recipe, parse_recipe
from tests.support.recipes import MINIMAL

RECIPE = (
    MINIMAL
    + """\
target: rpi5
preprocess: [{normalise: {mean: [0.5]}}, grey]
postprocess: [softmax]
steps:
  - prune: {channel_ratio: 0.5, ignore: ["re:.*head"]}
  - distill: {epochs: 12, learning_rate: 1e-3}
budget: {metric_drop: 0.01, size_mb: 5}
"""
)
few = settings(max_examples=150, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow])

KEYS = """
version name model data task artifacts steps budget source entry prune channel_ratio epochs format quantize scheme
labels preprocess normalise mean ignore args fractions train <<
"""
SCALARS = """
1 0.5 -1 1e-3 .nan .inf ~ yes true python onnx x.py:f 're:(' *a &a ! !!int !!python/object:a ? - : [ { ' " % @ | >
"""
keys = st.sampled_from(KEYS.split()) | st.text("abc_", max_size=4)
scalars = st.sampled_from(SCALARS.split()) | st.text(string.printable, max_size=6)
trees = st.recursive(
    scalars,
    lambda inner: (
        st.lists(inner, max_size=3).map(lambda items: f"[{', '.join(items)}]")
        | st.lists(st.tuples(keys, inner), max_size=4).map(
            lambda pairs: "{" + ", ".join(f"{key}: {value}" for key, value in pairs) + "}"
        )
    ),
    max_leaves=12,
)


def outcome(text: str, *overrides: str) -> LoadedRecipe | None:
    """Return the recipe, or None when it was refused with places and codes; anything else fails the test."""
    try:
        loaded = parse_recipe(text, Path("r.yaml"), overrides=overrides)
    except RecipeError as refusal:
        error = refusal
    else:
        assert parse_recipe(dump_recipe(loaded.recipe), Path("r.yaml")).recipe == loaded.recipe
        return loaded
    assert error.problems
    for problem in error.problems:
        assert problem.where.startswith(("r.yaml", "--set"))
        assert problem.code.startswith("recipe-")
        assert problem.message
        assert problem.hint
    str(error).encode("utf-8")
    return None


@few
@given(st.text(max_size=200))
def test_any_text_is_refused_or_loaded(text: str) -> None:
    outcome(text)


@few
@given(st.lists(st.tuples(keys, trees), max_size=8))
def test_any_yaml_of_known_keys_is_refused_or_loaded(pairs: list[tuple[str, str]]) -> None:
    outcome("".join(f"{key}: {value}\n" for key, value in pairs))


@few
@given(st.data())
def test_a_recipe_with_a_few_characters_changed_is_refused_or_loaded(data: st.DataObject) -> None:
    text = RECIPE
    for _ in range(data.draw(st.integers(1, 3))):
        at = data.draw(st.integers(0, len(text)))
        cut = data.draw(st.integers(0, 3))
        text = text[:at] + data.draw(st.text(string.printable + "é\u2028\ud7ff\x85", max_size=3)) + text[at + cut :]
    outcome(text)


@few
@given(st.sampled_from(RECIPE.splitlines()), trees)
def test_a_recipe_with_a_line_of_other_values_is_refused_or_loaded(line: str, value: str) -> None:
    outcome(RECIPE.replace(line, f"{line.partition(':')[0]}: {value}"))


paths = st.lists(keys | st.sampled_from(["steps[0]", "steps[1]", "artifacts[0]", "[1]", "x[9]", ""]), max_size=4)


@few
@given(paths.map(".".join), trees)
def test_any_override_is_refused_or_applied(path: str, value: str) -> None:
    outcome(RECIPE, f"{path}={value}")


@few
@given(st.lists(st.text(max_size=20), max_size=3))
def test_any_text_as_override_is_refused_or_applied(overrides: list[str]) -> None:
    outcome(RECIPE, *overrides)


def test_the_recipe_that_is_changed_here_is_right_itself() -> None:
    assert outcome(RECIPE) is not None
