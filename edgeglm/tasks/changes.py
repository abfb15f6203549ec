"""Which samples an artifact answers otherwise than the original did, the most telling first."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from edgeglm.report.types import Change

if TYPE_CHECKING:
    from collections.abc import Sequence

_SHOWN_NUMBERS = 4  # of an answer that is several


def class_changes(
    before: np.ndarray, after: np.ndarray, targets: np.ndarray | None, labels: Sequence[str]
) -> list[Change]:
    """Return every sample whose class changed: first right ones that turned wrong, the surest of them first.

    Args:
        before: (N, K) logits or probabilities of the original.
        after: The same of the artifact.
        targets: (N,) class numbers; None: not known.
        labels: Names of the classes; empty: numbers.
    """
    old, new = before.argmax(axis=1), after.argmax(axis=1)
    rows = np.flatnonzero(old != new)
    sure_before, sure_after = _confidence(before[rows]), _confidence(after[rows])

    def name(number: int) -> str:
        return labels[number] if number < len(labels) else str(number)

    found = []
    for place, row in enumerate(rows):
        target = None if targets is None else int(targets[row])
        change = Change(
            row=int(row),
            expected="" if target is None else name(target),
            before=name(int(old[row])),
            after=name(int(new[row])),
            sure_before=float(sure_before[place]),
            sure_after=float(sure_after[place]),
            right_before=None if target is None else target == int(old[row]),
            right_after=None if target is None else target == int(new[row]),
        )
        found.append(change)
    return sorted(found, key=lambda change: (_rank(change), -(change.sure_after or 0.0), change.row))


def value_changes(before: np.ndarray, after: np.ndarray, targets: np.ndarray | None) -> list[Change]:
    """Return the samples whose error grew, that which grew most first; without targets, those that moved most.

    Args:
        before: (N, ...) numbers of the original.
        after: The same of the artifact.
        targets: The same, as they should be; None: not known.
    """
    old, new = (values.reshape(len(values), -1).astype(np.float64) for values in (before, after))
    wanted = old if targets is None else targets.reshape(len(new), -1).astype(np.float64)
    grown = np.sqrt(((new - wanted) ** 2).mean(axis=1)) - np.sqrt(((old - wanted) ** 2).mean(axis=1))  # (N,)
    rows = [row for row in np.argsort(-grown, kind="stable") if grown[row] > 0]
    return [
        Change(
            row=int(row),
            expected="" if targets is None else _numbers(wanted[row]),
            before=_numbers(old[row]),
            after=_numbers(new[row]),
        )
        for row in rows
    ]


def _rank(change: Change) -> int:
    if change.right_before and not change.right_after:
        return 0
    return 2 if change.right_after else 1


def _confidence(values: np.ndarray) -> np.ndarray:
    """Return (N,) the largest probability; of values that are no probabilities, after a softmax."""
    rows = values.astype(np.float64)
    if not len(rows) or (rows.min() >= 0 and np.allclose(rows.sum(axis=1), 1, atol=1e-3)):
        return np.asarray(rows.max(axis=1, initial=0.0))
    odds = np.exp(rows - rows.max(axis=1, keepdims=True))
    return np.asarray(1.0 / odds.sum(axis=1))


def _numbers(values: np.ndarray) -> str:
    shown = ", ".join(f"{value:.4g}" for value in values[:_SHOWN_NUMBERS])
    return f"{shown}, ..." if len(values) > _SHOWN_NUMBERS else shown
