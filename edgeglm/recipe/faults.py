"""Where the keys of a recipe stand, and what is wrong there."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from edgeglm_agent.source_comments import field_comments

from edgeglm.errors import Problem
from edgeglm.recipe.nodes import Mapping, Node, Sequence, join

if TYPE_CHECKING:
    from collections.abc import Collection
    from collections.abc import Mapping as MappingType

_LAST_PART = re.compile(r"(\.[^.\[]*|\[\d+\]|^[^.\[]*)$")


def place(name: str, key: str, lines: MappingType[str, int], overridden: Collection[str]) -> str:
    """Return ``name:line key``, with the line of the nearest key around it that the file writes; or ``--set key``."""
    at = key
    while at and at not in lines:
        at = _LAST_PART.sub("", at)
    if at in overridden:
        return f"--set {key}"
    line = lines.get(at, 1)
    return f"{name}:{line} {key}".rstrip() if line else key or name  # plain data has no lines


class Faults:
    """The problems of one recipe, each with its place."""

    reference = "the recipe reference, docs/recipe.md"  # what is named where nothing better is known

    def __init__(self, name: str) -> None:
        self.name = name
        self.problems: list[tuple[int, Problem]] = []  # with the line to sort by
        self.lines: dict[str, int] = {}  # by key path
        self.overridden: set[str] = set()  # key paths that --set gave
        self.struct_types: dict[str, Any] = {}  # key path -> struct type that was read there

    def index(self, node: Node, key: str, line: int) -> None:
        """Note the line of every key path below `node`."""
        self.lines[key] = line
        if node.overridden:
            self.overridden.add(key)
        if isinstance(node, Mapping):
            for name, child in node.entries.items():
                self.index(child, join(key, name), node.key_lines[name])
        elif isinstance(node, Sequence):
            for number, item in enumerate(node.items):
                self.index(item, join(key, number), item.line)

    def where(self, key: str) -> str:
        """Return ``path:line key``, or ``--set key`` for what the command line set."""
        return place(self.name, key, self.lines, self.overridden)

    def report(self, key: str, message: str, hint: str = "", *, code: str, at: str | None = None) -> None:
        """Note a problem of `key`, on the line of `at` (of `key` itself when not given)."""
        where = self.where(key)
        line = self.lines.get(key, 0)
        if at is not None and self.lines.get(at) and at not in self.overridden and key not in self.overridden:
            line = self.lines[at]
            where = f"{self.name}:{line} {key}".rstrip()
        elif at is not None and at in self.overridden:
            where = f"--set {at}"
        self.problems.append((line, Problem(message, hint or self._meaning(key), where, code)))

    def _meaning(self, key: str) -> str:
        """Return what a key is for, as the hint where nothing better is known."""
        owner, _, name = key.rpartition(".")
        field = name.partition("[")[0]
        comments = field_comments(self.struct_types[owner]) if owner in self.struct_types else {}
        for known, comment in comments.items():
            if known.rstrip("_") == field:
                return f"`{field}` is: {comment}"
        return f"{self.reference}, says what may stand here"
