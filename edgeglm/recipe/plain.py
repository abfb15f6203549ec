"""A recipe given as plain data, by a program, to the same nodes that a file gives; they have no lines."""

from __future__ import annotations

from collections.abc import Mapping as MappingType
from pathlib import Path
from typing import Any

from edgeglm.errors import Problem, RecipeError
from edgeglm.recipe.nodes import MAX_DEPTH, Mapping, Node, Scalar, Sequence, join
from edgeglm.recipe.scalars import MAX_INTEGER, check_text

NO_LINE = 0


def to_nodes(value: Any, key: str = "", depth: int = 0) -> tuple[Node, list[Problem]]:
    """Return the node of a value, and what in it no recipe can hold.

    Args:
        value: None, bool, int, float, text, a Path, a list or tuple, a mapping with text keys; nested.
        key: Its key path.
        depth: How deep it lies.

    Raises:
        RecipeError: It is nested too deep, or holds itself.
    """
    if depth > MAX_DEPTH:
        message = f"nested deeper than {MAX_DEPTH} levels"
        raise RecipeError(message, where=key.partition(".")[0], hint="does it hold itself?", code="recipe-too-large")
    problems: list[Problem] = []
    if isinstance(value, MappingType):
        entries: dict[str, Node] = {}
        for name, item in value.items():
            if not isinstance(name, str):
                problems.append(_problem(f"a key must be text, this is {name!r}", key))
                continue
            entries[name], found = to_nodes(item, join(key, name), depth + 1)
            problems += found
        return Mapping(entries, NO_LINE, dict.fromkeys(entries, NO_LINE)), problems
    if isinstance(value, list | tuple):
        items: list[Node] = []
        for index, item in enumerate(value):
            node, found = to_nodes(item, join(key, index), depth + 1)
            items.append(node)
            problems += found
        return Sequence(items, NO_LINE), problems
    if isinstance(value, Path):
        value = str(value)
    try:
        if isinstance(value, str):
            check_text(value)
        elif isinstance(value, int) and abs(value) > MAX_INTEGER:
            raise ValueError("is an integer of more than 64 bits")
        elif value is not None and not isinstance(value, bool | int | float):
            raise ValueError(f"is a {type(value).__name__}, which a recipe cannot hold")
    except ValueError as error:
        problems.append(_problem(f"`{value!r:.60}` {error}", key))
        value = None
    return Scalar(value, NO_LINE), problems


def _problem(message: str, key: str) -> Problem:
    return Problem(message, "give numbers, text, lists and dicts", key, code="recipe-wrong-type")
