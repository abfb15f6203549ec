"""What is made of a model's outputs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from edgeglm_agent.processing._base import (
    Answers,
    Boxes,
    Decision,
    Detection,
    Frame,
    Kind,
    PostOperation,
    Prediction,
    ProcessingError,
)
from edgeglm_agent.processing.few_classes import FewClasses
from edgeglm_agent.processing.pipeline import POST_OPERATIONS, PRE_OPERATIONS
from edgeglm_agent.processing.ranking import Labels
from edgeglm_agent.processing.reconstruction import ReconstructionError
from edgeglm_agent.processing.steps import OpLike, Steps, is_named, named, written

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from edgeglm_agent.wire import ProcessOp

# predictions or detections, best first; a decision; or outputs that nothing was picked from
Result: TypeAlias = "list[Prediction] | list[Detection] | Decision | dict[str, np.ndarray]"


class Postprocess:
    """What is made of a model's outputs."""

    def __init__(self, ops: Sequence[OpLike] = (), labels: Sequence[str] = ()) -> None:
        """Check names, settings and order. Raises: ProcessingError, with the key of the fault."""
        self._steps = Steps("postprocess", ops, POST_OPERATIONS, PRE_OPERATIONS)
        kinds: tuple[Kind, ...] = ("outputs",)
        picked_by = ""
        for place, (key, op) in enumerate(self._steps.ops):
            if isinstance(op, Labels):
                names = op.names or list(labels)
                if not names:
                    raise ProcessingError(
                        "there are no labels: the recipe names none",
                        key=key,
                        hint="name the classes by `labels`, in the order of the outputs, or take this operation out",
                    )
                op = Labels(names=names)
                self._steps.ops[place] = (key, op)
            if not set(kinds) & set(op.takes):
                message, hint = _out_of_order(op, kinds, picked_by)
                raise ProcessingError(message, key=key, hint=hint)
            kinds = op.makes if "outputs" in kinds else tuple(kind for kind in kinds if kind in op.takes)
            if "outputs" not in kinds:
                picked_by = picked_by or ops[place].op
        self._few_classes = FewClasses.of(self.ops)

    @classmethod
    def of(cls, ops: Sequence[OpLike | str | Mapping[str, Any]], labels: Sequence[str] = ()) -> Postprocess:
        """Return the operations as a recipe writes them: ``["softmax", {"top-k": {"k": 3}}, "labels"]``."""
        return cls(written(ops, "postprocess"), labels)

    @property
    def ops(self) -> tuple[PostOperation, ...]:
        """The operations, checked, in their order."""
        return tuple(op for _, op in self._steps.ops)

    @property
    def needs_inputs(self) -> bool:
        """Whether the model's inputs must be given along with its outputs."""
        return any(op.needs_inputs for op in self.ops)

    def wire(self) -> tuple[ProcessOp, ...]:
        """Return the operations as the manifest carries them, every default spelt out."""
        return self._steps.wire()

    def one(
        self,
        outputs: Mapping[str, np.ndarray],
        *,
        inputs: Mapping[str, np.ndarray] | None = None,
        frame: Frame | None = None,
    ) -> Result:
        """Return the result of one sample.

        Args:
            outputs: By name, with a batch axis of 1, as an engine puts them out.
            inputs: By name, with a batch axis of 1, in the model's layout (as ``Preprocess`` gives them); only where
                ``needs_inputs``.
            frame: Where the image lies in what the model saw (``Preprocess.frame``): boxes are then in pixels of the
                image, otherwise of the model's input.

        Returns:
            Predictions or detections, best first, where an operation picks some; a decision, where ``threshold``
            makes one; otherwise the outputs by name, without the batch axis.

        Raises:
            ProcessingError: An operation does not fit the outputs; its key is named.
        """
        if self._few_classes is not None:
            found = self._few_classes(outputs)
            if found is not None:
                return found[0]
        if not self._steps.ops:
            return {name: values[0] for name, values in outputs.items()}
        return self.batch(outputs, inputs=inputs, frames=None if frame is None else [frame])[0]

    def batch(
        self,
        outputs: Mapping[str, np.ndarray],
        *,
        inputs: Mapping[str, np.ndarray] | None = None,
        frames: Sequence[Frame] | None = None,
    ) -> list[Result]:
        """Return the result of every sample; arrays have a batch axis of any length, and ``frames`` has that length."""
        if self._few_classes is not None:
            found = self._few_classes(outputs)
            if found is not None:
                return [*found]
        answers = Answers({name: np.asarray(values) for name, values in outputs.items()}, inputs)
        for key, op in self._steps.ops:
            try:  # costs nothing where all goes well
                answers = op.apply(answers)
            except ProcessingError as error:  # noqa: PERF203
                if is_named(error):
                    raise
                raise named(error, key) from error
        count = len(next(iter(answers.outputs.values())))
        if answers.results is None:
            return [{name: values[row] for name, values in answers.outputs.items()} for row in range(count)]
        placed = [None] * count if frames is None else list(frames)
        return [
            result.detections(frame) if isinstance(result, Boxes) else result
            for result, frame in zip(answers.results, placed, strict=True)
        ]

    def channel_errors(
        self, outputs: Mapping[str, np.ndarray], inputs: Mapping[str, np.ndarray], layouts: Mapping[str, str]
    ) -> tuple[float, ...]:
        """Return the error of each channel where ``reconstruction-error`` is among the operations, else nothing.

        Args:
            outputs: Of one sample, as ``one`` takes them.
            inputs: Likewise.
            layouts: Axes of inputs by name, as the manifest says them: NCHW, NC, or "" where nobody knows.
        """
        answers = Answers({name: np.asarray(values) for name, values in outputs.items()}, inputs)
        for op in self.ops:
            if isinstance(op, ReconstructionError):
                return op.by_channel(answers, layouts)
            answers = op.apply(answers)
        return ()


def _out_of_order(op: PostOperation, kinds: tuple[Kind, ...], picked_by: str) -> tuple[str, str]:
    """Return why an operation cannot come after what was done before it, and how to mend that."""
    if "outputs" in op.takes:
        return f"comes before `{picked_by}`, which leaves no scores to work on", f"put it before `{picked_by}`"
    makers = [
        f"`{name}`"
        for name, maker in POST_OPERATIONS.items()
        if "outputs" in maker.takes and set(maker.makes) & set(op.takes)
    ]
    wanted = "classes" if "classes" in op.takes else "boxes"
    if kinds == ("outputs",):
        return f"comes after {_either(makers)}, which find the {wanted} it works on", f"put {_either(makers)} before it"
    return f"works on {wanted}, and `{picked_by}` leaves none", f"take one of the two out: it, or `{picked_by}`"


def _either(names: list[str]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} or {names[-1]}"
