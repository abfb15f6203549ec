"""The operations there are, and those before a model in a row."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from edgeglm_agent.processing._base import Frame, Placement, PostOperation, PreOperation, ProcessingError
from edgeglm_agent.processing.arrays import Crop, Grey, Layout, Normalise
from edgeglm_agent.processing.boxes import DecodeBoxes, SuppressNonMaxima
from edgeglm_agent.processing.class_map import ArgmaxMap
from edgeglm_agent.processing.dequantize import Dequantize
from edgeglm_agent.processing.ranking import Argmax, Labels, Softmax, TopK
from edgeglm_agent.processing.reconstruction import ReconstructionError
from edgeglm_agent.processing.resize import Resize
from edgeglm_agent.processing.series import Window
from edgeglm_agent.processing.steps import OpLike, Steps, named_by, written
from edgeglm_agent.processing.threshold import Threshold
from edgeglm_agent.processing.tokenize import Tokenize

if TYPE_CHECKING:
    from pathlib import Path

    from edgeglm_agent.wire import ProcessOp

PRE_OPERATIONS: dict[str, type[PreOperation]] = {
    "resize": Resize,
    "crop": Crop,
    "grey": Grey,
    "normalise": Normalise,
    "layout": Layout,
    "window": Window,
    "tokenize": Tokenize,
}
POST_OPERATIONS: dict[str, type[PostOperation]] = {
    "dequantize": Dequantize,
    "softmax": Softmax,
    "reconstruction-error": ReconstructionError,
    "argmax-map": ArgmaxMap,
    "argmax": Argmax,
    "top-k": TopK,
    "boxes": DecodeBoxes,
    "nms": SuppressNonMaxima,
    "threshold": Threshold,
    "labels": Labels,
}
OPERATIONS: dict[str, type[PreOperation] | type[PostOperation]] = {**PRE_OPERATIONS, **POST_OPERATIONS}

Sample: TypeAlias = "np.ndarray | str | Mapping[str, Any]"  # of a model with one input, or with several by name

_FLOAT32 = np.dtype(np.float32)
_INTEGERS = (np.dtype(np.int32), np.dtype(np.int64))  # tokens: they stay as they are
_AS_THEY_ARE = frozenset(map(id, (_FLOAT32, *_INTEGERS)))  # types there is one of: quicker than to compare them


class Preprocess:
    """What is done to samples before they enter a model."""

    def __init__(self, ops: Sequence[OpLike] = (), *, folder: Path | None = None) -> None:
        """Check names and settings, and keep what paths in them are relative to: the recipe's or manifest's folder.

        Raises:
            ProcessingError: With the key of the fault. Files that operations name are first read when they are used.
        """
        self._steps = Steps("preprocess", ops, PRE_OPERATIONS, POST_OPERATIONS)
        self._folder = folder
        for place, (key, op) in enumerate(self._steps.ops):
            if isinstance(op, Tokenize) and place:
                raise ProcessingError("stands first: it takes texts, and no other operation gives any", key=key)
        first = self._steps.ops[0] if self._steps.ops else None
        self._texts = (first[0], first[1]) if first and isinstance(first[1], Tokenize) else None
        self._arrays = self._steps.ops[1:] if self._texts else self._steps.ops

    @classmethod
    def of(cls, ops: Sequence[OpLike | str | Mapping[str, Any]], *, folder: Path | None = None) -> Preprocess:
        """Return the operations as a recipe writes them: ``["grey", {"resize": {"height": 32, "width": 32}}]``."""
        return cls(written(ops, "preprocess"), folder=folder)

    @property
    def ops(self) -> tuple[PreOperation, ...]:
        """The operations, checked, in their order."""
        return tuple(op for _, op in self._steps.ops)

    @property
    def takes_texts(self) -> bool:
        """Whether an input is texts, which ``tokenize`` makes numbers of."""
        return self._texts is not None

    def wire(self) -> tuple[ProcessOp, ...]:
        """Return the operations as the manifest carries them, every default spelt out."""
        return self._steps.wire()

    def one(self, sample: Sample) -> Any:
        """Return one sample ready for the model, without a batch axis, contiguous.

        Args:
            sample: An array without a batch axis (any numeric type), a text, or these by input name.

        Returns:
            An array, or arrays by name: float32; int32 and int64 that no operation changed stay. Of a text there are
            always names, those that ``tokenize`` gives.

        Raises:
            ProcessingError: An operation does not fit the sample; its key is named.
        """
        if not self._steps.ops:  # the short way, which after a large model has run is several times as short
            if isinstance(sample, np.ndarray):
                return _ready(sample)
            if isinstance(sample, dict):
                return {name: _ready(np.asarray(values)) for name, values in sample.items()}
        if self._texts is not None:
            texts = {name: [value] for name, value in sample.items()} if isinstance(sample, Mapping) else [sample]
            sample = {name: values[0] for name, values in self._tokenized(texts).items()}
        if isinstance(sample, Mapping):
            self._check_names(sample)
            return {name: self._one(np.asarray(values), name, sample) for name, values in sample.items()}
        return self._one(np.asarray(sample), None, None)

    def batch(self, samples: np.ndarray | Mapping[str, Any] | Sequence[Any]) -> Any:
        """Return many samples ready for the model; each is, bit for bit, what ``one`` returns.

        Args:
            samples: An array with a batch axis first, a sequence of arrays without one (their sizes may differ) or
                of texts, or either by input name.

        Returns:
            An array (N, ...), or arrays by name.

        Raises:
            ProcessingError: An operation does not fit, or the samples come out in different shapes.
        """
        if self._texts is not None:
            samples = self._tokenized(samples)
        if isinstance(samples, Mapping):
            self._check_names(samples)
            first = {name: np.asarray(values[0]) for name, values in samples.items() if len(values)}
            return {name: self._batch(values, name, first) for name, values in samples.items()}
        return self._batch(samples, None, None)

    def frame(self, sample: Sample) -> Frame:
        """Return where the image of a sample lies in what ``one`` makes of it, for boxes to find their way back.

        Of several inputs, the first that looks like an image is meant.

        Raises:
            ProcessingError: There is no image, or an operation does not fit it.
        """
        inputs = sample if isinstance(sample, Mapping) else None
        named = list(sample.items()) if isinstance(sample, Mapping) else [(None, sample)]
        images = [(name, np.shape(values)) for name, values in named if np.ndim(values) in (2, 3)]
        if not images:
            raise ProcessingError("no input is an image, in which boxes could lie", key="preprocess")
        name, shape = images[0]
        ops = [(key, op) for key, op in self._arrays if _concerns(op, name, inputs)]
        turned = next((op.to == "HWC" for _, op in ops if isinstance(op, Layout)), False)
        size = (shape[1], shape[2]) if turned and len(shape) == 3 else (shape[0], shape[1])
        placement = Placement(size)
        for key, op in ops:
            if isinstance(op, Resize | Crop):
                with named_by(key):
                    placement = placement.then(op.placement(*placement.size))
        return Frame(size, placement)

    def _tokenized(self, samples: np.ndarray | Mapping[str, Any] | Sequence[Any]) -> dict[str, Any]:
        """Return samples by input name, token numbers in the place of the texts."""
        assert self._texts is not None  # asked before
        key, op = self._texts
        named_samples = dict(samples) if isinstance(samples, Mapping) else {"text": samples}
        name = op.input or next(iter(named_samples))
        if name not in named_samples:
            raise ProcessingError(
                f"the data has no input `{name}`; it has {', '.join(named_samples)}", key=f"{key}.input"
            )
        if op.input is None and len(named_samples) > 1:
            raise ProcessingError(
                f"which of {', '.join(named_samples)} is the text? name it by `input`", key=f"{key}.input"
            )
        result: dict[str, Any] = {}
        for given, values in named_samples.items():
            if given != name:
                result[given] = values
                continue
            if not len(values):
                raise ProcessingError("no samples", key="preprocess")
            with named_by(key):
                result.update(op.tokens(values, self._folder))
        return result

    def _check_names(self, inputs: Mapping[str, Any]) -> None:
        for key, op in self._arrays:
            if op.input is not None and op.input not in inputs:
                raise ProcessingError(
                    f"the data has no input `{op.input}`; it has {', '.join(inputs)}", key=f"{key}.input"
                )

    def _one(self, values: np.ndarray, name: str | None, inputs: Mapping[str, Any] | None) -> np.ndarray:
        for key, op in self._arrays:
            if _concerns(op, name, inputs):
                with named_by(key):
                    values = op.apply(values)
        return _ready(values)

    def _batch(self, values: Any, name: str | None, inputs: Mapping[str, Any] | None) -> np.ndarray:
        if not len(values):
            raise ProcessingError("no samples", key="preprocess")
        ops = [(key, op) for key, op in self._arrays if _concerns(op, name, inputs)]
        while ops and ops[0][1].vectorised and isinstance(values, np.ndarray):
            key, op = ops.pop(0)
            with named_by(key):
                values = op.apply_batch(values)
        if not ops and isinstance(values, np.ndarray):
            return _ready(values)
        rows: list[np.ndarray] = []
        for sample in values:
            row = np.asarray(sample)
            for key, op in ops:
                with named_by(key):
                    row = op.apply(row)
            if rows and row.shape != rows[0].shape:
                raise ProcessingError(
                    f"samples come out in different shapes, {rows[0].shape} and {row.shape}: resize them to one",
                    key="preprocess",
                )
            rows.append(_ready(row))
        return np.stack(rows)


def _concerns(op: PreOperation, name: str | None, inputs: Mapping[str, Any] | None) -> bool:
    """Return whether an operation is for this input: the one it names, else every image, else the only one."""
    if name is None or inputs is None:
        return True
    if op.input is not None:
        return op.input == name
    return len(inputs) == 1 or np.ndim(inputs[name]) >= 3


def _ready(values: np.ndarray) -> np.ndarray:
    if id(values.dtype) in _AS_THEY_ARE and values.flags.c_contiguous:
        return values
    kind = values.dtype if values.dtype in _INTEGERS else _FLOAT32
    return np.asarray(values, dtype=kind, order="C")  # unlike ascontiguousarray, this leaves a scalar a scalar
