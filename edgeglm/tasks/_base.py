"""What every task is: a frozen struct that judges a model's outputs."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal, Protocol, TypeAlias

import msgspec
import numpy as np

from edgeglm.errors import ModelError
from edgeglm.tasks.changes import chosen_output, output_changes

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from edgeglm_agent.processing import Postprocess
    from edgeglm_agent.wire import TensorSpec

    from edgeglm.data.splits import Arrays, Data, Split
    from edgeglm.report.types import SplitResult
    from edgeglm.sources.entry import Entries
    from edgeglm.tasks.changes import Changes


# What training makes small (edgeglm/nn/objectives.py): classes: cross entropy of logits (N, K); pixels: the
# same of every pixel, (N, K, H, W); values: squared error
# of numbers; embedding: the angle to the teacher's output; reconstruction: squared error to the input; outputs: squared
# error to all of the teacher's outputs.
ObjectiveName: TypeAlias = Literal["classes", "pixels", "values", "embedding", "reconstruction", "outputs"]


class Judge(Protocol):
    """What judges the outputs of a run: a task, with what it needs of the run at hand."""

    def prepared(self, outputs: Arrays, split: Split) -> Arrays:
        """Return what is judged: see ``TaskConfig.prepared``."""
        ...

    def evaluate(
        self, outputs: Arrays, targets: np.ndarray | None, labels: Sequence[str], baseline: Arrays | None = None
    ) -> SplitResult:
        """Return the metric over what ``prepared`` gave: see ``TaskConfig.evaluate``."""
        ...

    def changes(self, before: Arrays, after: Arrays, targets: np.ndarray | None, labels: Sequence[str]) -> Changes:
        """Return how much each answer changed between two that ``prepared`` gave: see ``TaskConfig.changes``."""
        ...

    def outputs_read(self, outputs: Arrays) -> Arrays:
        """Return what answers are made from: see ``TaskConfig.outputs_read``."""
        ...


class TaskConfig(msgspec.Struct, tag_field="kind", frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Base of all tasks: settings as fields, the judgement in ``evaluate``."""

    objective: ClassVar[ObjectiveName] = "outputs"
    is_share: ClassVar[bool] = True  # whether the metric lies between 0 and 1, and so what it may lose
    reads_calibration: ClassVar[bool] = False  # whether ``calibrated`` wants the outputs on the calibration split
    needs_targets: ClassVar[bool] = False  # whether ``read_targets`` refuses a split that is judged and has none
    judges_classes: ClassVar[bool] = True  # whether a result may have ``per_class``: else `per_class_drop` is refused
    reads_one_output: ClassVar[bool] = False  # whether the output named by ``output`` is all that is judged

    output: str | None = None  # name of the output that is judged; null: the first

    @property
    def needs_teacher(self) -> bool:
        """Whether training has nothing to learn from but another network's answers: of targets no loss is known."""
        return self.objective in ("embedding", "outputs")

    def read_targets(
        self, targets: np.ndarray | None, *, labels: Sequence[str], judged: bool, where: str
    ) -> np.ndarray | None:
        """Return the targets of one split in the form that this task takes, or refuse them.

        Args:
            targets: Numbers, (N, ...), as the data gave them; None: there are none.
            labels: Names of the classes; empty: not known.
            judged: Whether the split is evaluated on; others may have no targets.
            where: Which data and split, for errors.

        Raises:
            DataError: They cannot be used. By default none are refused.
        """
        del labels, judged, where
        return targets

    def check_splits(
        self, targets: Mapping[str, np.ndarray], *, chief: str, labels: Sequence[str], where: Mapping[str, str]
    ) -> list[str]:
        """Return what a user should hear about the targets of all splits together, or refuse them.

        Args:
            targets: Split name -> targets as ``read_targets`` gave them; only splits that have any.
            chief: The split that decides.
            labels: Names of the classes; empty: not known.
            where: Split name -> what to call it.

        Raises:
            DataError: Nothing can be learnt from them, or judged by them. By default nothing is said.
        """
        del targets, chief, labels, where
        return []

    def check(self, outputs: Sequence[TensorSpec], data: Data) -> None:
        """Refuse a model and data that do not belong together, before anything long is started.

        Args:
            outputs: What the model puts out; shapes without the batch axis.
            data: All splits, in the model's layout.

        Raises:
            UserError: They do not. By default nothing is refused.
        """

    def bind(self, *, entries: Entries, postprocess: Postprocess) -> Judge:
        """Return what judges a run; by default the task itself, which needs outputs and targets alone.

        Args:
            entries: Resolves `path.py:function` relative to the recipe.
            postprocess: The recipe's operations on outputs.

        Raises:
            UserError: The task cannot judge with these.
        """
        del entries, postprocess
        return self

    def prepared(self, outputs: Arrays, split: Split) -> Arrays:
        """Return what is judged, by name, (N, ...): the outputs, and what must be computed from the inputs, too.

        Any part of the samples may be judged from it by ``evaluate``, without the inputs.

        Args:
            outputs: The model's outputs by name over a whole split.
            split: The samples they are of, in the model's layout.
        """
        del split
        return outputs

    def outputs_read(self, outputs: Arrays) -> Arrays:
        """Return what answers are made from, in parts (N, ...) of numbers that are alike; by default each output.

        A scan of sensitivity ranks layers by how far they move each part, in shares of that part's own variance.

        Args:
            outputs: The model's outputs by name, over any samples.
        """
        if not self.reads_one_output:
            return outputs
        name = self.output or next(iter(outputs))
        return {name: outputs[name]}

    def calibrated(self, judged: Arrays, targets: np.ndarray | None, count: int) -> Arrays:
        """Return what is chosen on other samples than those that are judged, to stand beside what ``prepared`` gave.

        Args:
            judged: What ``prepared`` made of the same model's outputs on the calibration split.
            targets: Of the calibration split; None: it has none.
            count: How many samples are judged: each array is (count, ...).
        """
        del judged, targets, count
        return {}

    def classes_in(self, targets: np.ndarray) -> set[int]:
        """Return the numbers of the classes that targets name; only of a task that judges by class."""
        return {int(number) for number in np.unique(targets)}

    def follows_original(self, targets: np.ndarray | None) -> bool:
        """Tell whether answers are judged by how close they stay to the original's; by default targets judge them.

        A network that is distilled from one of another source is held against that one instead.
        """
        del targets
        return False

    def evaluate(
        self, outputs: Arrays, targets: np.ndarray | None, labels: Sequence[str], baseline: Arrays | None = None
    ) -> SplitResult:
        """Return the metric over one split, and against a baseline what was lost.

        Args:
            outputs: What ``prepared`` made of the model's outputs, by name, (N, ...).
            targets: (N, ...), or None where the data has none.
            labels: Names of the classes; empty: not known.
            baseline: The same of the original model, on the same samples, in the same order. Without a ``drop`` in the
                result, ``budget.metric_drop`` cannot be judged.

        Raises:
            DataError: The targets cannot be used.
            ModelError: The outputs cannot be.
        """
        raise NotImplementedError

    def changes(self, before: Arrays, after: Arrays, targets: np.ndarray | None, labels: Sequence[str]) -> Changes:
        """Return how much the answer to each sample changed; by default how far the judged output moved.

        Args:
            before: What is judged of the original, by name, (N, ...), over a whole split.
            after: The same of the artifact, on the same samples.
            targets: (N, ...), or None where the data has none.
            labels: Names of the classes; empty: not known.
        """
        del targets, labels
        return output_changes(*(chosen_output(outputs, self.output) for outputs in (before, after)))

    def predicted(self, outputs: Arrays, labels: Sequence[str]) -> dict[str, float]:
        """Return answer -> its share of all answers, which a board's are compared with; by default nothing."""
        del outputs, labels
        return {}


def judged_output(outputs: Sequence[TensorSpec], name: str | None) -> TensorSpec:
    """Return the output of a model that a task judges; without a name the first. Raises: ModelError."""
    found = next((spec for spec in outputs if name in (None, spec.name)), None)
    if found is None:
        names = ", ".join(f"{spec.name} {list(spec.shape)}" for spec in outputs)
        raise ModelError(
            f"the model has no output `{name}`; it has {names}", where="task.output", code="output-missing"
        )
    return found


def finite_output(outputs: Arrays, name: str | None) -> np.ndarray:
    """Return the values (N, ...) that a task judges; without a name those of the first output.

    Raises:
        ModelError: They hold NaN or Inf.
    """
    name = name or next(iter(outputs))
    values = outputs[name]
    finite = np.isfinite(values).all(axis=tuple(range(1, values.ndim)))
    if not finite.all():
        raise ModelError(
            f"output `{name}` is NaN or Inf for {int((~finite).sum())} of {len(values)} samples, first sample "
            f"{int(np.argmin(finite))}",
            hint="the numbers overflow: look at the weights, the learning rate, or use a wider scheme than fp16",
            code="output-not-finite",
        )
    return values
