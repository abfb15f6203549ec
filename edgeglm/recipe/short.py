"""Short forms: what a recipe may write for something longer."""

from __future__ import annotations

from edgeglm_agent.suggest import nearest, suggestion

from edgeglm.recipe.nodes import Mapping, Node, Scalar, Sequence

AUTO = "auto"
# key of the recipe -> (the word that may stand for its list, the list's one item)
SHORT_LISTS: dict[str, tuple[str, dict[str, str]]] = {"artifacts": (AUTO, {"format": AUTO})}


def write_out(root: Mapping) -> None:
    """Put the long form in place of every short one: ``artifacts: auto`` becomes ``artifacts: [{format: auto}]``."""
    for key, (word, item) in SHORT_LISTS.items():
        node = root.entries.get(key)
        if isinstance(node, Scalar) and node.value == word:
            entries = {name: Scalar(value, node.line, overridden=node.overridden) for name, value in item.items()}
            lines = dict.fromkeys(item, node.line)
            whole = Mapping(dict(entries), node.line, lines, overridden=node.overridden)
            root.entries[key] = Sequence([whole], node.line, overridden=node.overridden)


def mend_short(key: str, node: Node, hint: str) -> str:
    """Return the hint for a value that is no list, where a word may stand for the list: that word, too, or alone."""
    if key not in SHORT_LISTS or not isinstance(node, Scalar) or node.value is None:
        return hint
    word, _ = SHORT_LISTS[key]
    return suggestion(str(node.value), [word]) if nearest(str(node.value), [word]) else f"{hint}, or `{key}: {word}`"
