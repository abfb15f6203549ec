"""The user's own functions: found by `path.py:function`, called, and their errors shown as theirs.

Every recipe has its own view of the modules beside it, so that two recipes of one process may each have a `model.py`.
What user code prints goes to stderr: stdout belongs to the result.
"""

from __future__ import annotations

import difflib
import hashlib
import importlib
import importlib.util
import inspect
import os
import sys
import traceback
from contextlib import contextmanager, redirect_stdout
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgeglm.errors import EdgeglmError, EntryError
from edgeglm.sources.imports import importable_elsewhere, missing_module_hint, static_imports

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from types import ModuleType

_OURS = ("edgeglm", "edgeglm_agent")


class Entries:
    """The functions that one recipe names, and the modules they came from."""

    _active: Entries | None = None  # whose modules lie in sys.modules now

    def __init__(self, folder: Path) -> None:
        """Take the recipe's folder, as the user gave it: entries are relative to it, errors name paths below it."""
        self.folder = folder
        self._root = folder.resolve()
        self._prefixes = tuple({str(self._root) + os.sep, str(folder.absolute()) + os.sep})
        self._files: dict[Path, ModuleType] = {}  # `path.py` of an entry -> what it gave
        self._siblings: dict[str, ModuleType] = {}  # modules below the folder, under the names user code imports
        self._before: frozenset[str] = frozenset()  # modules of the folder that somebody else had imported
        self._seen = 0  # how many modules there were when we last looked
        self._depth = 0
        self._sha256 = ""

    def resolve(self, entry: str, *, key: str) -> Callable[..., Any]:
        """Return the function that an entry names; its module is run the first time.

        Args:
            entry: ``path.py:function`` relative to the recipe's folder, or ``module:function``.
            key: The recipe's key that named it, for errors.

        Raises:
            EntryError: The file, module or function does not exist, is not callable, or its module raised.
        """
        place, _, name = entry.rpartition(":")
        module = self._import_file(place, entry, key) if place.endswith(".py") else self._import(place, entry, key)
        try:
            function = getattr(module, name)
        except AttributeError:
            known = [other for other, value in vars(module).items() if callable(value) and not other.startswith("_")]
            close = difflib.get_close_matches(name, known, n=1)
            own = [other for other in known if getattr(getattr(module, other), "__module__", "") == module.__name__]
            hint = f"did you mean `{close[0]}`?" if close else f"it defines: {', '.join(own) or 'no function'}"
            raise EntryError(f"`{place}` has no `{name}`", where=key, hint=hint, code="entry-missing") from None
        if not callable(function):
            raise EntryError(
                f"`{entry}` is a {type(function).__name__}, not a function",
                where=key,
                hint="an entry names a function (or class) that edgeglm calls",
                code="entry-not-callable",
            )
        return function  # type: ignore[no-any-return]

    def call(self, entry: str, *, key: str, **kwargs: Any) -> Any:
        """Call the function that an entry names and return its answer.

        Raises:
            EntryError: It cannot be found, does not take these arguments, or raised.
        """
        function = self.resolve(entry, key=key)
        try:
            inspect.signature(function).bind(**kwargs)
        except ValueError:
            pass  # a builtin without a signature: the call will tell
        except TypeError as error:
            given = ", ".join(f"{name}={value!r}" for name, value in kwargs.items()) or "no arguments"
            raise EntryError(
                f"`{entry}` ({key}) does not take what it is called with: {error}; called with {given}",
                where=self._definition(function),
                hint="give the function these parameters, or mend `args` in the recipe",
                code="entry-arguments",
            ) from None
        with self.guard(entry, key):
            return function(**kwargs)

    @contextmanager
    def guard(self, entry: str, key: str) -> Iterator[None]:
        """Run user code inside: its modules importable, its prints on stderr, its exceptions as EntryError.

        Errors of edgeglm and KeyboardInterrupt pass through.
        """
        with self._activated(), redirect_stdout(sys.stderr):
            try:
                yield
            except EdgeglmError:
                raise
            except (Exception, SystemExit) as error:
                raise self._explain(error, entry, key) from error

    def modules(self) -> dict[str, Path]:
        """Return the file of every module that was imported from below the folder, by its path relative to it."""
        loaded = {**self._siblings, **(sys.modules if Entries._active is self else {})}
        paths = {path for name, module in loaded.items() if (path := self._file_below(name, module))}
        paths.update(self._files)
        names = sorted({self._name(path) for path in paths})
        return {name: Path(os.path.normpath(self._root / name)) for name in names}

    def sha256(self) -> str:
        """Return a digest of the user's code as it was when this was first asked: a run has one, to its end.

        It covers :meth:`modules`, and what below the folder these would import later.
        """
        if not self._sha256:
            digest = hashlib.sha256()
            files = static_imports(self.modules().values(), self._root, ignore=_OURS)
            for name, path in sorted((self._name(path), path) for path in files):
                content = path.read_bytes() if path.is_file() else b""
                digest.update(f"{name}\0{len(content)}\0".encode() + content)
            self._sha256 = digest.hexdigest()
        return self._sha256

    def close(self) -> None:
        """Take the folder and its modules out of the interpreter's tables."""
        if Entries._active is self:
            self._collect()
            for name in self._siblings:
                sys.modules.pop(name, None)
            self._leave_path()
            Entries._active = None

    @contextmanager
    def _activated(self) -> Iterator[None]:
        """Make this recipe's modules the importable ones.

        Afterwards they stay, and the folder moves from the first to the last place of sys.path: a network may import
        a sibling in its forward, long after it was built, but must not hide an installed package from edgeglm.
        """
        if Entries._active is not self:
            if Entries._active is not None:
                Entries._active.close()
            self._before = frozenset(n for n, m in list(sys.modules.items()) if self._file_below(n, m))
            sys.modules.update(self._siblings)
            importlib.invalidate_caches()
            Entries._active, self._seen = self, 0
        self._depth += 1
        if self._depth == 1:
            self._leave_path()
            sys.path.insert(0, str(self._root))
        writes_bytecode, sys.dont_write_bytecode = sys.dont_write_bytecode, True  # their folder stays as it is
        try:
            yield
        finally:
            sys.dont_write_bytecode = writes_bytecode
            self._depth -= 1
            self._collect()
            if self._depth == 0 and Entries._active is self:
                self._leave_path()
                sys.path.append(str(self._root))

    def _leave_path(self) -> None:
        sys.path[:] = [entry for entry in sys.path if entry != str(self._root)]

    def _collect(self) -> None:
        """Remember the modules below the folder as this recipe's."""
        if len(sys.modules) == self._seen:
            return  # called for every batch of a dataset: keep it cheap
        self._seen = len(sys.modules)
        found = {n: m for n, m in list(sys.modules.items()) if n not in self._before and self._file_below(n, m)}
        self._siblings.update(found)

    def _file_below(self, name: str, module: ModuleType) -> Path | None:
        """Return the module's file when it is user code below the folder (not a package installed there)."""
        file = getattr(module, "__file__", None)
        if not isinstance(file, str) or name == "__main__" or name.partition(".")[0] in _OURS:
            return None
        return Path(file) if self._is_own(file) else None

    def _name(self, path: Path) -> str:
        """Return the path relative to the folder, which is the same wherever the folder lies, behind links too."""
        prefix = next((prefix for prefix in self._prefixes if str(path).startswith(prefix)), "")
        return Path(str(path)[len(prefix) :] if prefix else os.path.relpath(path, self._root)).as_posix()

    def _is_own(self, file: str) -> bool:
        """Tell whether a file is the user's code: below the folder, not a package installed there."""
        below = next((file[len(prefix) :] for prefix in self._prefixes if file.startswith(prefix)), "")
        return bool(below) and "site-packages" not in below and "dist-packages" not in below

    def _import_file(self, place: str, entry: str, key: str) -> ModuleType:
        path = Path(os.path.normpath(self._root / place))
        if path in self._files:
            return self._files[path]
        if not path.is_file():
            near = [str(p.relative_to(self._root)) for p in self._root.glob("*.py")] if self._root.is_dir() else []
            close = difflib.get_close_matches(Path(place).name, near, n=1)
            raise EntryError(
                f"`{place}` does not exist in {self.folder}",
                where=key,
                hint=f"did you mean `{close[0]}`?" if close else "entries are relative to the folder of the recipe",
                code="entry-file-missing",
            )
        # A unique name: "json.py" is a fair name for an entry, and must not be taken for the library.
        name = f"edgeglm_entry_{hashlib.sha256(str(path).encode()).hexdigest()[:12]}_{path.stem}"
        spec = importlib.util.spec_from_file_location(name, path)
        assert spec is not None  # a path that ends in .py has a loader
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        plain = ".".join(path.relative_to(self._root).with_suffix("").parts) if self._is_own(str(path)) else ""
        with self.guard(entry, key):
            if plain and plain not in sys.modules and not importable_elsewhere(plain, self._root):
                sys.modules[plain] = module  # `import model` in data.py must find this one, not run it again
                self._siblings[plain] = module
            sys.modules[name] = module
            try:
                spec.loader.exec_module(module)
            except BaseException:
                for alias in (name, plain):
                    if sys.modules.get(alias) is module:
                        del sys.modules[alias]
                    self._siblings.pop(alias, None)
                raise
        self._files[path] = module
        return module

    def _import(self, place: str, entry: str, key: str) -> ModuleType:
        with self.guard(entry, key):
            try:
                return importlib.import_module(place)
            except ModuleNotFoundError as error:
                if error.name and (place == error.name or place.startswith(error.name + ".")):
                    file = self._root / (place.replace(".", "/") + ".py")
                    raise EntryError(
                        f"module `{place}` cannot be found",
                        where=key,
                        hint=f"did you mean `{file.relative_to(self._root)}:{entry.rpartition(':')[2]}`?"
                        if file.is_file()
                        else "name a file as `path.py:function`, or install the module where edgeglm runs",
                        code="entry-file-missing",
                    ) from None
                raise

    def _explain(self, error: BaseException, entry: str, key: str) -> EntryError:
        """Return the error that shows a user's exception at the user's own line."""
        where = self._place(error) or key
        said = "".join(traceback.format_exception_only(error)).strip().splitlines()[-1]
        if isinstance(error, ModuleNotFoundError) and error.name:
            package = error.name.partition(".")[0]
            close = difflib.get_close_matches(package, [path.stem for path in self._root.glob("*.py")], n=1)
            importer = Path(where.rpartition(":")[0] or entry.rpartition(":")[0])
            return EntryError(
                f"`{entry}` ({key}) imports `{error.name}`, which is not installed here",
                where=where,
                hint=f"did you mean `{close[0]}`?" if close else missing_module_hint(package, importer, self.folder),
                code="entry-import-failed",
            )
        hint = "the fault is in this code, not in the recipe; call the function by itself to see its whole traceback"
        if isinstance(error, NotImplementedError):
            hint = "this part is yours to write"
        if isinstance(error, SystemExit):
            said, hint = f"SystemExit: {error.code}", "an entry returns its result; it must not end the process"
        return EntryError(f"`{entry}` ({key}) raised {said}", where=where, hint=hint, code="entry-failed")

    def _place(self, error: BaseException) -> str:
        """Return file:line of the innermost frame of the user's, or ""."""
        if isinstance(error, SyntaxError) and error.filename and self._is_own(error.filename):
            return f"{self._shown(Path(error.filename))}:{error.lineno}"
        for frame in reversed(traceback.extract_tb(error.__traceback__)):
            if self._is_own(frame.filename):
                return f"{self._shown(Path(frame.filename))}:{frame.lineno}"
        for frame in reversed(traceback.extract_tb(error.__traceback__)):
            if Path(frame.filename) in self._files:  # an entry outside the folder
                return f"{self._shown(Path(frame.filename))}:{frame.lineno}"
        return ""

    def _definition(self, function: Callable[..., Any]) -> str:
        try:
            code = inspect.unwrap(function).__code__
        except AttributeError:  # a class
            return ""
        return f"{self._shown(Path(code.co_filename))}:{code.co_firstlineno}"

    def _shown(self, path: Path) -> str:
        """Return the path as the user would write it: below the folder that they gave."""
        return os.path.normpath(self.folder / os.path.relpath(path.resolve(), self._root))
