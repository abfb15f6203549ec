"""What other packages add to a recipe's words: entry points (name -> struct) beside our own; and what they do wrong."""

from __future__ import annotations

import sys
import traceback
from contextlib import contextmanager
from importlib.metadata import entry_points
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from edgeglm.errors import DataError, EdgeglmError, ModelError, StepError, UserError
from edgeglm.host import entry_point_packages

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

_Struct = TypeVar("_Struct")

# group -> what such a struct is, and the error of one that a package adds
_FAULTS: dict[str, tuple[str, type[UserError]]] = {
    "edgeglm.steps": ("step", StepError),
    "edgeglm.tasks": ("task", UserError),
    "edgeglm.sources": ("source of models", ModelError),
    "edgeglm.data": ("source of data", DataError),
}


def with_plugins(
    ours: Iterable[type[_Struct]],
    base: type[_Struct],
    *,
    group: str,
    needs: tuple[str, ...],
    taken: Iterable[str] = (),
) -> dict[str, type[_Struct]]:
    """Return name -> struct: ours, then those that installed packages offer.

    Args:
        ours: Structs that come with edgeglm.
        base: What every one of them is a subclass of.
        group: The entry points' group; each has the name that a recipe writes, which is the struct's tag.
        needs: Methods of which a struct writes one at least: the base's own do nothing.
        taken: Names that are ours without a struct of their own.

    Raises:
        UserError: An entry point cannot be imported, is no such struct, lacks its method, or takes a name that is
            taken (``plugin-invalid``).
    """
    table = {tag(kind): kind for kind in ours}
    reserved = frozenset(taken)
    for point in entry_points(group=group):
        try:
            loaded = point.load()
        except Exception as error:  # someone else's package: whatever it raises is about that package
            raise UserError(
                f"the package that adds `{point.name}` to {group} cannot be imported: {type(error).__name__}: {error}",
                where=point.value,
                hint="repair or uninstall that package",
                code="plugin-invalid",
            ) from error
        is_new = isinstance(loaded, type) and issubclass(loaded, base) and point.name not in {*table, *reserved}
        if not is_new or tag(loaded) != point.name:
            raise UserError(
                f"entry point `{point.name}` of group {group} adds nothing new to it",
                where=point.value,
                hint=f"it must name a subclass of {base.__module__.removesuffix('._base')}.{base.__name__}, whose tag "
                "is the entry point's name, and that name must not be taken",
                code="plugin-invalid",
            )
        if all(getattr(loaded, name) is getattr(base, name) for name in needs):
            lacking = " nor ".join(f"`{name}`" for name in needs)
            raise UserError(
                f"`{point.name}` of group {group} has {'no' if len(needs) == 1 else 'neither'} {lacking}",
                where=point.value,
                hint=f"write it as {base.__module__.removesuffix('._base')}.{base.__name__} says, or uninstall that "
                "package",
                code="plugin-invalid",
            )
        table[point.name] = loaded
    return table


def tag(struct: Any) -> str:
    """Return the name that a recipe writes for a struct, or for the type of one."""
    return str(struct.__struct_config__.tag)


@contextmanager
def blaming(struct: Any, group: str, *, where: str) -> Iterator[None]:
    """Turn whatever a package's struct raises into that package's error; what ours raise passes.

    Args:
        struct: The step, task or source whose methods are called inside.
        group: Of its entry point.
        where: Its key in the recipe.

    Raises:
        UserError: ``step-failed``, ``task-failed`` or ``source-failed``, as the group is.
    """
    try:
        yield
    except EdgeglmError:
        raise
    except Exception as error:  # someone else's package: whatever it raises is about that package
        if is_own(type(struct)):
            raise
        raise fault(struct, group, f"raised {failure(error, type(struct))}", where=where) from error


def fault(struct: Any, group: str, said: str, *, where: str, mend: str = "") -> UserError:
    """Return the error of a package's struct, which ``said`` goes on about; ``mend``: how the package has it right."""
    kind, error = _FAULTS[group]
    word = kind.partition(" ")[0]
    hint = f": {mend}" if mend else f", or leave the {word} out" if word == "step" else f", or choose another {word}"
    return error(
        f"{called(struct, group)} {said}",
        where=where,
        hint=f"mend the package that adds this {word}{hint}",
        code="step-failed" if word == "step" else "task-failed" if word == "task" else "source-failed",
    )


def called(struct: Any, group: str) -> str:
    """Return ``the step `refit-head` of edgeglm-example-plugin 1.0``."""
    packages = entry_point_packages(group, tag(struct)) or [type(struct).__module__]
    return f"the {_FAULTS[group][0]} `{tag(struct)}` of {', '.join(packages)}"


def failure(error: BaseException, kind: type[Any]) -> str:
    """Return ``KeyError: 'scale' (package/steps.py:15)``: what a package's code raised, and its own innermost line."""
    said = f"{type(error).__name__}: {error}"
    modules = [sys.modules.get(name) for name in (kind.__module__.partition(".")[0], kind.__module__)]
    file = next((file for module in modules if (file := getattr(module, "__file__", None))), None)
    if file is None:
        return said
    top = Path(file)
    folder = top.parent.parent if top.name == "__init__.py" else top.parent
    for frame in reversed(traceback.extract_tb(error.__traceback__)):
        path = Path(frame.filename)
        if path == top or (top.name == "__init__.py" and path.is_relative_to(top.parent)):
            return f"{said} ({path.relative_to(folder).as_posix()}:{frame.lineno})"
    return said


def is_own(kind: type[Any]) -> bool:
    """Return whether a struct comes with edgeglm: what is committed must not depend on what else is installed."""
    return kind.__module__.startswith("edgeglm.")
