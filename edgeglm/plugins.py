"""What other packages add to a recipe's words: entry points (name -> struct) beside our own."""

from __future__ import annotations

from importlib.metadata import entry_points
from typing import TYPE_CHECKING, Any, TypeVar

from edgeglm.errors import UserError

if TYPE_CHECKING:
    from collections.abc import Iterable

_Struct = TypeVar("_Struct")


def with_plugins(
    ours: Iterable[type[_Struct]], base: type[_Struct], *, group: str, taken: Iterable[str] = ()
) -> dict[str, type[_Struct]]:
    """Return name -> struct: ours, then those that installed packages offer.

    Args:
        ours: Structs that come with edgeglm.
        base: What every one of them is a subclass of.
        group: The entry points' group; each has the name that a recipe writes, which is the struct's tag.
        taken: Names that are ours without a struct of their own.

    Raises:
        UserError: An entry point cannot be imported, is no such struct, or takes a name that is taken
            (``plugin-invalid``).
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
        table[point.name] = loaded
    return table


def tag(struct: Any) -> str:
    """Return the name that a recipe writes for a struct, or for the type of one."""
    return str(struct.__struct_config__.tag)


def is_own(kind: type[Any]) -> bool:
    """Return whether a struct comes with edgeglm: what is committed must not depend on what else is installed."""
    return kind.__module__.startswith("edgeglm.")
