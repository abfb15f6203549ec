"""Imports that have not happened yet: what code will import, read from its text, and whose module a name would be."""

from __future__ import annotations

import ast
import sys
from importlib.machinery import PathFinder, all_suffixes
from pathlib import Path
from typing import TYPE_CHECKING

from edgeglm.files import tidied

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator


def missing_module_hint(package: str, importer: Path, folder: Path) -> str:
    """Return how to give user code a module that it imports and that cannot be found.

    Args:
        package: The first part of its name.
        importer: The file that imports it.
        folder: The recipe's, which is where user code finds its modules.
    """
    for place in dict.fromkeys((Path(), folder / "..", Path(".."))):
        for near in (place / f"{package}.py", place / package):
            if near.is_file() or (near / "__init__.py").is_file():
                return f"`{tidied(near)}` is not looked at from there: copy it beside {importer.name}, into {folder}"
    return (
        f"put `{package}.py` beside {importer.name}, into {folder}, if it is yours; otherwise install `{package}` into "
        f"the environment that runs edgeglm ({sys.prefix})"
    )


def static_imports(files: Iterable[Path], root: Path, *, ignore: tuple[str, ...] = ()) -> set[Path]:
    """Return these files and all below a folder that their import statements lead to, wherever these stand.

    A name that is computed at run time cannot be read from text; what cannot be parsed imports nothing.

    Args:
        files: Where to begin.
        root: The folder that names are looked up in; a file outside is never gone to.
        ignore: Top-level packages that are not looked up.
    """
    found: set[Path] = set()
    waiting = list(files)
    while waiting:
        file = waiting.pop()
        if file in found:
            continue
        found.add(file)
        for folder, names in _imported(file, root):
            if folder != root or names[0] not in ignore:
                waiting += [near for near in _files(folder, names) if near.is_relative_to(root)]
    return found


def _imported(file: Path, root: Path) -> Iterator[tuple[Path, list[str]]]:
    """Yield what each import of a file names: the folder to begin in, and the names on the way down."""
    try:
        tree = ast.parse(file.read_bytes())
    except (OSError, SyntaxError, ValueError, RecursionError, MemoryError):
        return
    for node in ast.walk(tree):
        match node:
            case ast.Import(names=aliases):
                for alias in aliases:
                    yield root, alias.name.split(".")
            case ast.ImportFrom(module=module, names=aliases, level=level):
                folder = file.parents[min(level, len(file.parents)) - 1] if level else root
                for alias in aliases:  # each may be a module of the package as well as a name inside it
                    yield folder, [*(module.split(".") if module else []), alias.name]
            case ast.Call(
                func=ast.Name(id="import_module" | "__import__") | ast.Attribute(attr="import_module"),
                args=[ast.Constant(value=str(name)), *_],
            ) if name and not name.startswith("."):
                yield root, name.split(".")


def _files(folder: Path, names: list[str]) -> Iterator[Path]:
    """Yield the files that run when a module is imported: its packages' from the top, then its own."""
    yield from _module_files(folder, "__init__")
    for name in names:
        if name == "*":  # what a package gives by it may be any of its modules
            yield from sorted(folder.glob("*.py"))
            return
        yield from _module_files(folder, name)
        folder = folder / name
        yield from _module_files(folder, "__init__")


def _module_files(folder: Path, name: str) -> Iterator[Path]:
    yield from (path for suffix in all_suffixes() if (path := folder / f"{name}{suffix}").is_file())


def importable_elsewhere(name: str, root: Path) -> bool:
    """Tell whether another module of this name would be found without the recipe's folder."""
    top = name.partition(".")[0]
    if top in sys.stdlib_module_names:
        return True
    others = [entry for entry in sys.path if Path(entry or ".").resolve() != root]
    return PathFinder.find_spec(top, others) is not None
