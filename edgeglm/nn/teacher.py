"""Where a student's soft targets come from."""

from __future__ import annotations

from copy import deepcopy
from typing import TYPE_CHECKING
from weakref import WeakKeyDictionary

import msgspec
import numpy as np
import torch

from edgeglm.data.splits import ArraySplit
from edgeglm.errors import EdgeglmError, StepError
from edgeglm.model import Model
from edgeglm.nn.calling import call, named_for, to_tensors
from edgeglm.nn.loading import state_sha256
from edgeglm.sources.plugin_sources import load_model

if TYPE_CHECKING:
    from collections.abc import Callable

    from edgeglm_agent.wire import TensorSpec
    from torch import Tensor, nn

    from edgeglm.data.splits import Data, Split
    from edgeglm.nn.objective import Objective
    from edgeglm.nn.padding import Padding
    from edgeglm.sources import ModelSource
    from edgeglm.sources.entry import Entries

_KEPT_BYTES = 256e6
_ROWS = 256


class Teacher:
    """A network that answers and never learns: in eval mode, so that its normalisation stays as it is.

    When every epoch shows it the same samples, it is asked once and its answers are kept: on a CPU that saves more
    than a third of each step. Texts are asked in the order of their lengths, without the padding that can be cut.
    """

    def __init__(self, model: Model, objective: Objective, device: torch.device) -> None:
        self.model, self.objective, self.device = model, objective, device
        self.padding: Padding | None = None  # of the samples that it is asked about
        self.output = objective.output if objective.output in {spec.name for spec in model.outputs} else None
        self.module: nn.Module = deepcopy(model.module).to(device).eval().requires_grad_(False)
        self.kept: Tensor | None = None

    def keep_answers(self, data: Split, *, augmented: bool, told: Callable[[], None]) -> None:
        """Ask once for all samples, unless augmentation or a reading data set changes them or they are too many.

        ``told`` is called after each batch, as a sign of life.
        """
        if isinstance(data, ArraySplit) and not augmented and len(data) * self.objective.values * 4 <= _KEPT_BYTES:
            self.kept = self.ask(data, np.arange(len(data)), told=told)

    def ask(self, data: Split, rows: np.ndarray, *, told: Callable[[], None] = lambda: None) -> Tensor:
        """Return the answers to these rows as they are in the data, (N, ...) float32 on the CPU."""
        if self.kept is not None:
            return self.kept[rows]
        order = np.arange(len(rows)) if self.padding is None else self.padding.by_length(rows)
        parts = []
        for start in range(0, len(rows), _ROWS):
            inputs = to_tensors(self.model, data.rows(rows[order[start : start + _ROWS]]), self.device)
            parts.append(self.answer(inputs if self.padding is None else self.padding.cut(inputs)).cpu())
            told()
        return torch.cat(parts)[torch.from_numpy(np.argsort(order))]

    def answer(self, inputs: dict[str, Tensor]) -> Tensor:
        """Return the answers to a batch, (B, ...) float32 on the device, outside of autocast."""
        with torch.no_grad(), torch.autocast(self.device.type, enabled=False):
            outputs = call(self.module, named_for(self.model, inputs))
        if self.output is None:  # a network from elsewhere calls it by another name
            outputs = {**outputs, self.objective.output: outputs[self.model.outputs[0].name]}
        return self.objective.pick(outputs)


_loaded: WeakKeyDictionary[Entries, dict[bytes, Model]] = WeakKeyDictionary()


def load_teacher(source: ModelSource, student: Model, entries: Entries, data: Data, *, where: str) -> Model:
    """Return a network from elsewhere that takes and gives what the student does; loaded once for each run.

    Args:
        source: Where it comes from.
        student: What its inputs and outputs are held against.
        entries: The recipe's functions and folder.
        data: Gives a few rows to run it on.
        where: For errors.

    Raises:
        ModelError: It cannot be loaded, or refuses the rows.
        StepError: ``distill-teacher``: it takes or gives something else.
    """
    known = _loaded.setdefault(entries, {})
    key = msgspec.json.encode(source)
    if key not in known:
        train = data.splits["train"]
        try:
            found, _ = load_model(source, entries, train.rows(np.arange(min(2, len(train)))))
        except EdgeglmError as error:
            raise error.at(f"{where}.teacher") from error
        assert isinstance(found, Model)  # the recipe's rules: a teacher is no file
        known[key] = found
    teacher = known[key]
    given = [sorted((spec.name, spec.dtype, spec.shape) for spec in model.inputs) for model in (student, teacher)]
    single = len(given[0]) == len(given[1]) == 1
    if [spec[single:] for spec in given[0]] != [spec[single:] for spec in given[1]]:
        raise _unfit(f"it takes {_specs(teacher.inputs)}, and the student takes {_specs(student.inputs)}", where)
    return teacher


def require_same_output(teacher: Model, student: Model, output: str, *, where: str) -> None:
    """Refuse a teacher whose answers have another shape. Raises: StepError (``distill-teacher``)."""
    wanted = next(spec.shape for spec in student.outputs if spec.name == output)
    found = next((spec for spec in teacher.outputs if spec.name == output), teacher.outputs[0])
    if found.shape != wanted:
        raise _unfit(f"its output `{found.name}` is {found.shape}, and the student's `{output}` is {wanted}", where)


def require_other_network(teacher: Model, student: Model, *, where: str) -> None:
    """Refuse a teacher that answers as the student does. Raises: StepError (``training-nothing-to-learn``)."""
    same = type(teacher.module) is type(student.module) and teacher.edits == student.edits
    if same and state_sha256(teacher.module) == state_sha256(student.module):
        raise StepError(
            "student and teacher are the same network: there is nothing to learn from it",
            where=where,
            code="training-nothing-to-learn",
            hint="put `distill` behind the step that makes the network smaller (`prune`, `drop-layers`, `sparsify`), "
            "name another `teacher`, or let labels count (`alpha` below 1) where the task learns from them",
        )


def _unfit(reason: str, where: str) -> StepError:
    return StepError(
        f"this network cannot be the teacher: {reason}",
        where=f"{where}.teacher",
        code="distill-teacher",
        hint="a teacher takes the same inputs (for texts, of the same tokenizer) and gives answers of the same shape",
    )


def _specs(specs: tuple[TensorSpec, ...]) -> str:
    return ", ".join(f"`{spec.name}` {spec.dtype} {spec.shape}" for spec in specs)
