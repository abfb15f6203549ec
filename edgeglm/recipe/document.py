"""YAML files that are no recipes (profiles, rules of alarms), read and validated as recipes are."""

from __future__ import annotations

import os
import stat
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from msgspec import inspect as types

from edgeglm.errors import Problem, RecipeError, UserError
from edgeglm.recipe.compose import compose
from edgeglm.recipe.nodes import MAX_BYTES, Mapping
from edgeglm.recipe.wording import found

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from edgeglm.recipe.walk import Walker


def parse_document(raw: bytes, name: str, kind: type[Any], walker: Walker, *, what: str, code: str) -> Any:
    """Return a document's text as its struct.

    Args:
        raw: YAML, in UTF-8.
        name: What errors call the file.
        kind: The struct of the whole.
        walker: A fresh one, of that name.
        what: What such a document is, as in ``a profile``.
        code: Of errors.

    Raises:
        UserError: Every problem found, in the order of the file.
    """
    text = _text(raw, name, what, code)
    try:
        root, problems = compose(text, name=name)
    except RecipeError as error:
        raise _refused(error.problems, what, code) from None
    if not isinstance(root, Mapping):
        message = "the file is empty" if root is None else f"{what} is a mapping of keys, this is {found(root)}"
        where = name if root is None else f"{name}:{root.line}"
        raise UserError(message, where=where, hint="start with `version: 1`", code=code)
    walker.index(root, "", root.line)
    value = walker.read(root, types.type_info(kind), "")
    composed = {problem.where for problem in problems}
    walked = sorted((problem for _, problem in walker.problems), key=lambda problem: _line(problem, name))
    if everything := [*problems, *(problem for problem in walked if problem.where not in composed)]:
        raise _refused(everything, what, code)
    assert isinstance(value, kind)
    return value


def read_document(path: Path, *, what: str, hint: str, missing_hint: str, code: str) -> bytes:
    """Return what is in a file, for ``parse_document``, and no more than that looks at.

    Args:
        path: Of the file.
        what: What such a document is, as in ``a profile``.
        hint: Where it cannot be read.
        missing_hint: Where there is none.
        code: Of errors.

    Raises:
        UserError: It cannot be read.
    """
    try:
        with path.open("rb") as file:
            if stat.S_ISDIR(os.fstat(file.fileno()).st_mode):
                raise IsADirectoryError
            return file.read(MAX_BYTES + 1)
    except FileNotFoundError:
        raise UserError(f"no such {_bare(what)}", where=str(path), hint=missing_hint, code=code) from None
    except (OSError, ValueError) as error:  # ValueError: a NUL in the path
        reason = "it is a folder" if isinstance(error, IsADirectoryError) else getattr(error, "strerror", "") or error
        raise UserError(f"cannot be read: {reason}", where=str(path), hint=hint, code=code) from None


def _text(raw: bytes, name: str, what: str, code: str) -> str:
    if len(raw) > MAX_BYTES:
        message = f"larger than {MAX_BYTES // 1024} KiB, which is no {_bare(what)}"
        raise UserError(message, where=name, hint="name another file", code=code)
    try:
        return raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = raw.count(b"\n", 0, error.start) + 1
        message = f"not UTF-8: byte 0x{raw[error.start]:02x}"
        raise UserError(message, where=f"{name}:{line}", hint="save the file as UTF-8", code=code) from None


def _bare(what: str) -> str:
    return what.partition(" ")[2]


def _line(problem: Problem, name: str) -> int:
    return int(problem.where.removeprefix(f"{name}:").partition(" ")[0])


def _refused(problems: Sequence[Problem], what: str, code: str) -> UserError:
    """Return the error: the words of recipes, where they name what the file is, are made the document's own."""

    def ours(text: str) -> str:
        return text.replace("a recipe is", f"{what} is").replace("recipes are", f"{_bare(what)}s are")

    return UserError.of([replace(p, message=ours(p.message), hint=ours(p.hint), code=code) for p in problems])
