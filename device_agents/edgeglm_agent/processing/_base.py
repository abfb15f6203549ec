"""What every operation is: a frozen struct of settings with ``apply``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Literal, TypeAlias

import msgspec
import numpy as np

from edgeglm_agent.needs import Need

Kind: TypeAlias = Literal["outputs", "classes", "boxes", "decision"]  # what lies between two operations on outputs


class ProcessingError(ValueError):
    """An operation cannot be used as written, or does not fit the array it was given.

    Attributes:
        key: Where, as in a recipe: ``preprocess[0].resize.height``; empty when the operation stands alone.
        message: What is wrong, without the key.
        hint: How to mend it, where that is known.
    """

    def __init__(self, message: str, *, key: str = "", hint: str = "") -> None:
        self.key = key
        self.hint = hint
        self.message = message
        super().__init__(f"{key}: {message}" if key else message)


class PreOperation(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Base of what is done to an input; one sample at a time, or to a whole batch where that is the same."""

    vectorised: ClassVar[bool] = False  # whether ``apply_batch`` takes all samples at once, to the same bits
    needs: ClassVar[tuple[Need, ...]] = ()  # what has to be installed beside the agent
    files: ClassVar[tuple[str, ...]] = ()  # settings that name a file, which travels with the artifacts

    input: str | None = None  # name of the one model input it is for; None: every one that looks like an image

    def apply(self, values: np.ndarray) -> np.ndarray:
        """Return what becomes of one sample, given without a batch axis."""
        raise NotImplementedError

    def apply_batch(self, values: np.ndarray) -> np.ndarray:
        """Return what becomes of samples of one shape, given with a batch axis; only where ``vectorised``."""
        raise NotImplementedError


class Placement(msgspec.Struct, frozen=True):
    """Where an image lies in what was made of it: ``made = source * scale + shift``, in pixels, (y, x)."""

    size: tuple[int, int]  # height and width of what was made
    scale: tuple[float, float] = (1.0, 1.0)
    shift: tuple[float, float] = (0.0, 0.0)

    def then(self, later: Placement) -> Placement:
        """Return where the source lies in what ``later`` makes of what this made."""
        scale = (self.scale[0] * later.scale[0], self.scale[1] * later.scale[1])
        shift = tuple(mine * by + more for mine, by, more in zip(self.shift, later.scale, later.shift, strict=True))
        return Placement(later.size, scale, (shift[0], shift[1]))


class Frame(msgspec.Struct, frozen=True):
    """The image that a sample was, and where it lies in what the model sees."""

    size: tuple[int, int]  # height and width of the image, pixels
    placement: Placement

    def to_image(self, boxes: np.ndarray) -> np.ndarray:
        """Return boxes (M, 4) of the model's input, x1 y1 x2 y2, in pixels of the image and cut off at its border."""
        (scale_y, scale_x), (shift_y, shift_x) = self.placement.scale, self.placement.shift
        shift = np.array([shift_x, shift_y, shift_x, shift_y], np.float32)
        scale = np.array([scale_x, scale_y, scale_x, scale_y], np.float32)
        height, width = self.size
        return np.asarray(np.clip((boxes - shift) / scale, 0, np.array([width, height, width, height], np.float32)))


class Prediction(msgspec.Struct, frozen=True):
    """One class that a model named, with its score."""

    index: int  # class number, from 0
    score: float  # a probability after softmax, else whatever the model puts out
    label: str = ""  # empty unless the operation ``labels`` was asked for


class Detection(msgspec.Struct, frozen=True):
    """One thing that a model found in an image."""

    box: tuple[float, float, float, float]  # x1, y1, x2, y2: pixels of the image, or of the model's input
    score: float
    index: int  # class number, from 0
    label: str = ""  # empty unless the operation ``labels`` was asked for


class Decision(msgspec.Struct, frozen=True):
    """Whether a score went over a limit."""

    exceeded: bool
    score: float
    limit: float


class Boxes(msgspec.Struct, frozen=True):
    """What a model found in one image, as arrays, best first: detections on their way."""

    boxes: np.ndarray  # (M, 4) float32: x1, y1, x2, y2 in pixels of the model's input
    scores: np.ndarray  # (M,) float32, falling
    classes: np.ndarray  # (M,) int64
    names: tuple[str, ...] = ()  # of the classes, where ``labels`` was asked for

    def take(self, rows: np.ndarray) -> Boxes:
        """Return these of them alone, in this order."""
        return Boxes(self.boxes[rows], self.scores[rows], self.classes[rows], self.names)

    def detections(self, frame: Frame | None = None) -> list[Detection]:
        """Return them one by one, in pixels of the image where ``frame`` says how it lies."""
        boxes = self.boxes if frame is None else frame.to_image(self.boxes)
        return [
            Detection((box[0], box[1], box[2], box[3]), score, index, self.names[index] if self.names else "")
            for box, score, index in zip(boxes.tolist(), self.scores.tolist(), self.classes.tolist(), strict=True)
        ]


class Answers(msgspec.Struct, frozen=True):
    """What operations on outputs hand on to each other: arrays first, then one result for each sample."""

    outputs: dict[str, np.ndarray]  # by name, (N, ...)
    inputs: Mapping[str, np.ndarray] | None = None  # as the model took them, (N, ...); None: not given
    results: Sequence[Any] | None = None  # for each sample predictions, ``Boxes`` or a decision; None: not yet

    def named(self, name: str | None) -> str:
        """Return the name of the output meant; None is the first. Raises: ProcessingError."""
        if name is None:
            return next(iter(self.outputs))
        if name not in self.outputs:
            raise ProcessingError(f"the model has no output `{name}`; it has {', '.join(self.outputs)}")
        return name

    def with_output(self, name: str, values: np.ndarray) -> Answers:
        """Return the same with one output replaced."""
        return Answers({**self.outputs, name: values}, self.inputs, self.results)

    def with_results(self, results: Sequence[Any]) -> Answers:
        """Return the same with one result for each sample."""
        return Answers(self.outputs, self.inputs, results)


class PostOperation(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Base of what is done to outputs."""

    takes: ClassVar[tuple[Kind, ...]] = ("outputs",)
    makes: ClassVar[tuple[Kind, ...]] = ("outputs",)  # of outputs; several: their shape decides. Of the rest: the same
    needs_inputs: ClassVar[bool] = False

    def apply(self, answers: Answers) -> Answers:
        """Return what becomes of the answers. Raises: ProcessingError."""
        raise NotImplementedError
