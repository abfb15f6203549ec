"""Which samples an artifact answers otherwise than the original did, the most telling first."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from edgeglm.report.types import Change

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from edgeglm.data.splits import Arrays

CLASSES_CHANGED = "answers changed"
_TENTH = 0.1  # of the error, or of what the answers vary by: a number that moved by less stands
_SHOWN_NUMBERS = 4  # of an answer that is several
_ROWS = 256  # in double precision at a time


@dataclass(frozen=True)
class Changes:
    """How much the answer to each sample changed, and what to say of one of them."""

    sizes: np.ndarray  # (N,), the more telling the larger; 0: the answer stands
    told: Callable[[int], Change]  # by the sample's number
    what: str  # happened to those above 0; follows "12 of 500"

    def largest(self) -> np.ndarray:
        """Return the numbers of the samples whose answer changed, the most telling first."""
        order = np.argsort(-self.sizes, kind="stable")
        return order[self.sizes[order] > 0]


def class_changes(before: np.ndarray, after: np.ndarray, targets: np.ndarray | None, labels: Sequence[str]) -> Changes:
    """Return every sample whose class changed: first right ones that turned wrong, the surest of them first.

    Args:
        before: (N, K) logits or probabilities of the original.
        after: The same of the artifact.
        targets: (N,) class numbers; None: not known.
        labels: Names of the classes; empty: numbers.
    """
    old, new = before.argmax(axis=1), after.argmax(axis=1)
    sure_before, sure_after = _confidence(before), _confidence(after)
    right = [None if targets is None else targets == classes for classes in (old, new)]

    def tell(row: int) -> Change:
        return Change(
            row=row,
            expected="" if targets is None else label_of(int(targets[row]), labels),
            before=label_of(int(old[row]), labels),
            after=label_of(int(new[row]), labels),
            sure_before=float(sure_before[row]),
            sure_after=float(sure_after[row]),
            right_before=None if right[0] is None else bool(right[0][row]),
            right_after=None if right[1] is None else bool(right[1][row]),
        )

    sizes = np.where(old != new, turned(*right, count=len(old)) + sure_after, 0.0)
    return Changes(sizes, tell, CLASSES_CHANGED)


def turned(right_before: np.ndarray | None, right_after: np.ndarray | None, *, count: int) -> np.ndarray:
    """Return (N,) 2 for what was right and is wrong, 0 for what is right now, 1 for all else and the unknown."""
    if right_before is None or right_after is None:
        return np.ones(count)
    return np.where(right_after, 0.0, np.where(right_before, 2.0, 1.0))


def value_changes(before: np.ndarray, after: np.ndarray, targets: np.ndarray | None) -> Changes:
    """Return the samples whose numbers moved by more than a tenth of the original's error, the furthest first.

    Without targets, or where the original makes no error, they are held against the standard deviation of its answers.

    Args:
        before: (N, ...) numbers of the original.
        after: The same of the artifact.
        targets: The same, as they should be; None: not known.
    """
    wanted = None if targets is None else targets.reshape(before.shape)
    error = 0.0 if wanted is None else float(np.sqrt(np.mean(_squares(before, wanted))))
    if not error:
        return output_changes(before, after)
    moved = np.sqrt(_squares(before, after)) / error
    assert wanted is not None
    grown = _squares(after, wanted) - _squares(before, wanted)

    def tell(row: int) -> Change:
        way = "away from" if grown[row] > 0 else "towards"
        return Change(
            row=row,
            expected=_numbers(wanted[row]),
            before=_numbers(before[row]),
            after=_numbers(after[row]),
            note=f"moved by {moved[row]:.3g} times the RMSE, {way} what it should be",
        )

    return Changes(np.where(moved > _TENTH, moved, 0.0), tell, "answers moved by more than a tenth of the RMSE")


def output_changes(before: np.ndarray, after: np.ndarray) -> Changes:
    """Return the samples whose numbers moved by more than a tenth of what they vary by, the furthest first.

    Args:
        before: (N, ...) numbers of the original.
        after: The same of the artifact.
    """
    mean = before.mean(axis=0, dtype=np.float64, keepdims=True)
    spread = float(np.sqrt(np.mean(_squares(before, np.broadcast_to(mean, before.shape)))))
    moved = np.sqrt(_squares(before, after)) / (spread or 1.0)

    def tell(row: int) -> Change:
        return Change(
            row=row,
            before=_numbers(before[row]),
            after=_numbers(after[row]),
            note=f"moved by {moved[row]:.3g} times what the answers vary by",
        )

    what = "answers moved by more than a tenth of what they vary by"
    return Changes(np.where(moved > _TENTH, moved, 0.0), tell, what)


def chosen_output(outputs: Arrays, name: str | None) -> np.ndarray:
    """Return the values of one output; of the first where there is none of that name."""
    return outputs[name if name in outputs else next(iter(outputs))]


def label_of(number: int, labels: Sequence[str]) -> str:
    """Return the name of a class, or its number where it has none."""
    return labels[number] if 0 <= number < len(labels) else str(number)


def _squares(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    """Return the mean squared difference of each sample, (N,); of what is not finite, the largest number there is."""
    found = []
    for start in range(0, len(one), _ROWS):
        a, b = (values[start : start + _ROWS].astype(np.float64) for values in (one, other))
        found.append(((a - b) ** 2).reshape(len(a), -1).mean(axis=1))
    return np.asarray(np.nan_to_num(np.concatenate(found), nan=np.finfo(np.float64).max))


def _confidence(values: np.ndarray) -> np.ndarray:
    """Return (N,) the largest probability; of values that are no probabilities, after a softmax."""
    rows = values.astype(np.float64)
    if not len(rows) or (rows.min() >= 0 and np.allclose(rows.sum(axis=1), 1, atol=1e-3)):
        return np.asarray(rows.max(axis=1, initial=0.0))
    odds = np.exp(rows - rows.max(axis=1, keepdims=True))
    return np.asarray(1.0 / odds.sum(axis=1))


def _numbers(values: np.ndarray) -> str:
    flat = values.reshape(-1)
    shown = ", ".join(f"{value:.4g}" for value in flat[:_SHOWN_NUMBERS])
    return f"{shown}, ..." if len(flat) > _SHOWN_NUMBERS else shown
