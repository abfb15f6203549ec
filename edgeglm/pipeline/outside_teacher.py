"""The teacher from elsewhere whose answers a network is judged by, where the task has no targets to judge it by.

An embedding is judged by the original's vectors. A network that learns those of another one leaves its own for them:
the better it learns, the worse it would look.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from edgeglm.pipeline.step_runs import step_key
from edgeglm.plugins import blaming
from edgeglm.sources import ModelSource
from edgeglm.steps import Distill
from edgeglm.tasks import GROUP

if TYPE_CHECKING:
    from collections.abc import Iterator

    import numpy as np

    from edgeglm.data.splits import Arrays, Split
    from edgeglm.model import Model
    from edgeglm.pipeline.project import Project


@dataclass(frozen=True)
class OutsideTeacher:
    """A network that is no part of the run's result, and says what is right."""

    model: Model
    source: ModelSource
    output: str  # the name that the student's judged output has
    key: str  # identifies its weights
    step: str  # the recipe's key of the step that learns from it
    threads: int

    def answers(self, split: Split) -> Arrays:
        """Return its answers over a whole split, (N, ...) float32, under the student's name of the output."""
        from edgeglm.nn.inference import predict

        found = predict(self.model, split, threads=self.threads)
        return {self.output: found.get(self.output, found[self.model.outputs[0].name])}


def outside_teachers(project: Project) -> Iterator[OutsideTeacher]:
    """Yield the teacher of each `distill` that learns from a network from elsewhere, the last one first.

    Raises:
        ModelError: It cannot be loaded.
        StepError: It takes other inputs than the student (``distill-teacher``).
    """
    original = project.original
    for index, step in reversed([*enumerate(project.recipe.steps)]):
        if isinstance(step, Distill) and isinstance(step.teacher, ModelSource) and (step.alpha or step.hidden):
            from edgeglm.model import Model
            from edgeglm.nn.teacher import load_teacher

            assert isinstance(original, Model)  # the recipe's rules: a file takes no steps
            where = step_key(index, step)
            teacher = load_teacher(step.teacher, original, project.entries, project.data, where=where)
            yield OutsideTeacher(
                model=teacher,
                source=step.teacher,
                output=project.recipe.task.output or original.outputs[0].name,
                key=step.fingerprint(original, project.entries, project.data, where=where),
                step=where,
                threads=project.threads,
            )


def is_judged_by(teacher: OutsideTeacher | None, project: Project, targets: np.ndarray | None) -> bool:
    """Tell whether a split with these targets is judged by the teacher's answers instead of the original's."""
    if teacher is None:
        return False
    task = project.recipe.task
    with blaming(task, GROUP, where="task"):
        return task.follows_original(targets)
