"""Images in which a detector finds other boxes than before."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

import numpy as np

from edgeglm.report.types import Change, DrawnBox
from edgeglm.tasks.changes import Changes, label_of

if TYPE_CHECKING:
    from collections.abc import Sequence

_SAME_BOX = 0.5  # overlap from which on two boxes of one class are the same thing
_MOST_SAID = 4  # boxes that are named with their scores
_MOST_DRAWN = 24


def box_changes(
    before: np.ndarray, after: np.ndarray, targets: np.ndarray | None, labels: Sequence[str], *, score: float
) -> Changes:
    """Return how many boxes each image gained and lost; the surer they are, the more they count.

    Args:
        before: The original's detections, (N, M, 6) class, score, x1, y1, x2, y2, best first; rows of -1 after them.
        after: The artifact's, (N, other M, 6).
        targets: What is in the images, (N, M, 5) class and box, rows of -1; None: not known.
        labels: Names of the classes; empty: numbers.
        score: Boxes that score no more are shown to nobody, and left out.
    """
    pairs = list(zip(before, after, strict=True))
    found = [tuple(rows[rows[:, 1] > score] for rows in pair) for pair in pairs]  # -1: nothing
    lone = [(alone(old, new), alone(new, old)) for old, new in found]

    def drawn(row: int) -> list[DrawnBox]:
        gone, added = lone[row]
        kept = [one for one in found[row][1] if not any(np.array_equal(one, other) for other in added)]
        boxes = []
        for what, rows in (("gone", gone), ("new", added), ("same", kept)):
            for number, _, *ends in np.asarray(rows).reshape(-1, 6).tolist():
                x1, y1, x2, y2 = (round(end, 1) for end in ends)
                boxes.append(DrawnBox(what=what, label=label_of(int(number), labels), box=(x1, y1, x2, y2)))
        return boxes

    def tell(row: int) -> Change:
        gone, added = (_things(rows, labels, scores=True) for rows in lone[row])
        wanted = None if targets is None else targets[row][targets[row][:, 0] >= 0]
        old, new = (_things(rows, labels) for rows in found[row])
        said = [f"gone: {gone}" if gone else "", f"new: {added}" if added else ""]
        return Change(
            row=row,
            expected="" if wanted is None else _things(wanted, labels) or "nothing",
            before=old or "nothing",
            after=new or "nothing",
            note="; ".join(part for part in said if part),
            boxes=drawn(row)[:_MOST_DRAWN],
        )

    sizes = [float(sum(len(rows) + rows[:, 1].sum() for rows in pair)) for pair in lone]
    return Changes(np.array(sizes), tell, "images gained or lost a box")


def alone(rows: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Return those detections (M, 6), best first, that no other of their class overlaps by half; each serves once."""
    free = np.ones(len(others), bool)
    kept = []
    for row in rows:
        overlap = np.where(free & (others[:, 0] == row[0]), _overlaps(row[2:], others[:, 2:]), 0.0)
        if len(others) and overlap.max() >= _SAME_BOX:
            free[int(overlap.argmax())] = False
        else:
            kept.append(row)
    return np.array(kept, np.float32).reshape(-1, 6)


def _overlaps(box: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Return intersection over union of one box (4,) with others (M, 4), (M,)."""
    sides = np.minimum(box[2:], others[:, 2:]) - np.maximum(box[:2], others[:, :2])
    shared = np.clip(sides, 0, None).prod(axis=1)
    union = (box[2:] - box[:2]).prod() + (others[:, 2:] - others[:, :2]).prod(axis=1) - shared
    return np.asarray(np.where(union > 0, shared / np.where(union > 0, union, 1.0), 0.0))


def _things(rows: np.ndarray, labels: Sequence[str], *, scores: bool = False) -> str:
    """Return what boxes hold, class first in each row: "2 dog, 1 cat", or with scores "dog 62 %, dog 41 %"."""
    names = [label_of(int(row[0]), labels) for row in rows]
    if scores:
        shown = [f"{name} {100 * row[1]:.0f} %" for name, row in zip(names, rows, strict=True)]
        return ", ".join(shown[:_MOST_SAID]) + (
            f" and {len(shown) - _MOST_SAID} more" if len(shown) > _MOST_SAID else ""
        )
    return ", ".join(f"{count} {name}" for name, count in Counter(names).most_common())
