"""What postprocessing found, as what JSON can say: the one form in which answers leave the worker."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np

from edgeglm_agent.processing import Decision, Detection, Prediction

if TYPE_CHECKING:
    from edgeglm_agent.processing import Result

__all__ = ["NonFiniteError", "encode_answer", "plain_result", "surest"]


class NonFiniteError(ValueError):
    """An answer holds NaN or infinity, which is none: counted as ``non-finite``."""


def plain_result(result: Result) -> tuple[Any, float | None, int]:
    """Return an answer as builtins, with the score and the number of what the model is surest of.

    Args:
        result: What ``Postprocess`` makes of one sample.

    Returns:
        ``(answer, score, index)``. The answer of predictions is ``[{"index", "label", "score"}]``, of detections
        ``[{"box", "index", "label", "score"}]``, best first, ``label`` where there is one; of a decision
        ``{"exceeded", "score", "limit"}``; of outputs ``{name: array}``: arrays stay numpy arrays, which cost nothing
        until ``encode_answer`` writes them as lists. Score and index are those of the first prediction or detection,
        or of the decision (index 1: exceeded; its score need be no probability); None and 0 where there is none.

    Raises:
        NonFiniteError: It holds NaN or infinity.

    Scores have seven significant digits, which is what float32 is good for, and half the bytes.
    """
    if isinstance(result, list):
        if not result:
            return [], None, 0
        answer = [_detection(one) if isinstance(one, Detection) else _prediction(one) for one in result]
        return answer, answer[0]["score"], result[0].index
    if isinstance(result, Decision):
        score = _number(result.score)
        return {"exceeded": result.exceeded, "score": score, "limit": result.limit}, score, int(result.exceeded)
    for name, values in result.items():
        if values.dtype.kind == "f" and not np.isfinite(values).all():
            raise NonFiniteError(f"output `{name}` holds NaN or infinity")
    return result, None, 0


def surest(result: Result) -> tuple[float | None, int]:
    """Return the last two of ``plain_result``, for an answer that nobody is to read. Raises: NonFiniteError."""
    if isinstance(result, list) and result and isinstance(result[0], Prediction):
        for one in result:
            if not math.isfinite(one.score):
                raise NonFiniteError("a score is NaN or infinite")
        return result[0].score, result[0].index
    return plain_result(result)[1:]


def encode_answer(answer: Any) -> bytes:
    """Return an answer, or a document that holds one, as JSON; arrays become lists of lists."""
    return _encoder.encode(answer)


def _prediction(one: Any) -> dict[str, Any]:
    if one.label:
        return {"index": one.index, "label": one.label, "score": _number(one.score)}
    return {"index": one.index, "score": _number(one.score)}


def _detection(one: Detection) -> dict[str, Any]:
    box = [round(edge, 2) for edge in one.box]  # pixels
    if not math.isfinite(sum(box)):
        raise NonFiniteError("a box holds NaN or infinity")
    return {"box": box, **_prediction(one)}


def _number(score: float) -> float:
    if not math.isfinite(score):
        raise NonFiniteError("a score is NaN or infinite")
    return float(f"{score:.7g}")


def _listed(value: Any) -> Any:
    """Return as builtins what JSON has no word for."""
    if isinstance(value, np.ndarray | np.generic):
        return value.tolist()
    raise NotImplementedError(f"an answer holds a {type(value).__name__}")


_encoder = msgspec.json.Encoder(enc_hook=_listed)
