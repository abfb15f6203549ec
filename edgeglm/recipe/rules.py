"""Rules between keys. Each reads only values that are valid by themselves, so it holds in a file with other faults."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from edgeglm.boards import BOARDS
from edgeglm.plugins import tag
from edgeglm.recipe.data_rules import check_data_rules
from edgeglm.recipe.scheme_rules import check_scheme
from edgeglm.recipe.types import ArtifactConfig
from edgeglm.recipe.wording import ENTRY_PATTERN, pattern_hint
from edgeglm.sources import HfModel, ModelSource
from edgeglm.steps import Distill, Finetune, Prune, Sparsify, step_name
from edgeglm.steps._training import TrainingConfig
from edgeglm.tasks import Anomaly, ObjectDetection, TaskConfig

if TYPE_CHECKING:
    from edgeglm.recipe.types import ProcessStep
    from edgeglm.recipe.walk import Walker

_GIVES = {"onnx": ("onnx", "openvino")}  # what can be made of a source that is a file, if more than its own format
_CONFLICT = "recipe-conflict"


def check_rules(walker: Walker, *, steps: int, artifacts: int) -> None:
    """Report what contradicts what. `steps` and `artifacts` are how many items the file lists, valid or not."""
    _file_sources(walker, steps, artifacts)
    _artifact_names(walker, artifacts)
    check_data_rules(walker)
    _labels(walker)
    _shares(walker)
    _class_budget(walker)
    _encoder(walker)
    _processing(walker)
    _taught(walker, steps)
    _teachers(walker, steps)
    _sparse_last(walker, steps)
    _sparse_for_something(walker, steps)
    for key, value in list(walker.built.items()):
        augment = value.augment if isinstance(value, TrainingConfig) else None
        if augment is not None and re.search(ENTRY_PATTERN, augment) is None:
            message = f"`{augment}` has not the form wanted here"
            walker.report(
                f"{key}.{step_name(value)}.augment", message, pattern_hint(ENTRY_PATTERN), code="recipe-out-of-range"
            )
        if isinstance(value, ArtifactConfig):
            check_scheme(walker, key, value)


def _taught(walker: Walker, steps: int) -> None:
    """Where the task knows no loss of targets, a network learns from a teacher or not at all."""
    task = walker.built.get("task")
    if not isinstance(task, TaskConfig) or not task.needs_teacher:
        return
    judged = f"kind: {tag(task)}" + (f", score: {task.score}" if isinstance(task, Anomaly) else "")
    for index in range(steps):
        step = walker.built.get(f"steps[{index}]")
        alone = isinstance(step, Distill)  # and nothing of the teacher counts
        if not isinstance(step, Finetune | Distill) or (isinstance(step, Distill) and step.alpha > 0):
            continue
        walker.report(
            f"steps[{index}].{step_name(step)}" + ".alpha" * alone,
            f"for `task: {{{judged}}}` there is nothing to learn from but a teacher's answers",
            "write an `alpha` above 0" if alone else "use `distill`, whose teacher is the original",
            code="training-needs-teacher",
        )


def _teachers(walker: Walker, steps: int) -> None:
    """A teacher answers beside its student, in torch: on the same device, for each batch anew where samples change."""
    for index in range(steps):
        step = walker.built.get(f"steps[{index}]")
        if not isinstance(step, Distill) or not isinstance(step.teacher, ModelSource):
            continue
        if step.teacher.gives != "network":
            walker.report(
                f"steps[{index}].distill.teacher",
                f"a model of `source: {tag(step.teacher)}` is a file, and cannot be the teacher: torch runs it beside "
                "the student, in training",
                "name the PyTorch network that the file was made from, with `source: python`, or an encoder with "
                "`source: hf`",
                code="distill-teacher",
            )


def _sparse_last(walker: Walker, steps: int) -> None:
    """Channels that go afterwards would tear fours apart, and train back what is zero."""
    sparse = None
    for index in range(steps):
        step = walker.built.get(f"steps[{index}]")
        if isinstance(step, Prune) and sparse is not None:
            walker.report(
                f"steps[{index}]",
                f"`prune` after `sparsify` (steps[{sparse}]) breaks its pattern",
                "put `prune` before `sparsify`",
                code=_CONFLICT,
            )
        if isinstance(step, Sparsify):
            sparse = index


def _sparse_for_something(walker: Walker, steps: int) -> None:
    """Zeros that nothing on the target skips cost quality and training, and bring no speed."""
    faulty = "target" in walker.lines and "target" not in walker.built
    board = None if faulty else BOARDS[walker.built.get("target", "x86-64")]
    for index in range(steps):
        step = walker.built.get(f"steps[{index}]")
        if board is None or not isinstance(step, Sparsify) or step.for_size or step.gains(board):
            continue
        other = "write `pattern: 2:4`, " if board.sparse_runtime else ""
        walker.report(
            f"steps[{index}].sparsify.pattern",
            f"no runtime on {board.name} skips zeros of the pattern `{step.pattern}`: nothing gets faster",
            f"{other}take whole channels out with `prune`, or write `for_size: true` if it is the compressed file that "
            "shall get smaller",
            code=_CONFLICT,
        )


def _file_sources(walker: Walker, steps: int, artifacts: int) -> None:
    """A model that is a file already is quantized, not trained, and stays in its format."""
    model = walker.built.get("model")
    if not isinstance(model, ModelSource) or model.gives == "network":
        return
    source, gives = tag(model), model.gives
    if steps:
        walker.report(
            "steps",
            f"a model of `source: {source}` takes no steps: it can be quantized, not trained",
            "remove the steps, or start from the PyTorch network with `source: python`",
            code=_CONFLICT,
        )
    for index in range(artifacts):
        key = f"artifacts[{index}]"
        made = walker.built.get(f"{key}.format")
        if made not in (None, "auto", *_GIVES.get(gives, (gives,))):
            walker.report(
                f"{key}.format",
                f"a model of `source: {source}` gives {' and '.join(_GIVES.get(gives, (gives,)))} artifacts only, "
                f"not {made}",
                f"write `format: {gives}`, or start from the PyTorch network with `source: python`",
                code=_CONFLICT,
            )


def _artifact_names(walker: Walker, artifacts: int) -> None:
    """Two artifacts of one format and scheme would be the same file; what one `auto` covers, another need not."""
    first: dict[tuple[str, str], int] = {}
    searched: dict[str, int] = {}
    for index in range(artifacts):
        artifact = walker.built.get(f"artifacts[{index}]")
        if not isinstance(artifact, ArtifactConfig):
            continue
        name = (artifact.format, artifact.scheme)
        if artifact.scheme == "auto":
            if name not in first and searched and "auto" in (artifact.format, *searched):
                walker.report(
                    f"artifacts[{index}]",
                    f"artifacts[{next(iter(searched.values()))}] looks for the best file too, and so twice for some",
                    "keep the one with `format: auto`, or name each format once",
                    code=_CONFLICT,
                )
            searched.setdefault(artifact.format, index)
        if name in first:
            walker.report(
                f"artifacts[{index}]",
                f"the same file as artifacts[{first[name]}]: {artifact.format} with {artifact.scheme}",
                "remove one of them, or give it another scheme",
                code=_CONFLICT,
            )
        first.setdefault(name, index)


def _encoder(walker: Walker) -> None:
    """A text encoder puts out what its own `task` says: vectors are no logits, and logits no vectors."""
    model, task = walker.built.get("model"), walker.built.get("task")
    if not isinstance(model, HfModel) or not isinstance(task, TaskConfig):
        return
    if (model.task == "embedding") != (tag(task) == "embedding") and tag(task) in ("embedding", "classification"):
        walker.report(
            "model.task",
            f"`task: {model.task}` gives {'vectors' if model.task == 'embedding' else 'logits'}, and the recipe's "
            f"`task: {{kind: {tag(task)}}}` judges {'logits' if tag(task) == 'classification' else 'vectors'}",
            f"write `task: {tag(task)}` here, or judge by `task: {{kind: {model.task}}}`",
            code=_CONFLICT,
        )


def _shares(walker: Walker) -> None:
    """A metric that is a share cannot lose more than 1; of one with a unit, any loss may be allowed."""
    task, limit = walker.built.get("task"), walker.built.get("budget.metric_drop")
    if isinstance(limit, float) and limit > 1 and not (isinstance(task, TaskConfig) and not task.is_share):
        walker.report(
            "budget.metric_drop",
            f"{limit:g} is outside 0 to 1",
            "`metric_drop` is: a fraction, 0 to 1: 0.01 is one point lost",
            code="recipe-out-of-range",
        )


def _class_budget(walker: Walker) -> None:
    """A limit for classes needs a task that has figures by class."""
    task = walker.built.get("task")
    if walker.built.get("budget.per_class_drop") is None or not isinstance(task, TaskConfig) or task.judges_classes:
        return
    walker.report(
        "budget.per_class_drop",
        f"`task: {{kind: {tag(task)}}}` has no figures by class",
        "remove the line; for parts of the data, name them in `slices` and write `per_slice_drop`",
        code=_CONFLICT,
    )


def _labels(walker: Walker) -> None:
    labels = walker.built.get("labels")
    if isinstance(labels, str) and not labels.strip():
        walker.report("labels", "must not be empty", "name a file, or list the labels", code="recipe-out-of-range")
    if isinstance(labels, list):
        for index, label in enumerate(labels):
            if label in labels[:index]:
                walker.report(
                    f"labels[{index}]",
                    f"the label `{label}` is there twice; first as labels[{labels.index(label)}]",
                    "give every class a name of its own",
                    code=_CONFLICT,
                )


def _processing(walker: Walker) -> None:
    """Ask the code that runs the operations, on the board too, whether they go together."""
    before, after = walker.built.get("preprocess"), walker.built.get("postprocess")
    task = walker.built.get("task")
    faulty = after is None and "postprocess" in walker.lines
    if isinstance(task, ObjectDetection) and not faulty and not any(step.op == "boxes" for step in after or []):
        walker.report(
            "postprocess",
            "finds no boxes, and `kind: detection` judges those",
            "add the operation `boxes` (and `nms`, where the network does not do that itself)",
            code=_CONFLICT,
        )
    if not before and not after:
        return
    from edgeglm_agent.processing import Postprocess, Preprocess, ProcessingError  # takes NumPy along: only when used

    labels = walker.built.get("labels", [])
    try:
        Preprocess(before or [])
        Postprocess(after or [], labels if isinstance(labels, list) else ["from the file"])
    except ProcessingError as error:
        walker.report(error.key, error.message, error.hint, code=_CONFLICT)
    if isinstance(task, Anomaly):
        _anomaly(walker, task, after or [])


def _anomaly(walker: Walker, task: Anomaly, operations: list[ProcessStep]) -> None:
    """The board must score, and decide, as the task judges: else the limit that it found means something else there."""
    rebuilt = False
    for index, step in enumerate(operations):
        rebuilt = rebuilt or step.op == "reconstruction-error"
        if step.op == "threshold" and task.score != "output" and not rebuilt:
            walker.report(
                f"postprocess[{index}].threshold",
                f"the board would decide by the output itself, and the task judges by `score: {task.score}`",
                "put `- reconstruction-error` before it: that makes the score",
                code=_CONFLICT,
            )
        if step.op == "reconstruction-error":
            key, wanted, said = "error", task.score.removesuffix("-error"), step.settings.get("error", "squared")
            if task.score == "output":
                wanted = said
        elif step.op == "threshold":
            key, wanted = "beyond", "above" if task.anomalous == "high" else "below"
            said = step.settings.get("beyond", "above")
        else:
            continue
        if said != wanted:
            judged = f"score: {task.score}" if key == "error" else f"anomalous: {task.anomalous}"
            walker.report(
                f"postprocess[{index}].{step.op}.{key}",
                f"the board would go by `{said}`, and the task judges by `{judged}`",
                f"write `{key}: {wanted}`, or change the task",
                code=_CONFLICT,
            )
