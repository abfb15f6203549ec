"""Operations that make detections: ``boxes`` decodes what a detector puts out, ``nms`` keeps one box a thing."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

import msgspec
import numpy as np
from msgspec import Meta

from edgeglm_agent.processing._base import Answers, Boxes, Kind, PostOperation, ProcessingError

_Column = Literal["box", "objectness", "scores", "score", "class"]
_LARGEST_EXPONENT = 16.0  # of a box's size in strides: exp() stays finite
_Share = Annotated[float, Meta(ge=0, le=1)]
_Pixels = Annotated[int, Meta(ge=1)]


class DecodeBoxes(PostOperation, frozen=True, kw_only=True):
    """Decode a detector's outputs into boxes with a class and a score (class score times objectness), best first."""

    makes: ClassVar[tuple[Kind, ...]] = ("boxes",)

    format: Literal["xyxy", "yxyx", "cxcywh", "grid-tanh", "grid-exp"]  # grid-tanh: FastestDet, grid-exp: YOLOX
    columns: list[_Column] = msgspec.field(
        default_factory=lambda: ["box", "scores"]
    )  # what follows what for each box; `scores` takes what is left over
    axis: int = -1  # of the columns, in one sample: -1 for (boxes, columns), 0 for (columns, boxes) or CHW
    normalised: bool = False  # the box is in shares of the input's size, not in pixels
    strides: list[_Pixels] = []  # grid formats: pixels from cell to cell, one for each level
    input_size: Annotated[list[_Pixels], Meta(min_length=2, max_length=2)] | None = None  # height, width in pixels
    min_score: _Share = 0.25  # boxes that score no more are dropped
    output: str | None = None  # name of the model output that holds the boxes; None: the first
    scores: str | None = None  # name of an output of scores (N, boxes, K) or (N, boxes), where it is another
    classes: str | None = None  # name of an output of class numbers (N, boxes), beside `scores`

    def __post_init__(self) -> None:
        """Refuse settings that do not go together."""
        columns = self.columns
        if columns.count("box") != 1 or len(set(columns)) < len(columns):
            raise ValueError("`columns` names `box` once, and nothing twice")
        if "scores" in columns and ("score" in columns or "class" in columns):
            raise ValueError("`columns` has either `scores` of all classes, or one `score` and a `class`")
        if self.scores is not None and {"scores", "score"} & set(columns):
            raise ValueError("the scores lie in an output of their own: take them out of `columns`")
        if self.scores is None and (self.classes is not None or not {"scores", "score", "objectness"} & set(columns)):
            raise ValueError("nothing says what the boxes score: name `scores`, or a column of them")
        if self._grid and not self.strides:
            raise ValueError(f"`{self.format}` needs `strides`: how many pixels lie between two cells")
        if self.normalised and (self._grid or self.input_size is None):
            raise ValueError("`normalised` needs `input_size`, and says nothing about a grid")

    @property
    def _grid(self) -> bool:
        return self.format.startswith("grid")

    def read(self, answers: Answers) -> dict[str, np.ndarray]:
        """Return what of a model's outputs the boxes are made from, column by column and as it is: (N, A, width).

        Scores and class numbers of outputs of their own are there too, by the names ``scores`` and ``classes``.

        Raises:
            ProcessingError: An output is not there, or has not these columns.
        """
        name = answers.named(self.output)
        moved = self._columns_last(answers.outputs[name], name)
        parts = self._split(moved.reshape(len(moved), -1, moved.shape[-1]), name)
        for part, beside in (("scores", self.scores), ("classes", self.classes)):
            if beside is not None:
                parts[part] = answers.outputs[answers.named(beside)]
        return parts

    def count_classes(self, answers: Answers) -> int:
        """Return how many classes the scores tell apart; 0: nothing says so, class numbers lie beside the scores.

        Raises:
            ProcessingError: An output is not there, or has not these columns.
        """
        if "class" in self.columns or self.classes is not None:
            return 0
        if self.scores is not None:
            return int(self._scores_beside(answers).shape[-1])
        return int(self.read(answers)["scores"].shape[-1]) if "scores" in self.columns else 1

    def apply(self, answers: Answers) -> Answers:
        """Return the boxes of every sample; where a number is not finite, there is no box."""
        name = answers.named(self.output)
        moved = self._columns_last(answers.outputs[name], name)  # (N, ..., columns)
        rows, cells = len(moved), moved.shape[1:-1]
        flat = np.asarray(moved, np.float32).reshape(rows, -1, moved.shape[-1])  # (N, A, columns)
        parts = self._split(flat, name)
        boxes = self._decoded(parts["box"], cells, name)  # (N, A, 4)
        scores, classes = self._scored(parts, answers, flat.shape[1])
        found = []
        for row in range(rows):
            good = (scores[row] > self.min_score) & np.isfinite(boxes[row]).all(axis=-1)
            (kept,) = np.nonzero(good & np.isfinite(scores[row]) & (classes[row] >= 0))
            kept = kept[np.argsort(-scores[row][kept], kind="stable")]
            found.append(Boxes(boxes[row][kept], scores[row][kept], classes[row][kept]))
        return answers.with_results(found)

    def _columns_last(self, values: np.ndarray, name: str) -> np.ndarray:
        dims = values.ndim - 1
        if dims not in (2, 3) or not -dims <= self.axis < dims:
            raise ProcessingError(f"output `{name}` of shape {values.shape} has no boxes along axis {self.axis}")
        return np.moveaxis(values, self.axis + 1 if self.axis >= 0 else self.axis, -1)

    def _split(self, flat: np.ndarray, name: str) -> dict[str, np.ndarray]:
        """Return column -> (N, A, width)."""
        fixed = {"box": 4, "objectness": 1, "score": 1, "class": 1}
        taken = sum(fixed.get(column, 0) for column in self.columns)
        left = flat.shape[-1] - taken
        if left < ("scores" in self.columns) or (left and "scores" not in self.columns):
            raise ProcessingError(
                f"output `{name}` has {flat.shape[-1]} values a box, which are not {', '.join(self.columns)}"
            )
        parts: dict[str, np.ndarray] = {}
        start = 0
        for column in self.columns:
            width = fixed.get(column, left)
            parts[column] = flat[:, :, start : start + width]
            start += width
        return parts

    def _decoded(self, box: np.ndarray, cells: tuple[int, ...], name: str) -> np.ndarray:
        """Return (N, A, 4) float32: x1, y1, x2, y2 in pixels of the model's input."""
        if self._grid:
            middle, size = self._from_grid(box, cells, name)
        elif self.format == "cxcywh":
            middle, size = box[..., :2], box[..., 2:]
        else:
            corners = box if self.format == "xyxy" else box[..., [1, 0, 3, 2]]
            return np.asarray(corners * self._unit(), np.float32)
        return np.asarray(np.concatenate([middle - size / 2, middle + size / 2], axis=-1) * self._unit(), np.float32)

    def _unit(self) -> np.ndarray:
        height, width = self.input_size if self.normalised and self.input_size is not None else (1, 1)
        return np.array([width, height, width, height], np.float32)

    def _from_grid(self, box: np.ndarray, cells: tuple[int, ...], name: str) -> tuple[np.ndarray, np.ndarray]:
        """Return middle and size of each box, (N, A, 2) as x, y, in pixels.

        Sources: the decoding in the FastestDet project (offset by tanh, size by sigmoid, of the whole image);
        Ge et al. 2021 (YOLOX), arXiv:2107.08430, section 2.1 (offset as it is, size by exp, in strides).
        """
        place, stride, whole = self._cells(cells, name)
        offset, size = box[..., :2], box[..., 2:]
        if self.format == "grid-tanh":
            return (np.tanh(offset) + place) * stride, whole / (1 + np.exp(-np.maximum(size, -80)))
        return (offset + place) * stride, np.exp(np.minimum(size, _LARGEST_EXPONENT)) * stride

    def _cells(self, cells: tuple[int, ...], name: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return the cells' places (A, 2) as x, y, their strides (A, 1), and width and height of the input (2,)."""
        if len(cells) == 2:
            if len(self.strides) != 1:
                raise ProcessingError(f"output `{name}` is one grid of {cells[0]} x {cells[1]}: give one stride")
            levels = [(cells[0], cells[1])]
            height, width = cells[0] * self.strides[0], cells[1] * self.strides[0]
        elif self.input_size is None:
            raise ProcessingError(f"output `{name}` has its grids in a row: `input_size` must say how large they are")
        else:
            height, width = self.input_size
            levels = [(-(-height // stride), -(-width // stride)) for stride in self.strides]
        places, strides = [], []
        for (rows, columns), stride in zip(levels, self.strides, strict=True):
            y, x = np.meshgrid(np.arange(rows), np.arange(columns), indexing="ij")
            places.append(np.stack([x, y], axis=-1).reshape(-1, 2))
            strides.append(np.full((rows * columns, 1), stride))
        total = sum(rows * columns for rows, columns in levels)
        if len(cells) == 1 and total != cells[0]:
            raise ProcessingError(
                f"output `{name}` has {cells[0]} boxes; strides {self.strides} on {height} x {width} pixels "
                f"make {total}"
            )
        kinds = np.float32
        return (
            np.concatenate(places).astype(kinds),
            np.concatenate(strides).astype(kinds),
            np.array([width, height], kinds),
        )

    def _scored(self, parts: dict[str, np.ndarray], answers: Answers, count: int) -> tuple[np.ndarray, np.ndarray]:
        """Return scores (N, A) float32 and class numbers (N, A) int64."""
        scores = self._scores_beside(answers) if self.scores is not None else parts.get("scores", parts.get("score"))
        if self.scores is not None and scores is not None and scores.shape[1] != count:
            raise ProcessingError(f"output `{self.scores}` scores {scores.shape[1]} boxes, there are {count}")
        weight = parts["objectness"][..., 0] if "objectness" in parts else None
        if scores is None:
            assert weight is not None  # __post_init__ saw to it
            return weight, np.zeros(weight.shape, np.int64)
        classes = scores.argmax(axis=-1).astype(np.int64)
        best = np.take_along_axis(scores, classes[..., np.newaxis], axis=-1)[..., 0]
        if "class" in parts:
            classes = _whole(parts["class"][..., 0])
        elif self.classes is not None:
            beside = answers.outputs[answers.named(self.classes)]
            if beside.shape != best.shape:
                raise ProcessingError(
                    f"output `{self.classes}` of shape {beside.shape} is not one class a box: {best.shape}"
                )
            classes = _whole(beside)
        return (best if weight is None else best * weight), classes

    def _scores_beside(self, answers: Answers) -> np.ndarray:
        """Return the scores of an output of their own, (N, A, K) float32."""
        assert self.scores is not None
        values = np.asarray(answers.outputs[answers.named(self.scores)], np.float32)
        values = values[..., np.newaxis] if values.ndim == 2 else self._columns_last(values, self.scores)
        return values.reshape(len(values), -1, values.shape[-1])


class SuppressNonMaxima(PostOperation, frozen=True, kw_only=True):
    """Keep the best box of each thing: drop those of its class that overlap it; best first, ties by their order."""

    takes: ClassVar[tuple[Kind, ...]] = ("boxes",)

    iou: _Share = 0.45  # boxes that share more than this of their union are one thing
    max_boxes: Annotated[int, Meta(ge=1)] = 100  # of an image, all classes together
    per_class: bool = True  # false: boxes of different classes drop each other, too

    def apply(self, answers: Answers) -> Answers:
        """Return the boxes that are left."""
        assert answers.results is not None  # the order of operations was checked
        return answers.with_results([self._suppressed(boxes) for boxes in answers.results])

    def _suppressed(self, found: Boxes) -> Boxes:
        left = np.arange(len(found.scores))
        kept: list[int] = []
        while len(left) and len(kept) < self.max_boxes:
            best, rest = left[0], left[1:]
            kept.append(int(best))
            same = overlap(found.boxes[best], found.boxes[rest]) > self.iou
            if self.per_class:
                same &= found.classes[rest] == found.classes[best]
            left = rest[~same]
        return found.take(np.array(kept, np.int64))


def overlap(box: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Return intersection over union of one box (4,) with each of others (M, 4), 0 to 1; 0 for boxes without area."""
    low, high = np.maximum(box[:2], others[:, :2]), np.minimum(box[2:], others[:, 2:])
    shared = np.prod(np.maximum(high - low, 0), axis=1)
    area = np.prod(np.maximum(box[2:] - box[:2], 0))
    areas = np.prod(np.maximum(others[:, 2:] - others[:, :2], 0), axis=1)
    union = area + areas - shared
    return np.asarray(np.divide(shared, union, out=np.zeros_like(union), where=union > 0))


def _whole(values: np.ndarray) -> np.ndarray:
    """Return class numbers as integers, -1 where there is none."""
    return np.where(np.isfinite(values), np.maximum(np.rint(values), -1), -1).astype(np.int64)
