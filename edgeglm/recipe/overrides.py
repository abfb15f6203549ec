"""`--set key=value`: changes to the node tree, before it is validated."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from edgeglm_agent.suggest import nearest

from edgeglm.errors import Problem, RecipeError
from edgeglm.recipe.compose import compose
from edgeglm.recipe.nodes import Mapping, Node, Scalar, Sequence, join

if TYPE_CHECKING:
    from collections.abc import Sequence as SequenceType

_PART = re.compile(r"\.?([^.\[\]=\s]+)|\[(\d{1,6})\]")
_LISTS_OF_NAMED = ("steps", "preprocess", "postprocess")  # whose items are `name: {settings}`
_SHORT_FORMS = {"quantize": "scheme"}  # `quantize: static-int8` is `quantize: {scheme: static-int8}`


def apply_overrides(root: Mapping, overrides: SequenceType[str]) -> list[Problem]:
    """Change `root` in place; return what could not be applied."""
    problems: list[Problem] = []
    for override in overrides:
        try:
            problems += _apply(root, override)
        except RecipeError as error:
            problems += error.problems
    return problems


def _apply(root: Mapping, override: str) -> list[Problem]:
    key, equals, text = override.partition("=")
    key = key.strip()
    if not equals:
        raise _error(override, "no `=` in it", "write --set key=value, such as --set steps[0].prune.channel_ratio=0.3")
    parts = _split(key)
    value, problems = compose(text, name="--set", key=key)
    if value is None:
        value = Scalar(None, 0, overridden=True)
    _put(root, parts, value)
    return problems


def _split(key: str) -> list[str | int]:
    """Split `steps[0].prune.channel_ratio` into names and indices."""
    parts: list[str | int] = []
    at = 0
    while at < len(key):
        match = _PART.match(key, at)
        dotted = key[at] == "."
        if match is None or (match.group(1) and dotted != bool(parts)):
            break
        parts.append(match.group(1) or int(match.group(2)))
        at = match.end()
    if at < len(key) or not parts or isinstance(parts[0], int):
        raise _error(
            key, "not a key path", "write names with dots and numbers in brackets: steps[0].prune.channel_ratio"
        )
    return parts


def _put(root: Mapping, parts: list[str | int], value: Node) -> None:
    node: Node = root
    key = ""
    full = ""
    for part in parts:
        full = join(full, part)
    for depth, part in enumerate(parts):
        here = join(key, part)
        last = depth == len(parts) - 1
        if isinstance(part, int):
            if not isinstance(node, Sequence):
                raise _error(full, f"`{key}` is not a list", f"set it whole: --set {key}=...")
            if part >= len(node.items):
                raise _error(full, f"`{key}` has {_count(len(node.items))}", _range_hint(key, len(node.items)))
            if last:
                node.items[part] = value
                return
            node.items[part] = child = _opened(node.items[part])
        else:
            if not isinstance(node, Mapping):
                raise _error(full, f"`{key}` is not a mapping", f"set it whole: --set {key}=...")
            if part not in node.entries:
                _check_new_name(node, parts[:depth], part, key, full)
                if not last and isinstance(parts[depth + 1], int):
                    near = nearest(part, node.entries)
                    hint = f"did you mean `{join(key, near[0])}`?" if near else f"set it whole: --set {here}=[...]"
                    raise _error(full, f"there is no list `{here}`", hint)
                node.entries[part] = Mapping({}, node.line, overridden=True)
                node.key_lines[part] = node.line
            if last:
                node.entries[part] = value
                return
            node.entries[part] = child = _opened(node.entries[part], part)
        node, key = child, here


def _opened(node: Node, name: str = "") -> Node:
    """Return the node to go down into: an empty value, and a short form, become the mapping that they stand for."""
    if isinstance(node, Scalar) and isinstance(node.value, str) and name in _SHORT_FORMS:
        return Mapping({_SHORT_FORMS[name]: node}, node.line, {_SHORT_FORMS[name]: node.line}, node.overridden)
    if isinstance(node, Scalar) and node.value is None:
        return Mapping({}, node.line, overridden=True)
    return node


def _check_new_name(node: Mapping, above: list[str | int], name: str, key: str, full: str) -> None:
    """Refuse a second name in an item that holds one, such as `steps[0].prun` beside `steps[0].prune`."""
    if len(above) == 2 and above[0] in _LISTS_OF_NAMED and len(node.entries) == 1:
        present = next(iter(node.entries))
        raise _error(full, f"`{key}` is `{present}`, not `{name}`", f"did you mean `{join(key, present)}`?")


def _count(number: int) -> str:
    return "no items" if number == 0 else f"{number} item{'s' if number > 1 else ''}"


def _range_hint(key: str, number: int) -> str:
    return f"the last one is `{key}[{number - 1}]`" if number else f"set it whole: --set {key}=[...]"


def _error(key: str, message: str, hint: str) -> RecipeError:
    return RecipeError(message, hint=hint, where=f"--set {key}", code="recipe-override")
