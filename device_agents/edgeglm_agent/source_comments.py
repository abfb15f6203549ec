"""The comment at the end of a field's line is its documentation: this reads it from the source.

So the text stands in one place, and messages, the JSON Schema and the reference page say the same.
"""

from __future__ import annotations

import ast
import inspect
import io
import textwrap
import tokenize
from functools import cache
from typing import Any

import msgspec


@cache
def field_comments(cls: type[Any]) -> dict[str, str]:
    """Return field name -> comment for a struct, inherited fields included; nothing where no source is at hand."""
    comments: dict[str, str] = {}
    for base in reversed(cls.__mro__):
        if issubclass(base, msgspec.Struct) and base is not msgspec.Struct:
            comments.update(_own_comments(base))
    return comments


@cache
def doc_line(cls: type[Any]) -> str:
    """Return the first paragraph of a struct's docstring in one line."""
    return " ".join((inspect.getdoc(cls) or "").split("\n\n")[0].split())


def _own_comments(cls: type[Any]) -> dict[str, str]:
    try:
        source = textwrap.dedent(inspect.getsource(cls))
    except (OSError, TypeError):  # installed without source
        return {}
    by_line = {
        token.start[0]: token.string.lstrip("# ").strip()
        for token in tokenize.generate_tokens(io.StringIO(source).readline)
        if token.type == tokenize.COMMENT
    }
    (definition,) = ast.parse(source).body
    assert isinstance(definition, ast.ClassDef)
    return {
        statement.target.id: by_line[statement.end_lineno].replace("None:", "null:")  # as a recipe writes it
        for statement in definition.body
        if isinstance(statement, ast.AnnAssign)
        and isinstance(statement.target, ast.Name)
        and statement.end_lineno in by_line
    }
