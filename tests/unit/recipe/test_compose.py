from __future__ import annotations

import math
import time
from typing import Any

import pytest

from edgeglm.errors import Problem, RecipeError
from edgeglm.recipe.compose import compose
from edgeglm.recipe.nodes import Mapping, to_plain


def read(text: str) -> Any:
    node, problems = compose(text, name="r.yaml")
    assert not problems
    assert node is not None
    return to_plain(node)


def problem(text: str) -> Problem:
    try:
        _, problems = compose(text, name="r.yaml")
    except RecipeError as error:
        problems = list(error.problems)
    (found,) = problems
    return found


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1e-3", 0.001),
        ("1E3", 1000.0),
        (".5", 0.5),
        ("5.", 5.0),
        ("+1", 1),
        ("012", 12),
        ("0o14", 12),
        ("0x1F", 31),
        ("-9223372036854775807", -(2**63) + 1),
        ("yes", "yes"),
        ("On", "On"),
        ("true", True),
        ("FALSE", False),
        ("null", None),
        ("~", None),
        ("''", ""),
        ('"1"', "1"),
        ("1_000", "1_000"),
        ("12:30", "12:30"),
        ("2024-01-01", "2024-01-01"),
        ("0b1", "0b1"),
        ("1e", "1e"),
        (".", "."),
        ("-", None),
        (".inf", math.inf),
        ("!!str 5", "5"),
        ("! 5", "5"),
        ("!!int 5", 5),
        ("!!float 5", 5),
        ("!!bool true", True),
        ("!!map {a: 1}", {"a": 1}),
        ("|\n  a\n  b\n", "a\nb\n"),
    ],
)
def test_scalars_follow_the_core_schema_of_yaml_1_2(text: str, value: Any) -> None:
    got = read(text) if text != "-" else read("- \n")[0]
    assert got == value
    assert type(got) is type(value)


def test_every_key_has_its_line() -> None:
    node, _ = compose("a: 1\nb:\n\n  c:\n    - x\n    - y: 2\n", name="r.yaml")
    assert isinstance(node, Mapping)
    assert node.key_lines == {"a": 1, "b": 2}
    inner = node.entries["b"]
    assert isinstance(inner, Mapping)
    assert inner.key_lines == {"c": 4}
    assert [item.line for item in inner.entries["c"].items] == [5, 6]  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("text", "where", "message", "hint"),
    [
        ("a:\n\t- b\n", "r.yaml:2", "not YAML", "spaces"),
        ("a: b: c\n", "r.yaml:1", "mapping values are not allowed", "quotes"),
        ("a: @x\n", "r.yaml:1", "cannot start any token", "quotes"),
        ("a: [1, 2\nb: 3\n", "r.yaml:2", "not YAML", ""),
        ("a: 'x\n", "r.yaml:2", "not YAML", "not closed"),
        ("a: 1\n  b: 2\n", "r.yaml:2", "mapping values are not allowed", ""),
        ("a: 1\nb\n", "r.yaml:3", "not YAML", ""),
        ("a: \x01\n", "r.yaml:1", "U+0001 is not allowed", "escape"),
        ('a: "\\UFFFFFFFF"\n', "r.yaml:1", "not YAML", "escape"),
        ("a: 1\n---\nb: 2\n", "r.yaml:2", "a second document", "one document"),
        ("%YAML 1.1\n---\na: 1\n", "r.yaml:2", "YAML 1.2", "%YAML"),
        ("a: *x\n", "r.yaml:1 a", "`*x` names nothing", "&x"),
        ("a: &x [*x]\n", "r.yaml:1 a[0]", "stands inside", ""),
        ("a: 1\nb: 2\na: 3\n", "r.yaml:3", "`a` is there twice; first on line 1", "keep one"),
        ("x:\n  a: 1\n  a: 1\n", "r.yaml:3 x", "`a` is there twice; first on line 2", ""),
        ("a: !!python/object/apply:os.system [ls]\n", "r.yaml:1 a", "the tag `!!python/object", "plain values"),
        ("a: !!binary aGk=\n", "r.yaml:1 a", "the tag `!!binary` is not allowed", ""),
        ("a: !!int x\n", "r.yaml:1 a", "`x` is no int", ""),
        ("1: a\n", "r.yaml:1", "a key must be text", '"1"'),
        ("? [a]\n: b\n", "r.yaml:1", "a key must be text", ""),
        ("a: {~: 1}\n", "r.yaml:1 a", "a key must be text", ""),
        ("<<: 3\n", "r.yaml:1", "`<<` takes a mapping", "*name"),
        ("a: 99999999999999999999\n", "r.yaml:1 a", "more than 64 bits", ""),
        ("a: " + "9" * 5000 + "\n", "r.yaml:1 a", "more than 64 bits", ""),
        ("a: 1e999\n", "r.yaml:1 a", "too large", ""),
        ('a: "x\\0y"\n', "r.yaml:1 a", "NUL", ""),
        ('a: "\\ud800"\n', "r.yaml:1 a", "surrogate", ""),
        ("a: " + "[" * 60 + "]" * 60 + "\n", "r.yaml:1", "nested deeper than 50 levels", ""),
    ],
)
def test_what_is_wrong_with_the_yaml_is_one_problem_with_its_line(
    text: str, where: str, message: str, hint: str
) -> None:
    found = problem(text)
    assert found.where == where
    assert message in found.message
    assert hint in found.hint


def test_aliases_and_merge_keys_are_expanded() -> None:
    text = "base: &b {x: 1, y: [2]}\na: *b\nc: {<<: *b, x: 3}\nd: {<<: [{z: 4}, *b], y: 5}\ne: {'<<': 1}\n"
    assert read(text) == {
        "base": {"x": 1, "y": [2]},
        "a": {"x": 1, "y": [2]},
        "c": {"x": 3, "y": [2]},
        "d": {"z": 4, "x": 1, "y": 5},
        "e": {"<<": 1},
    }


def test_a_value_that_an_alias_repeats_can_be_changed_in_one_place() -> None:
    node, _ = compose("a: &x {v: 1}\nb: *x\n", name="r.yaml")
    assert isinstance(node, Mapping)
    first, second = node.entries.values()
    assert isinstance(first, Mapping)
    first.entries.clear()
    assert to_plain(second) == {"v": 1}


def test_an_alias_bomb_is_refused_at_once() -> None:
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 9)}]" for i in range(1, 12)]
    started = time.monotonic()
    assert problem("\n".join(lines)).code == "recipe-too-large"
    assert time.monotonic() - started < 20
