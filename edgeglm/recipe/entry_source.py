"""Does `path.py:function` exist? Read from the source; the user's module is not imported."""

from __future__ import annotations

import ast
import sys
from dataclasses import replace
from importlib.machinery import PathFinder
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgeglm_agent.suggest import nearest, suggestion

from edgeglm.errors import Problem
from edgeglm.sources.imports import missing_module_hint

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from edgeglm.recipe.load import LoadedRecipe

_Definition = ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef


def entry_problem(
    entry: str, loaded: LoadedRecipe, key: str, *, given: Mapping[str, Any] | None, has_args: bool = True
) -> Problem | None:
    """Return what is wrong with an entry, as far as its source tells, or None.

    Args:
        entry: ``path.py:function``, relative to the recipe, or ``module:function``.
        loaded: The recipe that names it.
        key: Where it names it.
        given: The arguments that it will be called with, by name; None: they are not checked.
        has_args: Whether the recipe may give it further ones, by `args`.
    """
    where = loaded.where(key)
    module, _, name = entry.rpartition(":")
    path = loaded.folder / module
    if not module.endswith(".py"):
        top = module.partition(".")[0]
        path = loaded.folder / f"{module.replace('.', '/')}.py"
        if not path.is_file():  # an installed module: only that it can be found is known without importing it
            if PathFinder.find_spec(top, [str(loaded.folder)]) or _is_importable(top):
                return None
            hint = "name a file as `path.py:function`, or install the module where edgeglm runs"
            return Problem(f"module `{module}` cannot be found", hint, where, code="entry-file-missing")
    if not path.is_file():
        beside = [file.name for file in path.parent.glob("*.py")] if path.parent.is_dir() else []
        near = nearest(path.name, beside)
        hint = f"did you mean `{Path(module).with_name(near[0])}`?" if near else "entries are relative to the recipe"
        return Problem(f"no file `{path}`", hint, where, code="entry-file-missing")
    try:
        tree = ast.parse(path.read_bytes(), filename=str(path))
    except (SyntaxError, ValueError, OSError, RecursionError, MemoryError) as error:
        line = f"{path}:{error.lineno}" if isinstance(error, SyntaxError) and error.lineno else str(path)
        said = error.msg if isinstance(error, SyntaxError) else str(error)
        return Problem(f"{line} is not Python: {said}", "mend the file, then check again", where, code="entry-failed")
    if missing := _missing_import(tree, loaded.folder):
        number, package = missing
        hint = missing_module_hint(package, path, loaded.folder)
        message = f"`{path}:{number}` imports `{package}`, which is not installed here"
        return Problem(message, hint, where, code="entry-import-failed")
    names = dict(_defined(tree.body))
    if name not in names:
        if "*" in names or "__getattr__" in names:
            return None  # what it defines cannot be told without running it
        functions = [known for known, definition in names.items() if definition and not known.startswith("_")]
        hint = suggestion(name, functions, what="it defines") or "it defines no function"
        return Problem(f"`{path}` has no `{name}`", hint, where, code="entry-missing")
    definition = names[name]
    if isinstance(definition, ast.AsyncFunctionDef):
        hint = "write `def` in place of `async def`"
        return Problem(f"`{name}` is an async function", hint, where, code="entry-not-callable")
    if isinstance(definition, ast.FunctionDef) and (at := _only_raises(definition)):
        message = f"`{name}` ({path}:{at}) is not written yet: all it does is raise NotImplementedError"
        return Problem(message, "complete it; what it returns is said beside it", where, code="entry-unfinished")
    if given is None or not isinstance(definition, ast.FunctionDef) or definition.decorator_list:
        return None
    found = _argument_problem(definition, given, f"{path}:{definition.lineno}", loaded, key)
    if found is None or has_args:
        return found
    taken = ", ".join(f"`{name}`" for name in given)
    return replace(found, hint=f"it is called with {taken}, by name: give it these parameters", where=where)


def _is_importable(name: str) -> bool:
    """Tell whether a top-level module is there: imported already, or found by whatever finds modules here."""
    try:
        return name in sys.modules or find_spec(name) is not None
    except (ImportError, ValueError):
        return False


def _only_raises(function: ast.FunctionDef) -> int | None:
    """Return the line on which a function raises NotImplementedError, when it does nothing else."""
    body = function.body[ast.get_docstring(function, clean=False) is not None :]
    if len(body) != 1 or not isinstance(body[0], ast.Raise):
        return None
    raised = body[0].exc.func if isinstance(body[0].exc, ast.Call) else body[0].exc
    return body[0].lineno if isinstance(raised, ast.Name) and raised.id == "NotImplementedError" else None


def _argument_problem(
    function: ast.FunctionDef, given: Mapping[str, Any], place: str, loaded: LoadedRecipe, key: str
) -> Problem | None:
    arguments = function.args
    by_name = [argument.arg for argument in (*arguments.args, *arguments.kwonlyargs)]
    optional = {argument.arg for argument in arguments.args[len(arguments.args) - len(arguments.defaults) :]}
    optional |= {
        argument.arg
        for argument, default in zip(arguments.kwonlyargs, arguments.kw_defaults, strict=True)
        if default is not None
    }
    args_key = key.replace(".entry", ".args")
    for name in given if arguments.kwarg is None else ():
        if name not in by_name:
            where = loaded.where(f"{args_key}.{name}" if f"{args_key}.{name}" in loaded.lines else key)
            hint = suggestion(name, by_name, what="it takes") or "it takes no arguments"
            message = f"`{function.name}` ({place}) takes no argument `{name}`"
            return Problem(message, hint, where, code="entry-arguments")
    for name in by_name:
        if name not in given and name not in optional:
            hint = f"write `args: {{{name}: ...}}`, or give it a default"
            message = f"`{function.name}` ({place}) needs an argument `{name}`"
            return Problem(message, hint, loaded.where(args_key), code="entry-arguments")
    return None


def _missing_import(tree: ast.Module, folder: Path) -> tuple[int, str] | None:
    """Return line and package of the first import that is bound to fail: at the top, of what is nowhere to be found."""
    if any(isinstance(node, ast.Attribute) and ast.unparse(node) == "sys.path" for node in ast.walk(tree)):
        return None  # it makes other folders importable
    for statement in tree.body:
        modules: list[str] = []
        if isinstance(statement, ast.Import):
            modules = [alias.name for alias in statement.names]
        elif isinstance(statement, ast.ImportFrom) and statement.module and not statement.level:
            modules = [statement.module]
        for module in modules:
            package = module.partition(".")[0]
            beside = PathFinder.find_spec(package, [str(folder)])
            if package not in sys.modules and beside is None and find_spec(package) is None:
                return statement.lineno, package
    return None


def _defined(body: list[ast.stmt]) -> Iterator[tuple[str, _Definition | None]]:
    """Yield what a module's body binds at its top, also inside `if`, `try` and `with`; `*` for a star import."""
    for statement in body:
        if isinstance(statement, _Definition):
            yield statement.name, statement
        elif isinstance(statement, ast.Import | ast.ImportFrom):
            for alias in statement.names:
                yield alias.asname or alias.name.partition(".")[0], None
        else:
            for node in ast.iter_child_nodes(statement):
                for found in ast.walk(node):
                    if isinstance(found, ast.Name) and isinstance(found.ctx, ast.Store):
                        yield found.id, None
            for field in ("body", "orelse", "finalbody"):
                yield from _defined(getattr(statement, field, []))
            for handler in getattr(statement, "handlers", []):
                yield from _defined(handler.body)
