"""What is doubtful about the original model and its teachers, found in their own answers before anything is trained."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from edgeglm.budget.wording import look_at
from edgeglm.checks.omissions import omissions
from edgeglm.errors import UserError
from edgeglm.pipeline.outside_teacher import outside_teachers
from edgeglm.pipeline.step_runs import step_key
from edgeglm.plugins import blaming
from edgeglm.recipe.types import FEW_SAMPLES, Quantize
from edgeglm.report.remarks import chance_doubt
from edgeglm.report.types import COUNTED, Side
from edgeglm.sources import GivenModel, PythonModel
from edgeglm.steps import Distill
from edgeglm.steps._training import TrainingConfig
from edgeglm.tasks import GROUP as TASK_GROUP

if TYPE_CHECKING:
    from edgeglm.data.splits import Arrays
    from edgeglm.log import Log
    from edgeglm.pipeline.evaluation import Evaluator
    from edgeglm.pipeline.project import Project

_SUM_TOLERANCE = 1e-3
_NAMED = 8  # classes that a warning names


@dataclass(frozen=True)
class Doubt:
    """One thing that the user should hear before the artifacts are made."""

    text: str
    expected: bool = False  # likely as it was meant: said without alarm


def doubt_original(project: Project, evaluator: Evaluator, log: Log) -> list[str]:
    """Say what is doubtful about the original, whose outputs the evaluator holds, and return it for the report."""
    found = [*_about_chance(project, evaluator), *_about_probabilities(project, evaluator.baseline)]
    found += _about_classes(project, evaluator)
    found += _about_limits(project)
    found += _about_ranges(project)
    found += _about_outside_teachers(project, evaluator)
    found += _about_right_answers(project, evaluator)
    found += [Doubt(f"{one.key}: {one.message}: {one.hint}") for one in omissions(project.recipe)]
    for doubt in found:
        (log.note if doubt.expected else log.warn)(doubt.text)
    return [doubt.text for doubt in found]


def _about_chance(project: Project, evaluator: Evaluator) -> list[Doubt]:
    side = Side(**evaluator.side(evaluator.baseline, is_baseline=True))
    said = chance_doubt(side)
    return [] if said is None else [_about_baseline(project, side, said), *_about_teachers(project)]


def _about_baseline(project: Project, side: Side, said: str) -> Doubt:
    recipe = project.recipe
    model = recipe.model
    trained_here = any(step.trains for step in recipe.steps)
    if trained_here and (isinstance(model, GivenModel) or (isinstance(model, PythonModel) and model.weights is None)):
        text = (
            f"{said}, as an untrained network is; the recipe trains it, and changes are against the untrained one. "
            "If it was trained before, its weights are not loaded: name them as `model.weights`"
        )
        return Doubt(text, expected=True)
    return Doubt(f"{said}: look at {look_at(side)}")


def _about_teachers(project: Project) -> list[Doubt]:
    """Warn of steps whose teacher is the original, of which is known that it knows nothing."""
    return [
        Doubt(
            f"{step_key(index, step)}: its teacher is the original, from whose answers there is nothing to learn, as "
            "said above: train with `finetune`, or name a trained network as `teacher`"
        )
        for index, step in enumerate(project.recipe.steps)
        if isinstance(step, Distill) and step.teacher == "original" and (step.alpha or step.hidden)
    ]


def _about_outside_teachers(project: Project, evaluator: Evaluator) -> list[Doubt]:
    """Warn of teachers from elsewhere that know nothing of the task."""
    found = []
    for teacher in outside_teachers(project):
        try:
            result = evaluator.result_of_teacher(teacher)
        except UserError:  # what no judgement is possible of, training may use: hidden features, say
            continue
        side = None if result is None else Side(metric=result.metric, per_class=result.per_class)
        said = side and chance_doubt(side, called="its teacher")
        if side and said:
            unloaded = isinstance(teacher.source, PythonModel) and teacher.source.weights is None
            mend = (
                "no weights are loaded: name those that it was trained to as `teacher.weights`"
                if unloaded
                else f"look at {look_at(side)}"
            )
            found.append(Doubt(f"{teacher.step}: {said}, so there is nothing to learn from its answers: {mend}"))
    return found


def _about_limits(project: Project) -> list[Doubt]:
    """Say that a limit is chosen on the samples that it is judged by, where there are no others."""
    if not project.recipe.task.reads_calibration or len(project.data.calibration):
        return []
    return [
        Doubt(
            "there are no calibration samples: the limit of each file is chosen on the evaluation samples that it is "
            "judged by, so what it finds, and its false alarms, look a little better than they will be; give `train` "
            "or `calibration` normal samples"
        )
    ]


def _about_ranges(project: Project) -> list[Doubt]:
    """Say that static ranges are measured on far fewer samples than were asked for."""
    count = len(project.data.calibration)
    asked = {
        f"artifacts[{index}]": artifact.quantization.calibration_samples
        for index, artifact in enumerate(project.recipe.artifacts)
        if isinstance(artifact.quantization, Quantize) and artifact.quantization.may_be_static
    }
    short = {key: wanted for key, wanted in asked.items() if count < min(wanted, FEW_SAMPLES)}
    if not count or not short:
        return []
    return [
        Doubt(
            f"{', '.join(short)}: of the {max(short.values())} calibration samples asked for there "
            f"{'is 1' if count == 1 else f'are {count}'}: ranges measured on so few may miss values that occur; give "
            "100 to 500 as `calibration`, or more of `train` to take them from"
        )
    ]


def _about_right_answers(project: Project, evaluator: Evaluator) -> list[Doubt]:
    """Say that a teacher from elsewhere stands for the original."""
    if evaluator.teacher is None or not evaluator.has_right_answers(project.data.evaluation):
        return []
    text = f"answers are judged by those of the teacher of {evaluator.teacher.step}, not by the original's"
    return [Doubt(f"{text}; `budget.metric_drop` is how far from the teacher's they may be", expected=True)]


def _about_probabilities(project: Project, outputs: dict[str, Arrays]) -> list[Doubt]:
    """Find a softmax at the network's end where the recipe takes the output for logits."""
    recipe = project.recipe
    found = []
    for index, op in enumerate(recipe.postprocess):
        if op.op == "softmax" and are_probabilities(outputs, op.settings.get("output")):
            found.append(
                Doubt(
                    f"postprocess[{index}].softmax: the network's outputs are probabilities already, so the scores on "
                    "the board will be wrong: remove `softmax` from `postprocess`"
                )
            )
    for index, step in enumerate(recipe.steps if recipe.task.objective == "classes" else ()):
        if isinstance(step, TrainingConfig) and are_probabilities(outputs, recipe.task.output):
            found.append(
                Doubt(
                    f"{step_key(index, step)}: the network's outputs are probabilities, and training takes them for "
                    "logits, a teacher's too: drop the softmax at the network's end"
                )
            )
    return found


def are_probabilities(outputs: dict[str, Arrays], name: str | None) -> bool:
    """Tell whether one output, None: the first, is (N, K) and every row of every split is one of probabilities.

    Args:
        outputs: Split -> output name -> values.
        name: The output.
    """
    for of_split in outputs.values():
        values = of_split.get(name or next(iter(of_split)))
        if values is None or values.ndim != 2 or values.shape[1] < 2 or (values < 0).any():
            return False
        if not (np.abs(values.sum(axis=1, dtype=np.float64) - 1) <= _SUM_TOLERANCE).all():
            return False
    return True


def _about_classes(project: Project, evaluator: Evaluator) -> list[Doubt]:
    """Name classes that cannot be judged, and those of the network that the data knows nothing of."""
    data, found = project.data, []
    results = evaluator.results(evaluator.baseline, is_baseline=True)
    per_class = results[data.eval_splits[0]].per_class
    present: set[int] = set()
    task = project.recipe.task
    for split in data.splits.values() if per_class else ():
        with blaming(task, TASK_GROUP, where="task"):
            present.update(() if split.targets is None else task.classes_in(split.targets))
    absent = [f"`{result.label}`" for number, result in enumerate(per_class) if not result.n and number not in present]
    if absent and not data.labels:  # of labels without a sample the data has spoken itself
        found.append(Doubt(f"the network has {len(per_class)} classes, and the data no sample of {_some(absent)}"))
    for name, result in results.items():
        few = [f"`{of_class.label}` ({of_class.n})" for of_class in result.per_class if of_class.n < COUNTED]
        if few and project.recipe.budget.per_class_drop is not None:
            text = f"split `{name}` has fewer than {COUNTED} samples of {_some(few)}"
            found.append(Doubt(f"{text}: `budget.per_class_drop` does not judge these classes"))
    return found


def _some(names: list[str]) -> str:
    more = len(names) - _NAMED
    return ", ".join(names[:_NAMED]) + (f" and {more} more" if more > 0 else "")
