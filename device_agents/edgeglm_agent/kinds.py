"""Kinds that a settings file may name: where the class of each is, imported when it is asked for.

So the supervisor, which reads the file, imports the inputs and results that the file names and no others.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping


class KindError(ValueError):
    """A kind is unknown, is claimed twice, or its package cannot be imported.

    Attributes:
        kind: The word.
        known: Every kind there is, where this one is none of them; else None.
    """

    def __init__(self, message: str, *, kind: str, known: tuple[str, ...] | None = None) -> None:
        self.kind = kind
        self.known = known
        super().__init__(message)


def all_kinds(ours: Mapping[str, str], group: str) -> dict[str, str]:
    """Return kind -> ``module:Class``: ours, then those of installed packages.

    Raises:
        KindError: A package claims a kind that is taken.
    """
    from importlib.metadata import entry_points  # takes time and memory: only where a kind is none of ours

    table = dict(ours)
    for point in entry_points(group=group):
        if table.get(point.name, point.value) != point.value:
            raise KindError(
                f"{point.value} claims the kind `{point.name}`, which {table[point.name]} has already; "
                "uninstall that package",
                kind=point.name,
            )
        table[point.name] = point.value
    return table


def imported_kind(kind: str, ours: Mapping[str, str], group: str, base: type[Any]) -> type[Any]:
    """Return the class of a kind.

    Args:
        kind: What the file says.
        ours: kind -> ``module:Class``; these are found without looking at what is installed.
        group: Entry points of packages that add kinds.
        base: What the class must be a subclass of.

    Raises:
        KindError: There is no such kind, or its module cannot be imported or holds something else.
    """
    where = ours.get(kind)
    if where is None:
        known = all_kinds(ours, group)
        if kind not in known:
            raise KindError(f"unknown kind `{kind}`", kind=kind, known=tuple(known))
        where = known[kind]
    from importlib import import_module

    module, _, name = where.partition(":")
    try:
        found = getattr(import_module(module), name)
    except Exception as error:  # someone else's package: whatever it raises is about that package
        said = (str(error).strip().splitlines() or [""])[0]
        message = f"{where}, which is the kind `{kind}`, cannot be imported: {type(error).__name__}: {said}"
        raise KindError(message, kind=kind) from error
    if not (isinstance(found, type) and issubclass(found, base)):
        raise KindError(f"{where}, which is the kind `{kind}`, is no {base.__name__}", kind=kind)
    if found.__struct_config__.tag != kind:  # type: ignore[attr-defined] # a msgspec.Struct
        tag = found.__struct_config__.tag  # type: ignore[attr-defined]
        raise KindError(f"{where} is registered as the kind `{kind}`, and has the tag `{tag}`", kind=kind)
    return found
