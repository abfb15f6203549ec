"""Charts of values with their intervals: on a common axis, and before against after."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from edgeglm.report.charts import ROW, WIDTH, axis_marks, frame, row_texts, shorten, text_length
from edgeglm.report.figures import within
from edgeglm.report.markup import Markup, element

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

_LABEL_ROOM = 140.0  # for the names of classes beside their line
_MOST_AWAY = 3.0  # how many widths of the others a step may lie away and still be on the axis
_EDGE = 6  # keeps dots and line ends inside the frame


@dataclass(frozen=True)
class Dot:
    """One row of an interval chart."""

    label: str
    kind: str
    value: float | None
    interval: tuple[float, float] | None
    text: str


@dataclass(frozen=True)
class Pair:
    """One row of a dumbbell chart: before and after."""

    label: str
    before: float
    after: float
    counted: bool  # False: too few samples, drawn grey
    text: str
    interval: tuple[float, float] | None = None  # where ``after`` may lie, given the same samples


def interval_chart(
    key: str,
    title: str,
    description: str,
    dots: Sequence[Dot],
    *,
    label: Callable[[float], str],
    reference: float | None = None,
    bounds: tuple[float | None, float | None] = (None, None),
) -> Markup:
    """Return values with their intervals on a common axis that need not start at zero.

    Args:
        key: Unique in the page; makes the ids.
        title: What is shown, in what unit.
        description: What a reader who sees nothing should know.
        dots: Rows from top to bottom; the first with a value draws the line of reference. A step that lies far
            from all that is not a step (pruned, not yet trained) becomes an arrow at the edge.
        label: Writes a number of the axis.
        reference: Where a line is drawn, inside the axis; None: at the first value.
        bounds: The least and the greatest value there can be: the axis ends there.
    """
    known = [dot for dot in dots if dot.value is not None and math.isfinite(dot.value)]
    low, high = _range(known)
    if reference is not None:
        low, high = _padded(min(low, reference), max(high, reference))
    low, high = within(low, high, bounds, [dot.value or 0.0 for dot in known])
    bottom = len(dots) * ROW

    def x(value: float) -> float:
        return _EDGE + (value - low) / (high - low) * (WIDTH - 2 * _EDGE)

    rows = axis_marks(low, high, x, 2, bottom, label)
    if known:
        line = known[0].value or 0.0 if reference is None else reference
        rows.append(element("path", class_="reference", d=f"M{x(line):.1f} 2V{bottom}"))
    for number, dot in enumerate(dots):
        y = number * ROW
        rows += row_texts(dot.label, dot.text, y, missing=dot.value is None)
        if dot.value is None or not math.isfinite(dot.value):
            continue
        if not low <= dot.value <= high:
            edge, back = (0, 8) if dot.value < low else (WIDTH, -8)
            rows.append(element("path", class_=f"beyond {dot.kind}", d=f"M{edge} {y + 26}l{back} -5v10z"))
            continue
        if dot.interval is not None:
            left, right = x(max(low, dot.interval[0])), x(min(high, dot.interval[1]))
            rows.append(
                element(
                    "path",
                    class_=f"range {dot.kind}",
                    d=f"M{left:.1f} {y + 26}H{right:.1f}M{left:.1f} {y + 22}v8M{right:.1f} {y + 22}v8",
                )
            )
        rows.append(element("circle", class_=f"dot {dot.kind}", cx=x(dot.value), cy=y + 26, r=4.5))
    return frame(key, title, description, bottom + 18, rows)


def dumbbell_chart(
    key: str, title: str, description: str, pairs: Sequence[Pair], *, low: float, label: Callable[[float], str]
) -> Markup:
    """Return one line a class: a ring where it was, a dot where it is.

    Args:
        key: Unique in the page; makes the ids.
        title: What is shown, in what unit.
        description: What a reader who sees nothing should know.
        pairs: Rows from top to bottom; values up to 1.
        low: Where the axis starts, below 1; the same on charts that are to be compared.
        label: Writes a number of the axis.
    """
    height, right = 22, WIDTH - 64
    left = min(_LABEL_ROOM, max([text_length(pair.label) for pair in pairs], default=0.0)) + 14
    bottom = len(pairs) * height

    def x(value: float) -> float:
        return left + (min(1.0, max(low, value)) - low) / (1.0 - low) * (right - left)

    rows = axis_marks(low, 1.0, x, 2, bottom, label, count=3)
    for number, pair in enumerate(pairs):
        y = number * height + 11
        kind = _change_class(pair)
        name = element("title", f"{pair.label}: {pair.text}")
        shown = shorten(pair.label, _LABEL_ROOM)
        rows.append(element("text", name, shown, class_=f"label {kind}", x=0, y=y + 4))
        if pair.interval is not None:
            ends = f"M{x(pair.interval[0]):.1f} {y}H{x(pair.interval[1]):.1f}"
            rows.append(element("path", class_="reach", d=ends))
        rows.append(element("path", class_=f"span {kind}", d=f"M{x(pair.before):.1f} {y}H{x(pair.after):.1f}"))
        rows.append(element("circle", class_=f"ring {kind}", cx=x(pair.before), cy=y, r=4.5))
        rows.append(element("circle", class_=f"dot {kind}", cx=x(pair.after), cy=y, r=3.5))
        rows.append(element("text", pair.text, class_=f"figure {kind}", x=WIDTH, y=y + 4, text_anchor="end"))
    return frame(key, title, description, bottom + 18, rows)


def _change_class(pair: Pair) -> str:
    if not pair.counted:
        return "few"
    if pair.after == pair.before:
        return "same"
    if pair.after < pair.before and pair.interval is not None and pair.interval[1] >= pair.before:
        return "unsure"
    return "lost" if pair.after < pair.before else "kept"


def _range(dots: Sequence[Dot]) -> tuple[float, float]:
    """Return the ends of the axis: everything, but for steps far away from baseline and artifacts."""

    def ends(dot: Dot) -> tuple[float, ...]:
        return (dot.value or 0.0, *(dot.interval or ()))

    near = [end for dot in dots if dot.kind not in ("step", "few") for end in ends(dot)]
    if near:
        room = _MOST_AWAY * (max(near) - min(near))
        low, high = min(near) - room, max(near) + room
        near += [
            end
            for dot in dots
            if dot.kind != "few" and dot.value is not None and low <= dot.value <= high
            for end in ends(dot)
        ]
    else:
        near = [end for dot in dots for end in ends(dot)]
    return _padded(min(near, default=0.0), max(near, default=1.0))


def _padded(low: float, high: float) -> tuple[float, float]:
    """Widen a range by a little, so that no mark lies on the frame; a single point becomes a range."""
    margin = (high - low) * 0.04 or abs(high) * 0.05 or 0.5
    return low - margin, high + margin
