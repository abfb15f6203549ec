"""YAML text to a tree of nodes, each with its line. Nothing is constructed: a node holds plain scalars only.

Aliases and merge keys are expanded while composing, so the result is a tree; its size and depth are bounded.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NoReturn

from ruamel.yaml import YAML
from ruamel.yaml.error import MarkedYAMLError, YAMLError
from ruamel.yaml.events import (
    AliasEvent,
    DocumentStartEvent,
    MappingEndEvent,
    MappingStartEvent,
    ScalarEvent,
    SequenceEndEvent,
    SequenceStartEvent,
    StreamEndEvent,
)
from ruamel.yaml.reader import ReaderError

from edgeglm.errors import Problem, RecipeError
from edgeglm.recipe.nodes import MAX_DEPTH, MAX_NODES, Mapping, Node, Scalar, Sequence, join, to_plain
from edgeglm.recipe.scalars import CORE_TAG, Plain, check_text, resolve, resolve_tagged

if TYPE_CHECKING:
    from collections.abc import Iterator


def compose(text: str, *, name: str, key: str = "") -> tuple[Node | None, list[Problem]]:
    """Compose one document.

    Args:
        text: The YAML text.
        name: How places are named: a path (places read ``path:line key``), or ``--set`` (``--set key``).
        key: Path of the root node, for values of ``--set``.

    Returns:
        The root, or None when the text holds no document; and the problems that leave the tree usable.

    Raises:
        RecipeError: The text is not YAML, or is larger than a recipe can be; one problem.
    """
    composer = _Composer(name)
    return composer.document(text, key), composer.problems


class _Composer:
    def __init__(self, name: str) -> None:
        self.name = name
        self.overridden = name == "--set"
        self.problems: list[Problem] = []
        self.anchors: dict[str, Node] = {}
        self.open_anchors: set[str] = set()
        self.count = 0
        self.first_line = ""

    def where(self, line: int, key: str) -> str:
        return f"--set {key}" if self.overridden else f"{self.name}:{line} {key}".rstrip()

    def fail(self, message: str, line: int, key: str, hint: str = "", code: str = "recipe-not-yaml") -> NoReturn:
        raise RecipeError.of([Problem(message, hint, self.where(line, key), code)])

    def report(self, message: str, line: int, key: str, hint: str, code: str) -> None:
        self.problems.append(Problem(message, hint, self.where(line, key), code))

    def document(self, text: str, key: str) -> Node | None:
        self.text, self.root_key = text, key
        events = self.events(text)
        next(events)  # start of the stream
        event = next(events)
        if isinstance(event, StreamEndEvent):
            return None
        assert isinstance(event, DocumentStartEvent)
        if event.version is not None and tuple(event.version) != (1, 2):
            self.fail("recipes are YAML 1.2", self.line(event), "", "remove the %YAML line", code="recipe-not-yaml")
        root = self.node(next(events), events, key, 0)
        next(events)  # end of the document
        if not isinstance(event := next(events), StreamEndEvent):
            self.fail(
                "a second document starts here", self.line(event), key, "a recipe is one document: remove the `---`"
            )
        return root

    def events(self, text: str) -> Iterator[Any]:
        """Yield parser events; whatever the parser raises becomes one problem with its line."""
        yaml = YAML(typ="safe", pure=True)
        try:
            yield from yaml.parse(text)
        except MarkedYAMLError as error:
            mark = error.problem_mark or error.context_mark
            line = mark.line + 1 if mark is not None else 1
            message = " ".join(part for part in (error.context, error.problem) if part)
            self.fail(f"not YAML: {message}", line, self.root_key, self.syntax_hint(line, message))
        except ReaderError as error:
            line = text.count("\n", 0, error.position) + 1
            self.fail(
                f"not YAML: the character U+{ord(text[error.position]):04X} is not allowed",
                line,
                self.root_key,
                "remove it, or write it as an escape in double quotes",
            )
        except (YAMLError, ValueError, OverflowError, IndexError, AttributeError, AssertionError, TypeError) as error:
            # the parser's own slips on hostile text (an escape beyond Unicode, say): still the text's fault
            self.fail(f"not YAML: {error}", 1, self.root_key, "look for an escape that is not valid")

    def syntax_hint(self, line: int, message: str) -> str:
        lines = self.text.splitlines()
        at = lines[line - 1] if line <= len(lines) else ""
        if "\t" in at:
            return "use spaces: YAML allows no tabs here"
        if "mapping values are not allowed" in message:
            return "put text that holds `: ` in quotes, and align keys of one mapping"
        if "cannot start any token" in message:
            return "put text that starts with this character in quotes"
        if "expected <block end>" in message:
            return "align the keys of one mapping, and the dashes of one list"
        if "stream end" in message or "end of stream" in message:
            return "a quote or bracket is not closed"
        return "look at quotes, brackets and indentation on this line and the one above"

    @staticmethod
    def line(event: Any) -> int:
        return int(event.start_mark.line) + 1

    def node(self, event: Any, events: Iterator[Any], key: str, depth: int) -> Node:
        line = self.line(event)
        self.grow(line, key)
        if depth > MAX_DEPTH:
            message = f"nested deeper than {MAX_DEPTH} levels"
            self.fail(message, line, self.root_key, "close the brackets", code="recipe-too-large")
        if isinstance(event, AliasEvent):
            return self.alias(event.anchor, line, key)
        if event.anchor:
            self.open_anchors.add(event.anchor)
        node: Node
        if isinstance(event, ScalarEvent):
            node = self.scalar(event, line, key)
        elif isinstance(event, SequenceStartEvent):
            self.collection_tag(event, "seq", line, key)
            items: list[Node] = []
            while not isinstance(child := next(events), SequenceEndEvent):
                items.append(self.node(child, events, join(key, len(items)), depth + 1))
            node = Sequence(items, line, self.overridden)
        else:
            assert isinstance(event, MappingStartEvent)
            self.collection_tag(event, "map", line, key)
            node = self.mapping(events, line, key, depth)
        if event.anchor:
            self.open_anchors.discard(event.anchor)
            self.anchors[event.anchor] = node
        return node

    def grow(self, line: int, key: str) -> None:
        self.count += 1
        if self.count > MAX_NODES:
            self.fail(
                f"more than {MAX_NODES} values",
                line,
                self.root_key or key,
                "put long lists into files; aliases (`*name`) count with all that they stand for",
                code="recipe-too-large",
            )

    def alias(self, anchor: str, line: int, key: str) -> Node:
        if anchor in self.open_anchors:
            self.fail(f"`*{anchor}` stands inside what it names", line, key, "an alias cannot contain itself")
        if anchor not in self.anchors:
            self.fail(f"`*{anchor}` names nothing", line, key, f"write `&{anchor}` before the value it should repeat")
        return self.copy(self.anchors[anchor], line, key, top=True)

    def copy(self, node: Node, line: int, key: str, *, top: bool = False) -> Node:
        """Return a copy that an override may change; only its top has the alias's line."""
        if not top:
            self.grow(line, key)
        at = line if top else node.line
        if isinstance(node, Scalar):
            return Scalar(node.value, at, node.plain, node.overridden)
        if isinstance(node, Sequence):
            return Sequence([self.copy(item, line, key) for item in node.items], at, node.overridden)
        entries = {name: self.copy(value, line, key) for name, value in node.entries.items()}
        return Mapping(entries, at, dict(node.key_lines), node.overridden)

    def collection_tag(self, event: Any, wanted: str, line: int, key: str) -> None:
        if event.tag not in (None, "!", CORE_TAG + wanted):
            self.unknown_tag(event.tag, line, key)

    def unknown_tag(self, tag: str, line: int, key: str) -> None:
        shown = tag.replace(CORE_TAG, "!!")
        self.report(f"the tag `{shown}` is not allowed", line, key, "write plain values", code="recipe-not-yaml")

    def scalar(self, event: Any, line: int, key: str) -> Scalar:
        text: str = event.value
        plain = event.style is None or event.style == ""
        value: Plain = text
        try:
            if event.tag is None and plain:
                value = resolve(text)
            elif event.tag not in (None, "!"):
                value = resolve_tagged(text, event.tag)
            if isinstance(value, str):
                check_text(value)
        except LookupError:
            self.unknown_tag(str(event.tag), line, key)
        except ValueError as error:
            shown = ascii(text if len(text) <= 40 else text[:40] + "...")[1:-1]
            self.report(
                f"`{shown}` {error}", line, key, "write another value, or put it in quotes", code="recipe-wrong-type"
            )
            value = None
        return Scalar(value, line, plain, self.overridden)

    def mapping(self, events: Iterator[Any], line: int, key: str, depth: int) -> Mapping:
        mapping = Mapping({}, line, {}, self.overridden)
        merged: list[Mapping] = []
        while not isinstance(event := next(events), MappingEndEvent):
            key_line = self.line(event)
            name_node = self.node(event, events, key, depth + 1)
            is_merge = isinstance(name_node, Scalar) and name_node.value == "<<" and name_node.plain
            name = self.key_name(name_node, key_line, key)
            child = join(key, name) if name is not None else key
            value = self.node(next(events), events, child, depth + 1)
            if is_merge:
                merged.extend(self.merge_sources(value, key_line, key))
                continue
            if name is None:
                continue
            if name in mapping.entries:
                first = mapping.key_lines[name]
                self.report(
                    f"the key `{name}` is there twice; first on line {first}",
                    key_line,
                    key,
                    "keep one of them",
                    code="recipe-duplicate-key",
                )
            mapping.entries[name] = value
            mapping.key_lines[name] = key_line
        for source in merged:  # a key of the mapping itself wins, then the first source
            for name, value in source.entries.items():
                if name not in mapping.entries:
                    mapping.entries[name] = self.copy(value, line, key)
                    mapping.key_lines[name] = source.key_lines[name]
        return mapping

    def merge_sources(self, value: Node, line: int, key: str) -> list[Mapping]:
        sources = value.items if isinstance(value, Sequence) else [value]
        if all(isinstance(source, Mapping) for source in sources):
            return [source for source in sources if isinstance(source, Mapping)]
        self.report("`<<` takes a mapping, or a list of them", line, key, "write `<<: *name`", code="recipe-wrong-type")
        return []

    def key_name(self, node: Node, line: int, key: str) -> str | None:
        if isinstance(node, Scalar) and isinstance(node.value, str):
            return node.value
        shown = to_plain(node)
        hint = f'put it in quotes: "{shown}"' if isinstance(node, Scalar) else "write `key: value`"
        self.report("a key must be text", line, key, hint, code="recipe-wrong-type")
        return None
