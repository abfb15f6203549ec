"""The one exception tree.

    EdgeglmError                      exit
    ├── UserError                      2   the user's input is at fault
    │   ├── RecipeError                    every problem of one recipe at once
    │   ├── EntryError                     a user's function is missing, or raised
    │   ├── ModelError                     weights, shapes, a corrupt model file
    │   ├── DataError                      NaN, one class, overlapping splits
    │   ├── StepError                      a step cannot run, or changed nothing
    │   └── ExportError                    an operator a format lacks, a file that does not load
    ├── BudgetMissedError              3   the result is worse than the recipe allows
    └── EnvironmentFailedError         4   the machine or a peer failed
        ├── MissingExtraError              a package is not installed here
        ├── StorageError                   the disk is full, or refuses
        ├── BusyError                      another run holds the output folder
        ├── StoreError                     a fleet's store is damaged, locked, or a newer one's
        └── WorkerError                    a child process died

Every error carries a stable ``code``; ``docs/errors.md`` has a paragraph on each, and a test keeps the two equal.
Anything that is not an ``EdgeglmError`` is a bug of ours: exit 1, with its traceback.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    from collections.abc import Callable


@dataclass(frozen=True)
class Problem:
    """One thing that is wrong: where, what, and how to mend it."""

    message: str
    hint: str = ""
    where: str = ""  # "recipe.yaml:14 steps[1].prune", a path, a layer's name
    code: str = "user-error"

    def __str__(self) -> str:
        """Return the block a user sees: place and fault, blank line, hint, code."""
        head = f"{self.where}: {self.message}" if self.where else self.message
        parts = [head, ""]
        if self.hint:
            parts.append(f"hint: {self.hint}")
        parts.append(f"code: {self.code}")
        return "\n".join(parts)


class EdgeglmError(Exception):
    """What edgeglm raises on purpose; the command line shows it without a traceback."""

    exit_code = 1
    default_code = "bug"

    def __init__(self, message: str, *, hint: str = "", where: str = "", code: str = "") -> None:
        self.problems: tuple[Problem, ...] = (Problem(message, hint, where, code or self.default_code),)
        super().__init__(message)

    @classmethod
    def of(cls, problems: list[Problem]) -> Self:
        """Make one error of several problems, kept in their order."""
        error = cls(problems[0].message)
        error.problems = tuple(problems)
        return error

    @property
    def code(self) -> str:
        """The stable code of the first problem."""
        return self.problems[0].code

    def at(self, where: str) -> Self:
        """Return this error with ``where`` in front of every place it names."""
        self.problems = tuple(replace(p, where=f"{where} {p.where}".strip()) for p in self.problems)
        return self

    def __str__(self) -> str:
        """Return every problem, a blank line between."""
        return "\n\n".join(str(problem) for problem in self.problems)


class UserError(EdgeglmError):
    """The user's input is at fault."""

    exit_code = 2
    default_code = "user-error"


class RecipeError(UserError):
    """A recipe cannot be used; carries every problem found in it."""

    default_code = "recipe-invalid"


class EntryError(UserError):
    """A function named in the recipe does not exist, is not callable, or raised."""

    default_code = "entry-failed"


class ModelError(UserError):
    """The model or its weights cannot be used."""

    default_code = "model-invalid"


class DataError(UserError):
    """The data cannot be used; where one sample is at fault, ``sample`` is its place in the split."""

    default_code = "data-invalid"

    def __init__(
        self, message: str, *, hint: str = "", where: str = "", code: str = "", sample: int | None = None
    ) -> None:
        super().__init__(message, hint=hint, where=where, code=code)
        self.sample = sample

    def located(self, place: Callable[[int], str]) -> Self:
        """Return this error with what ``place`` calls the sample, such as its row in a file, for ``sample 36``."""
        if self.sample is not None:
            number, called = f"sample {self.sample}", place(self.sample)
            self.problems = tuple(replace(p, message=p.message.replace(number, called, 1)) for p in self.problems)
            self.sample = None
        return self


class StepError(UserError):
    """A step cannot do what the recipe asks."""

    default_code = "step-failed"


class ExportError(UserError):
    """The model cannot be written in the format asked for."""

    default_code = "export-failed"


class BudgetMissedError(EdgeglmError):
    """The result is worse than the recipe's budget allows."""

    exit_code = 3
    default_code = "budget-missed"


class EnvironmentFailedError(EdgeglmError):
    """The machine, not the input, is at fault."""

    exit_code = 4
    default_code = "environment-failed"


class MissingExtraError(EnvironmentFailedError):
    """A package that this needs is not installed."""

    default_code = "missing-extra"


class StorageError(EnvironmentFailedError):
    """The disk is full or refuses to be written."""

    default_code = "storage-failed"


class BusyError(EnvironmentFailedError):
    """Another run holds the output folder."""

    default_code = "output-busy"


class StoreError(EnvironmentFailedError):
    """A fleet's store cannot be used."""

    default_code = "store-failed"


class WorkerError(EnvironmentFailedError):
    """A child process died or gave no answer."""

    default_code = "worker-died"
