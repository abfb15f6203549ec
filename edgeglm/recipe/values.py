"""Single values against their types, and the words for those that do not fit."""

from __future__ import annotations

import math
import re
from typing import TYPE_CHECKING, Any, Final

from edgeglm_agent.suggest import suggestion
from msgspec import inspect as types

from edgeglm.recipe.faults import Faults
from edgeglm.recipe.short import mend_short
from edgeglm.recipe.wording import describe_range, describe_type, found, mend_type, out_of_range, pattern_hint

if TYPE_CHECKING:
    from edgeglm.recipe.nodes import Node, Scalar


class Invalid:
    """What a faulty part of a recipe is read as."""

    def __repr__(self) -> str:
        """Return its name."""
        return "INVALID"


INVALID: Final = Invalid()


class Values(Faults):
    """Reads what holds nothing else: numbers, texts, words of a list."""

    def wrong_type(self, node: Node, kind: types.Type, key: str) -> Invalid:
        """Note a value of another type."""
        hint = mend_short(key, node, mend_type(node, kind))
        self.report(key, f"expected {describe_type(kind)}, found {found(node)}", hint, code="recipe-wrong-type")
        return INVALID

    def unknown_value(self, value: Any, known: list[str], key: str) -> Invalid:
        """Note a word that is none of those known."""
        self.report(
            key,
            f"unknown value `{value}`",
            suggestion(str(value), known, what="known values"),
            code="recipe-unknown-value",
        )
        return INVALID

    def refuse_range(self, message: str, key: str) -> None:
        """Note a value that is too small, too large, too short or too long."""
        self.report(key, message, code="recipe-out-of-range")

    def scalar(self, node: Scalar, kind: types.Type, key: str) -> Any:
        """Return a number, text, true, false or null, or INVALID."""
        value = node.value
        if isinstance(kind, types.FloatType):
            assert isinstance(value, int | float)
            value = float(value)
        if isinstance(value, float) and not math.isfinite(value):
            self.report(key, f"{value} is not a finite number", code="recipe-out-of-range")
            return INVALID
        if isinstance(kind, types.FloatType | types.IntType):
            assert isinstance(value, int | float)
            if out_of_range(value, kind):
                self.refuse_range(f"{node.value} is out of range: {describe_range(kind)}", key)
                return INVALID
        if isinstance(kind, types.StrType):
            assert isinstance(value, str)
            if kind.pattern is not None and (re.search(kind.pattern, value) is None or value.endswith("\n")):
                message = "must not be empty" if not value else f"`{value}` has not the form wanted here"
                self.report(key, message, pattern_hint(kind.pattern), code="recipe-out-of-range")
                return INVALID
            if len(value) < (kind.min_length or 0) or len(value) > (kind.max_length or math.inf):
                self.refuse_range(f"`{value}` has {len(value)} characters: {describe_range(kind)}", key)
                return INVALID
        return value

    def literal(self, node: Scalar, kind: types.LiteralType, key: str) -> Any:
        """Return one of a few words or numbers, or INVALID."""
        for value in kind.values:
            if value == node.value and type(value) is type(node.value):
                return value
        return self.unknown_value(node.value, [str(value) for value in kind.values], key)
