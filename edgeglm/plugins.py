"""What other packages add to a recipe's words: entry points (name -> struct) beside our own."""

from __future__ import annotations

import sys
import traceback
from importlib.metadata import entry_points
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from edgeglm.errors import UserError

if TYPE_CHECKING:
    from collections.abc import Iterable

_Struct = TypeVar("_Struct")


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
