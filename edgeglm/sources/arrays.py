"""From what users call arrays to the arrays that a network takes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from edgeglm_agent.processing import ProcessingError

from edgeglm.errors import DataError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from edgeglm_agent.processing import Preprocess

    from edgeglm.data.splits import Arrays

_LENGTH_HINT = "pad or cut the samples to one length"
RESIZE_HINT = "add `- resize: {height: 64, width: 64}` to `preprocess`, in the size that the model takes"
INPUT = "input"  # name of an input that the data does not name; the model's own name counts


def as_array(value: Any, what: str, where: str) -> np.ndarray:
    """Return numbers as an array: an ndarray, a list of equal rows, a torch tensor, anything that NumPy takes.

    Args:
        value: What the user gave.
        what: What it is, for the error: ``inputs``, ``targets``.
        where: Of the data, for the error.

    Raises:
        DataError: It is no array of numbers.
    """
    if hasattr(value, "detach") and hasattr(value, "cpu"):  # a torch tensor, perhaps on a device
        value = value.detach().cpu()
        value = value.float() if str(value.dtype) == "torch.bfloat16" else value
    try:
        array = value.numpy() if hasattr(value, "numpy") else np.asarray(value)
    except (ValueError, TypeError, RuntimeError) as error:
        raise _no_numbers(what, str(error).splitlines()[0], where) from error
    if isinstance(array, np.ndarray) and _holds_text(array):
        raise DataError(
            f"{what} cannot be used as an array of numbers: they are text, such as {array.flat[0]!s:.40}",
            hint="map names to 0..n-1, in the order of the recipe's `labels`"
            if what.startswith(("targets", "a target"))
            else "begin `preprocess` with `- tokenize: {tokenizer: tokenizer.json, length: 64}`: networks take numbers",
            where=where,
            code="data-dtype",
        )
    if not isinstance(array, np.ndarray) or array.dtype.kind not in "biuf":
        kind = array.dtype if isinstance(array, np.ndarray) else type(array).__name__
        raise _no_numbers(what, f"of type {kind}", where)
    return array


def as_input(value: Any, what: str, where: str, preprocess: Preprocess) -> np.ndarray:
    """Return an input as an array: of numbers, or where ``preprocess`` takes texts also of these, as they are.

    Raises:
        DataError: It is neither.
    """
    if preprocess.takes_texts:
        if isinstance(value, str):
            return np.array(value, dtype=object)  # NumPy's own texts lose NULs, and pad all to one length
        if isinstance(value, np.ndarray | list | tuple) and len(value) and isinstance(value[0], str):
            return np.array(list(value), dtype=object)
    return as_array(value, what, where)


def preprocessed(inputs: Mapping[str, np.ndarray | Sequence[np.ndarray]], preprocess: Preprocess, where: str) -> Arrays:
    """Return inputs as the model takes them: float32, but int32 and int64 that no operation changed stay.

    Args:
        inputs: Name -> (N, ...) array, or N arrays whose sizes may differ until they are resized.
        preprocess: The recipe's operations.
        where: Of the data, for errors.

    Raises:
        DataError: An operation does not fit, or samples come out in different shapes.
    """
    for name, rows in inputs.items():
        if not preprocess.ops and not isinstance(rows, np.ndarray):
            shapes = {row.shape for row in rows}
            if len(shapes) > 1:
                raise _shapes_differ(name, sorted(shapes), where)
    try:
        ready: Arrays = preprocess.batch(dict(inputs))
    except ProcessingError as error:
        if "different shapes" in error.message:
            hint = _shape_hint({np.ndim(row) for rows in inputs.values() for row in rows})
            raise DataError(error.message, where=where, hint=hint, code="data-shape") from error
        raise DataError(
            error.message,
            where=f"{where}, {error.key}" if error.key else where,
            hint="mend `preprocess`, or the shape of the data",
            code="preprocess-failed",
        ) from error
    return ready


def _shapes_differ(name: str, shapes: list[tuple[int, ...]], where: str) -> DataError:
    shown = ", ".join(" x ".join(map(str, shape)) for shape in shapes[:4]) + (", ..." if len(shapes) > 4 else "")
    return DataError(
        f"samples of input `{name}` have {len(shapes)} different shapes: {shown}",
        where=where,
        hint=_shape_hint({len(shape) for shape in shapes}),
        code="data-shape",
    )


def _shape_hint(ranks: set[int]) -> str:
    """Return how to bring samples of these ranks to one shape: only what may be an image is resized."""
    return RESIZE_HINT if ranks <= {2, 3} and 3 in ranks else _LENGTH_HINT


def _holds_text(array: np.ndarray) -> bool:
    return array.dtype.kind in "US" or (array.dtype.kind == "O" and array.size > 0 and isinstance(array.flat[0], str))


def _no_numbers(what: str, reason: str, where: str) -> DataError:
    return DataError(
        f"{what} cannot be used as an array of numbers: {reason}",
        hint="return numpy arrays or tensors of numbers, all samples in one shape",
        where=where,
        code="data-dtype",
    )
