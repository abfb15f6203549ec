"""A file of rules to `Rules`: validated as recipes are, every fault with its line."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from msgspec import inspect as types

from edgeglm.fleet.alerts.rules import RULES, Rule, Rules
from edgeglm.recipe.document import parse_document, read_document
from edgeglm.recipe.walk import Walker

if TYPE_CHECKING:
    from edgeglm.recipe.nodes import Node

DEFAULT = Path(__file__).with_name("default.yaml")


def load_rules(path: Path | None) -> Rules:
    """Read a file of rules; None: those that come with edgeglm.

    Raises:
        UserError: There is none, or it cannot be used; every problem found, in the order of the file.
    """
    raw = read_document(
        path or DEFAULT,
        what="a rules file",
        hint="name a YAML file; without --rules those that come with edgeglm hold",
        missing_hint="without --rules those that come with edgeglm hold",
        code="rules-not-found",
    )
    return parse_rules(raw, str(path or "default.yaml"))


def parse_rules(text: str | bytes, name: str) -> Rules:
    """Validate the text of a file of rules. Raises: UserError: Every problem found, in the order of the file."""
    raw = text.encode() if isinstance(text, str) else text
    rules = parse_document(raw, name, Rules, _RulesWalker(name), what="a rules file", code="rules-invalid")
    assert isinstance(rules, Rules)
    return rules


class _RulesWalker(Walker):
    reference = "docs/fleet.md, section Alarms"

    def elsewhere(self, name: str, here: type[Any]) -> str:
        if name in Rules.__struct_fields__ and here is not Rules:
            return f"`{name}` belongs at the top level, not indented"
        places = [f"in the rule `{kind}`" for kind, cls in RULES.items() if name in cls.__struct_fields__]
        if issubclass(here, Rule) and name in Rule.__struct_fields__:
            return ""
        return f"`{name}` belongs {' or '.join(places[:3])}" if places else ""

    def _read(self, node: Node, kind: types.Type, key: str) -> Any:
        if isinstance(kind, types.StructType) and kind.cls is Rule:
            return self.named(node, key, dict(RULES), what="rule")
        return super()._read(node, kind, key)
