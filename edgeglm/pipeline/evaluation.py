"""How good each network and file is on every evaluation split; predictions are kept, so nothing is computed twice."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load_file, save

from edgeglm.cache import Cache, Entry, make_key
from edgeglm.errors import DataError
from edgeglm.files import write_bytes
from edgeglm.host import cpu_features
from edgeglm.pipeline.outside_teacher import OutsideTeacher, is_judged_by, outside_teachers
from edgeglm.plugins import blaming
from edgeglm.report.types import SliceResult
from edgeglm.tasks import GROUP as TASK_GROUP

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from edgeglm_agent.wire import Buckets

    from edgeglm.data.splits import Arrays, Split
    from edgeglm.model import Model
    from edgeglm.pipeline.build import File
    from edgeglm.pipeline.project import Project
    from edgeglm.report.types import Metric, SplitResult
    from edgeglm.tasks.changes import Changes

TORCH_BATCH = 64
OUTPUTS = "outputs.safetensors"
CALIBRATION = "calibration"


@dataclass
class Evaluator:
    """Evaluates against one baseline: its outputs, once known, are what every drop is paired with."""

    project: Project
    cache: Cache
    baseline: dict[str, Arrays] = field(default_factory=dict)  # split -> outputs
    _judged: dict[str, Arrays] = field(default_factory=dict)  # split -> what of the baseline's is judged
    _right: dict[str, Arrays] = field(default_factory=dict)  # split -> the same of a teacher's from elsewhere

    def predict_torch(self, model: Model, key: str) -> dict[str, Arrays]:
        """Return split -> outputs of a torch network; ``key`` identifies its weights."""
        from edgeglm.nn.inference import predict

        return self._predict(key, lambda split: predict(model, split, batch=TORCH_BATCH, threads=self.project.threads))

    def predict_file(
        self,
        path: Path,
        *,
        file_format: str,
        sha256: str,
        buckets: Buckets | None = None,
        splits: Mapping[str, Split] | None = None,
        **parts: Any,
    ) -> dict[str, Arrays]:
        """Return split -> outputs of a file in its runtime, called as it will be served."""
        # INT8 kernels round differently from processor to processor
        parts |= {"cpu_features": cpu_features(), "batch": self.project.recipe.serve.batch}
        parts |= {"buckets": msgspec.to_builtins(buckets)} if buckets is not None else {}
        return self._predict(
            sha256, lambda split: self.answers(path, file_format, split, buckets=buckets), splits, **parts
        )

    def answers(self, path: Path, file_format: str, split: Split, *, buckets: Buckets | None = None) -> Arrays:
        """Return what a file answers on one split, whichever, called as it will be served; nothing is kept."""
        from edgeglm.measure.evaluate import predict_file

        return predict_file(
            path,
            format=file_format,
            split=split,
            inputs=self.project.original.inputs,
            batch=self.project.recipe.serve.batch,
            threads=self.project.threads,
            buckets=buckets,
        )

    def predict_changed(self, file: File, split: Split, **parts: Any) -> Arrays:
        """Return the outputs of a file on changed samples of the split that decides; ``parts`` say how they changed."""
        built = file.built
        outputs = self.predict_file(
            built.path,
            file_format=built.format,
            sha256=file.digest,
            buckets=built.buckets,
            splits={"changed": split},
            **parts,
        )
        return outputs["changed"]

    def results(self, outputs: dict[str, Arrays], *, is_baseline: bool = False) -> dict[str, SplitResult]:
        """Return split -> result, paired with the baseline unless this is it."""
        judge, data = self.project.judge, self.project.data
        found: dict[str, SplitResult] = {}
        for name in data.eval_splits:
            split = data.splits[name]
            before = self.right_answers(name)
            if before is None and not is_baseline:
                before = self._baseline_judged(name)
            known = is_baseline and outputs is self.baseline
            after = self._baseline_judged(name) if known else self.judged(outputs, name)
            result = judge.evaluate(after, split.targets, data.labels, before)
            slices = self._slices(name, after, before)
            found[name] = msgspec.structs.replace(result, metric=self.named(result.metric, split), slices=slices)
        return found

    @cached_property
    def teacher(self) -> OutsideTeacher | None:
        """The last teacher from elsewhere, which says what is right, where the recipe has one."""
        return next(outside_teachers(self.project), None)

    def result_of_teacher(self, teacher: OutsideTeacher) -> SplitResult | None:
        """Return how good such a teacher is on the split that decides; None: no targets tell, or more than its output.

        Raises:
            UserError: Its answers cannot be judged.
        """
        data = self.project.data
        name, *_ = data.eval_splits
        split = data.splits[name]
        if split.targets is None or not self.project.recipe.task.reads_one_output:
            return None
        answers = self._predict(teacher.key, teacher.answers, {name: split})
        return self.project.judge.evaluate(self.judged(answers, name), split.targets, data.labels)

    def has_right_answers(self, split: Split) -> bool:
        """Tell whether a split is judged by a teacher from elsewhere, not by targets or by the original."""
        return is_judged_by(self.teacher, self.project, split.targets)

    def right_answers(self, name: str) -> Arrays | None:
        """Return what is judged of such a teacher's answers to an evaluation split; None: there is none."""
        if self.teacher is None or not self.has_right_answers(self.project.data.splits[name]):
            return None
        if name not in self._right:
            answers = self._predict(self.teacher.key, self.teacher.answers, {name: self.project.data.splits[name]})
            self._right[name] = self.judged(answers, name)
        return self._right[name]

    def named(self, metric: Metric, split: Split) -> Metric:
        """Return a metric by the name of what it is judged by."""
        if not self.has_right_answers(split):
            return metric
        return msgspec.structs.replace(metric, name=metric.name.replace("original", "teacher"))

    def _slices(self, split: str, after: Arrays, before: Arrays | None) -> list[SliceResult]:
        """Return the metric in every slice of a split; None where the task cannot judge so small a part."""
        judge, data = self.project.judge, self.project.data
        targets = data.splits[split].targets
        results: list[SliceResult] = []
        for name, mask in data.slices.get(split, {}).items():
            rows = np.flatnonzero(mask)
            try:
                part = judge.evaluate(
                    {key: values[rows] for key, values in after.items()},
                    None if targets is None else targets[rows],
                    data.labels,
                    None if before is None else {key: values[rows] for key, values in before.items()},
                )
            except DataError:  # one class alone, say: the whole split was judged before
                results.append(SliceResult(name=name, n=len(rows), value=None))
            else:
                results.append(SliceResult(name=name, n=len(rows), value=part.metric.value, drop=part.drop))
        return results

    def _baseline_judged(self, split: str) -> Arrays:
        if split not in self._judged:
            self._judged[split] = self.judged(self.baseline, split)
        return self._judged[split]

    def changes(self, outputs: dict[str, Arrays], name: str) -> Changes:
        """Return how much the answer to each sample of a split differs from the baseline's, or the right one."""
        data = self.project.data
        before, after = self.right_answers(name), self.judged(outputs, name)
        if before is None:
            before = self._baseline_judged(name)
        return self.project.judge.changes(before, after, data.splits[name].targets, data.labels)

    def judged(self, outputs: dict[str, Arrays], name: str) -> Arrays:
        """Return what is judged of a model on one split, and what calibration samples chose for that model."""
        judge, splits = self.project.judge, self.project.data.splits
        judged = judge.prepared(outputs[name], splits[name])
        if CALIBRATION not in outputs:
            return judged
        chosen, task = splits[CALIBRATION], self.project.recipe.task
        seen = judge.prepared(outputs[CALIBRATION], chosen)
        with blaming(task, TASK_GROUP, where="task"):
            return judged | task.calibrated(seen, chosen.targets, len(splits[name]))

    def side(self, outputs: dict[str, Arrays], *, is_baseline: bool = False) -> dict[str, Any]:
        """Return the fields of a ``report.types.Side`` that say how good it is."""
        results = self.results(outputs, is_baseline=is_baseline)
        first, *others = self.project.data.eval_splits
        chief = results[first]
        return {
            "metric": chief.metric,
            "metrics_extra": chief.metrics_extra,
            "per_class": chief.per_class,
            "confusion": chief.confusion,
            "drop": chief.drop,
            "alarms": chief.alarms,
            "slices": chief.slices,
            "splits": {name: results[name] for name in others},
        }

    def _read(self) -> dict[str, Split]:
        """Return the splits whose outputs are wanted: all that are judged, and calibration for a task that reads it."""
        data = self.project.data
        read = {name: data.splits[name] for name in data.eval_splits}
        if self.project.recipe.task.reads_calibration and len(data.calibration):
            read[CALIBRATION] = data.calibration
        return read

    def _predict(
        self, key: str, run: Callable[[Split], Arrays], splits: Mapping[str, Split] | None = None, **parts: Any
    ) -> dict[str, Arrays]:
        """Return the outputs of every evaluation split (or of those given), from the cache where they are."""
        project = self.project
        found: dict[str, Arrays] = {}
        for name, split in (splits or self._read()).items():
            entry_key = make_key(
                model=key,
                data=project.data.sha256,
                split=name,
                versions=project.versions,
                threads=project.threads,
                **parts,
            )
            with self.cache.entry("predictions", entry_key) as entry:
                outputs = _stored(entry)
                if outputs is None:
                    outputs = run(split)
                    content = save({key: np.ascontiguousarray(value) for key, value in outputs.items()})
                    write_bytes(entry.folder / OUTPUTS, content, synced=False)
                    entry.finish(OUTPUTS, samples=len(split))
                found[name] = outputs
        return found


def _stored(entry: Entry) -> Arrays | None:
    """Return the outputs that an entry holds; None when it is incomplete, or cannot be read."""
    if entry.result is None:
        return None
    try:
        return load_file(entry.folder / OUTPUTS)
    except (OSError, SafetensorError):
        return None
