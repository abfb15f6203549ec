"""A recipe as a tree of nodes, each with its line, whether it came from a file, from --set or from a program."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeAlias

if TYPE_CHECKING:
    from edgeglm.recipe.scalars import Plain

MAX_BYTES = 256 * 1024
MAX_NODES = 20_000
MAX_DEPTH = 50


@dataclass
class Scalar:
    """One value, resolved."""

    value: Plain
    line: int
    plain: bool = True  # written without quotes
    overridden: bool = False


@dataclass
class Sequence:
    """A list."""

    items: list[Node]
    line: int
    overridden: bool = False


@dataclass
class Mapping:
    """A mapping in the order of the file."""

    entries: dict[str, Node]
    line: int
    key_lines: dict[str, int] = field(default_factory=dict)
    overridden: bool = False


Node: TypeAlias = Scalar | Sequence | Mapping


def to_plain(node: Node) -> Any:
    """Return the node as dicts, lists and scalars."""
    if isinstance(node, Mapping):
        return {key: to_plain(value) for key, value in node.entries.items()}
    if isinstance(node, Sequence):
        return [to_plain(item) for item in node.items]
    return node.value


def join(key: str, part: str | int) -> str:
    """Return the path of an entry or item below `key`, as it is written after ``--set``."""
    if isinstance(part, int):
        return f"{key}[{part}]"
    return f"{key}.{part}" if key else part
