"""What every step is: a frozen struct with one method."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar, Protocol

import msgspec

if TYPE_CHECKING:
    from pathlib import Path

    from edgeglm.data.splits import Data
    from edgeglm.model import Model
    from edgeglm.sources.entry import Entries
    from edgeglm.tasks import TaskConfig


class Progress(Protocol):
    """Called now and then by long work, first with where it begins: after a kill that is not 0.

    ``total`` is 0 when it is not known.
    """

    def __call__(self, done: int, total: int, **values: float) -> None: ...


@dataclass(frozen=True)
class Context:
    """What a step may use besides the model."""

    original: Model  # as it was loaded: the default teacher
    data: Data
    task: TaskConfig  # says what training makes small, and on which output
    seed: int
    threads: int
    device: str  # cpu | cuda
    precision: str  # float32 | bfloat16: the faster of the two on this machine, by a timing; for steps that say `auto`
    entries: Entries  # resolves `path.py:function` relative to the recipe
    progress: Progress
    checkpoint: Path | None  # where a step keeps what it needs to go on after a kill; None: nowhere
    key: str  # "steps[1].distill", for errors
    target: str = "x86-64"  # the board, by its name in a recipe
    dry_run: bool = False  # preflight: one batch, one optimizer step, then return
    notes: list[str] = field(default_factory=list)  # a step appends what the report should say
    warnings: list[str] = field(default_factory=list)  # and what nobody may overlook

    @property
    def output(self) -> str:
        """Name of the output that the task judges."""
        return self.task.output or self.original.outputs[0].name


class StepConfig(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Base of all steps: settings as fields, the work in ``apply``."""

    trains: ClassVar[bool] = False  # whether the network learns, so that what earlier steps cost comes back
    needs_training: ClassVar[str] = ""  # why a step that trains has to come after this one; empty: none has to

    def apply(self, model: Model, ctx: Context) -> Model:
        """Return a new model; the one passed in is left as it was."""
        raise NotImplementedError

    def problems(self) -> list[tuple[str, str, str]]:
        """Return what is wrong between settings that are each right: ``(field, message, hint)``, none by default.

        The recipe loader asks when it has built the struct, and shows each with the line of the field.
        """
        return []

    def fingerprint(self, original: Model, entries: Entries, data: Data, *, where: str) -> str:
        """Return what decides the result beside settings, model, data and user code: files that settings name."""
        del original, entries, data, where
        return ""

    @property
    def follows_target(self) -> bool:
        """Whether the result is another for another board."""
        return False

    def as_settings(self) -> dict[str, Any]:
        """Return the settings as plain data, defaults included (for keys and reports)."""
        return dict(msgspec.to_builtins(self, str_keys=True))
