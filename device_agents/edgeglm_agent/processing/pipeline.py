"""Operations in a row: what they have in common, and what happens before a model."""

from __future__ import annotations

import difflib
import re
from collections.abc import Mapping, Sequence
from typing import Any, Generic, Protocol, TypeAlias, TypeVar

import msgspec
import numpy as np

from edgeglm_agent.processing._base import Frame, Placement, PostOperation, PreOperation, ProcessingError
from edgeglm_agent.processing.arrays import Crop, Grey, Layout, Normalise
from edgeglm_agent.processing.boxes import DecodeBoxes, SuppressNonMaxima
from edgeglm_agent.processing.class_map import ArgmaxMap
from edgeglm_agent.processing.dequantize import Dequantize
from edgeglm_agent.processing.ranking import Argmax, Labels, Softmax, TopK
from edgeglm_agent.processing.reconstruction import ReconstructionError
from edgeglm_agent.processing.resize import Resize
from edgeglm_agent.processing.threshold import Threshold
from edgeglm_agent.wire import ProcessOp

PRE_OPERATIONS: dict[str, type[PreOperation]] = {
    "resize": Resize,
    "crop": Crop,
    "grey": Grey,
    "normalise": Normalise,
    "layout": Layout,
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

Sample: TypeAlias = "np.ndarray | Mapping[str, np.ndarray]"  # of a model with one input, or with several by name

_INTEGERS = (np.dtype(np.int32), np.dtype(np.int64))  # tokens: they stay as they are
_Op = TypeVar("_Op")


class OpLike(Protocol):
    """``wire.ProcessOp``, or whatever else names an operation and its settings."""

    @property
    def op(self) -> str:
        """The operation's name."""
        ...

    @property
    def settings(self) -> Mapping[str, Any]:
        """Its settings as written."""
        ...


class Preprocess:
    """What is done to samples before they enter a model."""

    def __init__(self, ops: Sequence[OpLike] = ()) -> None:
        """Check names and settings. Raises: ProcessingError, with the key of the fault."""
        self._steps = Steps("preprocess", ops, PRE_OPERATIONS)

    @classmethod
    def of(cls, ops: Sequence[OpLike | str | Mapping[str, Any]]) -> Preprocess:
        """Return the operations as a recipe writes them: ``["grey", {"resize": {"height": 32, "width": 32}}]``."""
        return cls(written(ops, "preprocess"))

    @property
    def ops(self) -> tuple[PreOperation, ...]:
        """The operations, checked, in their order."""
        return tuple(op for _, op in self._steps.ops)

    def wire(self) -> tuple[ProcessOp, ...]:
        """Return the operations as the manifest carries them, every default spelt out."""
        return self._steps.wire()

    def one(self, sample: Sample) -> Any:
        """Return one sample ready for the model, without a batch axis, contiguous.

        Args:
            sample: An array without a batch axis, or arrays by input name; any numeric type.

        Returns:
            An array, or arrays by the same names: float32; int32 and int64 that no operation changed stay.

        Raises:
            ProcessingError: An operation does not fit the sample; its key is named.
        """
        if isinstance(sample, Mapping):
            self._check_names(sample)
            return {name: self._one(np.asarray(values), name, sample) for name, values in sample.items()}
        return self._one(np.asarray(sample), None, None)

    def batch(self, samples: np.ndarray | Mapping[str, Any] | Sequence[Any]) -> Any:
        """Return many samples ready for the model; each is, bit for bit, what ``one`` returns.

        Args:
            samples: An array with a batch axis first, a sequence of arrays without one (their sizes may differ),
                or either by input name.

        Returns:
            An array (N, ...), or arrays by name.

        Raises:
            ProcessingError: An operation does not fit, or the samples come out in different shapes.
        """
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
        ops = [(key, op) for key, op in self._steps.ops if _concerns(op, name, inputs)]
        turned = next((op.to == "HWC" for _, op in ops if isinstance(op, Layout)), False)
        size = (shape[1], shape[2]) if turned and len(shape) == 3 else (shape[0], shape[1])
        placement = Placement(size)
        for key, op in ops:
            if isinstance(op, Resize | Crop):
                with named_by(key):
                    placement = placement.then(op.placement(*placement.size))
        return Frame(size, placement)

    def _check_names(self, inputs: Mapping[str, Any]) -> None:
        for key, op in self._steps.ops:
            if op.input is not None and op.input not in inputs:
                raise ProcessingError(
                    f"the data has no input `{op.input}`; it has {', '.join(inputs)}", key=f"{key}.input"
                )

    def _one(self, values: np.ndarray, name: str | None, inputs: Mapping[str, np.ndarray] | None) -> np.ndarray:
        for key, op in self._steps.ops:
            if _concerns(op, name, inputs):
                with named_by(key):
                    values = op.apply(values)
        return _ready(values)

    def _batch(self, values: Any, name: str | None, inputs: Mapping[str, np.ndarray] | None) -> np.ndarray:
        if not len(values):
            raise ProcessingError("no samples", key="preprocess")
        ops = [(key, op) for key, op in self._steps.ops if _concerns(op, name, inputs)]
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


class Steps(Generic[_Op]):
    """Operations with their keys, made from names and settings."""

    def __init__(self, place: str, ops: Sequence[OpLike], known: Mapping[str, type[_Op]]) -> None:
        self._place = place
        self._names = [op.op for op in ops]
        self.ops = [self._made(index, op, known) for index, op in enumerate(ops)]

    def wire(self) -> tuple[ProcessOp, ...]:
        """Return the operations as the manifest carries them, every default spelt out."""
        return tuple(
            ProcessOp(name, {key: value for key, value in msgspec.to_builtins(op).items() if value is not None})
            for name, (_, op) in zip(self._names, self.ops, strict=True)
        )

    def _made(self, index: int, op: OpLike, known: Mapping[str, type[_Op]]) -> tuple[str, _Op]:
        key = f"{self._place}[{index}]"
        if op.op not in known:
            if op.op in OPERATIONS:
                other = "postprocess" if op.op in POST_OPERATIONS else "preprocess"
                raise ProcessingError(f"`{op.op}` is an operation of `{other}`", key=key)
            near = difflib.get_close_matches(op.op, known, 1)
            hint = f"did you mean `{near[0]}`?" if near else f"there are {', '.join(known)}"
            raise ProcessingError(f"unknown operation `{op.op}`; {hint}", key=key)
        key = f"{key}.{op.op}"
        try:
            return key, msgspec.convert(dict(op.settings), known[op.op])
        except msgspec.ValidationError as error:
            message, _, path = str(error).partition(" - at `$")
            unknown = re.search(r"unknown field `(.+)`", message)
            if unknown:
                fields = [field.encode_name for field in msgspec.structs.fields(known[op.op])]  # type: ignore[arg-type]
                near = difflib.get_close_matches(unknown[1], fields, 1)
                hint = f"did you mean `{near[0]}`?" if near else f"there are {', '.join(fields)}"
                message = f"unknown key `{unknown[1]}`; {hint}"
            raise ProcessingError(message, key=key + path.rstrip("`")) from error


class named_by:  # noqa: N801 - reads as a statement
    """Add an operation's key to what it raises."""

    def __init__(self, key: str) -> None:
        self._key = key

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if isinstance(error, ProcessingError) and not error.key:
            raise ProcessingError(error.message, key=self._key) from error


def written(ops: Sequence[OpLike | str | Mapping[str, Any]], place: str) -> list[OpLike]:
    """Return operations written as names, or as a mapping from one name to its settings."""
    made: list[OpLike] = []
    for index, op in enumerate(ops):
        if isinstance(op, str):
            made.append(ProcessOp(op))
        elif not isinstance(op, Mapping):
            made.append(op)
        elif len(op) == 1 and isinstance(settings := next(iter(op.values())), Mapping | None):
            made.append(ProcessOp(str(next(iter(op))), dict(settings or {})))
        else:
            raise ProcessingError("write an operation as `name` or `name: {key: value}`", key=f"{place}[{index}]")
    return made


def _concerns(op: PreOperation, name: str | None, inputs: Mapping[str, np.ndarray] | None) -> bool:
    """Return whether an operation is for this input: the one it names, else every image, else the only one."""
    if name is None or inputs is None:
        return True
    if op.input is not None:
        return op.input == name
    return len(inputs) == 1 or np.ndim(inputs[name]) >= 3


def _ready(values: np.ndarray) -> np.ndarray:
    kind = values.dtype if values.dtype in _INTEGERS else np.dtype(np.float32)
    return np.asarray(values, dtype=kind, order="C")  # unlike ascontiguousarray, this leaves a scalar a scalar
