"""Tasks that packages add, when they go wrong."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any, Literal

import numpy as np
import pytest
from edgeglm_agent.processing import Postprocess

from edgeglm.cache import Cache
from edgeglm.choice.accuracy_control import HeldOut, check_held_out
from edgeglm.choice.candidates import Candidate
from edgeglm.data.splits import ArraySplit, Data
from edgeglm.errors import DataError, UserError
from edgeglm.plugins import blaming
from edgeglm.recipe.types import ArtifactConfig, Quantize
from edgeglm.report.types import Metric, SplitResult
from edgeglm.sources.entry import Entries
from edgeglm.tasks import GROUP, Classification, Judge, TaskConfig
from edgeglm.tasks.plugin_task import bind_task

OUTPUTS = {"output": np.eye(3, dtype=np.float32)}
SPLIT = ArraySplit({"input": np.zeros((3, 2), np.float32)}, np.arange(3))


class Faulty(TaskConfig, tag="faulty", frozen=True, kw_only=True):
    """A task of a package that is this module."""

    fault: Literal[
        "", "raises", "returns", "value", "refuses", "prepared raises", "prepared", "changes", "read", "bind", "splits"
    ] = ""

    def check_splits(self, targets: Any, *, chief: str, labels: Any, where: Any) -> list[str]:
        if self.fault == "splits":
            raise KeyError("eval")
        return super().check_splits(targets, chief=chief, labels=labels, where=where)

    def bind(self, *, entries: Entries, postprocess: Postprocess) -> Judge:
        if self.fault == "bind":
            raise KeyError("scale")
        return super().bind(entries=entries, postprocess=postprocess)

    def prepared(self, outputs: Any, split: Any) -> Any:  # noqa: ARG002
        if self.fault == "prepared raises":
            raise ValueError("no such axis")
        return [] if self.fault == "prepared" else outputs

    def evaluate(self, outputs: Any, targets: Any, labels: Any, baseline: Any = None) -> Any:  # noqa: ARG002
        if self.fault == "raises":
            return 1 / 0
        if self.fault == "refuses":
            raise DataError("one class alone")
        value: Any = "good" if self.fault == "value" else np.float32(0.5)
        metric = Metric(name="own", value=value, n=3, ci95=(0.0, np.float64(1.0)), higher_is_better=True)
        return 0.5 if self.fault == "returns" else SplitResult(metric=metric)

    def changes(self, before: Any, after: Any, targets: Any, labels: Any) -> Any:
        return None if self.fault == "changes" else super().changes(before, after, targets, labels)

    def outputs_read(self, outputs: Any) -> Any:
        return {} if self.fault == "read" else super().outputs_read(outputs)


def judge_all(task: TaskConfig) -> SplitResult:
    judge = bind_task(task, entries=Entries(Path()), postprocess=Postprocess([]))
    judged = judge.prepared(OUTPUTS, SPLIT)
    judge.changes(judged, judged, SPLIT.targets, ())
    assert judge.outputs_read(OUTPUTS) is OUTPUTS
    return judge.evaluate(judged, SPLIT.targets, ())


@pytest.mark.parametrize(
    ("fault", "said"),
    [
        ("raises", "raised ZeroDivisionError: division by zero (tests/unit/tasks/test_plugin_task.py:"),
        ("returns", "returned a float from `evaluate`, not a SplitResult"),
        ("value", "returned a SplitResult that is none: Expected `float`, got `str` - at `$.metric.value`"),
        ("prepared raises", "raised ValueError: no such axis"),
        ("prepared", "returned a list from `prepared`, not a dict of arrays"),
        ("changes", "returned a NoneType from `changes`, not a Changes"),
        ("read", "returned a dict from `outputs_read`, not a dict that holds arrays"),
        ("bind", "raised KeyError: 'scale'"),
    ],
)
def test_what_a_packages_task_does_wrong_is_that_packages(fault: Any, said: str) -> None:
    with pytest.raises(UserError) as caught:
        judge_all(Faulty(fault=fault))
    (problem,) = caught.value.problems
    assert (problem.code, problem.where) == ("task-failed", "task")
    assert f"the task `faulty` of {__name__} {said}" in problem.message
    assert "package" in problem.hint


def test_what_it_raises_about_held_out_samples_is_that_packages() -> None:
    held = ArraySplit({"input": np.zeros((40, 2), np.float32)}, np.arange(40))
    project: Any = SimpleNamespace(
        data=Data({"calibration": held}, ("calibration",)), recipe=SimpleNamespace(seed=0, task=Faulty(fault="splits"))
    )
    settings = Quantize(scheme="static-int8", calibration=1, accuracy_control=True)
    with pytest.raises(UserError, match="raised KeyError: 'eval'") as caught:
        check_held_out(project, Candidate(ArtifactConfig(format="onnx", quantize=settings), "artifacts[0]"))
    assert caught.value.code == "task-failed"


def test_accuracy_control_is_refused_where_a_task_does_not_say_what_was_lost(tmp_path: Path) -> None:
    held, task = ArraySplit({"input": np.zeros((40, 2), np.float32)}, np.arange(40)), Faulty()
    project: Any = SimpleNamespace(
        data=Data({"calibration": held}, ("calibration",)),
        recipe=SimpleNamespace(seed=0, task=task, postprocess=[], serve=SimpleNamespace(batch=1)),
        entries=Entries(tmp_path),
        versions={},
        judge=bind_task(task, entries=Entries(tmp_path), postprocess=Postprocess([])),
    )
    evaluator: Any = SimpleNamespace(project=project, cache=Cache(tmp_path), answers=lambda *_: OUTPUTS)
    file: Any = SimpleNamespace(digest="", built=SimpleNamespace(path=tmp_path, format="onnx"))
    settings = Quantize(scheme="static-int8", calibration=1, accuracy_control=True)
    candidate = Candidate(ArtifactConfig(format="onnx", quantize=settings), "artifacts[0]")
    with pytest.raises(DataError, match="gives no `drop`") as caught:
        HeldOut(evaluator, file, candidate, against="the original").lost(file)
    assert caught.value.problems[0].where == "artifacts[0].quantize.accuracy_control"


def test_a_task_that_goes_well_gives_plain_numbers_and_what_it_refuses_is_told_as_it_says() -> None:
    result = judge_all(Faulty())
    assert (result.metric.value, type(result.metric.value)) == (0.5, float)
    assert type(result.metric.ci95[1]) is float
    with pytest.raises(DataError, match="one class alone"):
        judge_all(Faulty(fault="refuses"))


def test_what_our_own_task_raises_stays_a_bug() -> None:
    task = Classification()
    assert bind_task(task, entries=Entries(Path()), postprocess=Postprocess([])) is task
    with pytest.raises(ZeroDivisionError), blaming(task, GROUP, where="task"):
        1 / 0  # noqa: B018
