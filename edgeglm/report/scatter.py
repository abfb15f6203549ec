"""A plot of candidates: cost to the right, quality upwards; every mark is a link to its row, reached by keyboard too.

Shapes tell formats apart and numbers the candidates, so that no meaning hangs on colour; a table holds the figures.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from edgeglm.report.charts import WIDTH, distinct, text_length, ticks
from edgeglm.report.markup import Markup, element

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

_HEIGHT = 236
_LEFT, _RIGHT, _TOP, _BOTTOM = 8.0, WIDTH - 10.0, 26.0, 196.0
_LOG_FROM = 6.0  # largest cost / smallest, from which on the axis is logarithmic
_CHARACTER = 11.0  # units a tag is high


@dataclass(frozen=True)
class Point:
    """One candidate."""

    tag: str  # its number in the table; "" for the baseline
    name: str
    kind: str  # class of the mark: baseline | chosen | front | dominated
    shape: str  # circle | square | triangle | diamond
    cost: float  # above 0
    quality: float
    interval: tuple[float, float] | None
    text: str  # what is read out, and shown when it is pointed at
    href: str  # "#file-1": its row


@dataclass(frozen=True)
class Axis:
    """One axis: its name, and how a number of it is written."""

    name: str
    label: Callable[[float], str]


def scatter_chart(
    key: str,
    title: str,
    description: str,
    points: Sequence[Point],
    *,
    cost: Axis,
    quality: Axis,
    limits: tuple[float | None, float | None] = (None, None),
    higher_is_better: bool = True,
) -> Markup:
    """Return the plot; the line joins those that none beats in both, dashed lines are limits of the budget.

    Args:
        key: Unique in the page; makes the ids.
        title: What is shown, in what unit.
        description: What a reader who sees nothing should know.
        points: The baseline and every candidate.
        cost: What lies to the right: less is better.
        quality: What lies upwards.
        limits: Of cost and of quality; a limit outside the plot is not drawn.
        higher_is_better: Of quality; else the axis is turned over, so that better is up.
    """
    costs = [point.cost for point in points]
    low, high = min(costs), max(costs)
    logarithmic = high / low > _LOG_FROM
    bottom, top = _quality_range(points)
    ends = (low / 1.35, high * 1.35) if logarithmic else (0.0, high * 1.1)

    def x(value: float) -> float:
        share = (
            math.log(value / ends[0]) / math.log(ends[1] / ends[0])
            if logarithmic
            else (value - ends[0]) / (ends[1] - ends[0])
        )
        return _LEFT + 14 + share * (_RIGHT - _LEFT - 14)

    def y(value: float) -> float:
        share = (value - bottom) / (top - bottom)
        return _BOTTOM - (share if higher_is_better else 1 - share) * (_BOTTOM - _TOP)

    rows = _grid(x, y, (bottom, top), ends, cost, quality, logarithmic=logarithmic)
    if limits[0] is not None and ends[0] < limits[0] < ends[1]:
        rows.append(element("path", class_="limit", d=f"M{x(limits[0]):.1f} {_TOP}V{_BOTTOM}"))
    if limits[1] is not None and bottom < limits[1] < top:
        rows.append(element("path", class_="limit", d=f"M{_LEFT} {y(limits[1]):.1f}H{_RIGHT}"))
    front = _front(points, higher_is_better=higher_is_better)
    if len(front) > 1:
        line = "L".join(f"{x(point.cost):.1f} {y(point.quality):.1f}" for point in front)
        rows.append(element("path", class_="front", d=f"M{line}"))
    placed: list[tuple[float, float]] = [(x(point.cost), y(point.quality)) for point in points]
    tags: list[tuple[float, float, float]] = []
    for point in sorted(points, key=lambda point: ("dominated", "baseline", "front", "chosen").index(point.kind)):
        rows.append(_mark(point, x(point.cost), y, placed, tags))
    return element(
        "svg",
        element("title", title, id=f"{key}-title"),
        element("desc", description, id=f"{key}-desc"),
        *rows,
        class_="chart scatter",
        role="group",
        aria_labelledby=f"{key}-title {key}-desc",
        viewBox=f"0 0 {WIDTH} {_HEIGHT}",
    )


def _front(points: Sequence[Point], *, higher_is_better: bool) -> list[Point]:
    """Return the candidates that no other beats in this plot, the cheapest first."""
    found: list[Point] = []
    sign = -1.0 if higher_is_better else 1.0
    for point in sorted(points, key=lambda point: (point.cost, sign * point.quality)):
        if point.kind != "baseline" and (not found or sign * point.quality < sign * found[-1].quality):
            found.append(point)
    return found


def _whole(point: Point) -> bool:
    """Return whether a point is drawn with its interval: that of every one would be a thicket."""
    return point.interval is not None and point.kind in ("baseline", "chosen")


def _quality_range(points: Sequence[Point]) -> tuple[float, float]:
    shown = [(point.quality, *(point.interval or ())) if _whole(point) else (point.quality,) for point in points]
    ends = [end for several in shown for end in several if math.isfinite(end)]
    low, high = min(ends), max(ends)
    margin = (high - low) * 0.06 or abs(high) * 0.05 or 0.5
    return low - margin, high + margin


def _grid(
    x: Callable[[float], float],
    y: Callable[[float], float],
    heights: tuple[float, float],
    widths: tuple[float, float],
    cost: Axis,
    quality: Axis,
    *,
    logarithmic: bool,
) -> list[Markup]:
    rows = [element("text", f"\u2191 {quality.name}", class_="tick", x=0, y=12)]
    levels = ticks(*heights, 4)
    for tick, text in zip(levels, distinct(levels, quality.label), strict=True):
        rows.append(element("path", class_="grid", d=f"M{_LEFT} {y(tick):.1f}H{_RIGHT}"))
        if y(tick) > _TOP + 8:
            rows.append(element("text", text, class_="tick", x=0, y=y(tick) - 3))
    last = -math.inf
    for tick in _decades(*widths) if logarithmic else ticks(*widths, 4):
        where, text = x(tick), cost.label(tick)
        half = text_length(text) / 2
        if where - half < last + 6 or where + half > WIDTH:
            continue
        last = where + half
        rows.append(element("path", class_="grid", d=f"M{where:.1f} {_TOP}V{_BOTTOM}"))
        rows.append(element("text", text, class_="tick", x=max(half, where), y=_BOTTOM + 15, text_anchor="middle"))
    scale = ", logarithmic" if logarithmic else ""
    name = element("text", f"{cost.name}{scale} \u2192", class_="tick", x=WIDTH, y=_HEIGHT - 6, text_anchor="end")
    return [*rows, name]


def _decades(low: float, high: float) -> list[float]:
    """Return 1, 2 and 5 times the powers of ten inside the range."""
    first, last = math.floor(math.log10(low)), math.ceil(math.log10(high))
    marks = [factor * 10.0**power for power in range(first, last + 1) for factor in (1, 2, 5)]
    return [mark for mark in marks if low < mark < high]


def _mark(
    point: Point,
    x: float,
    y: Callable[[float], float],
    placed: Sequence[tuple[float, float]],
    tags: list[tuple[float, float, float]],
) -> Markup:
    middle = y(point.quality)
    inside: list[Markup] = [element("title", point.text)]
    if point.interval is not None and _whole(point):
        low, high = y(point.interval[0]), y(point.interval[1])
        inside.append(element("path", class_="range", d=f"M{x:.1f} {low:.1f}V{high:.1f}"))
    if point.kind == "chosen":
        inside.append(element("circle", class_="halo", cx=x, cy=middle, r=10.0))
    inside.append(shape_mark(point.shape, x, middle))
    spot = _spot(point.tag, x, middle, placed, tags) if point.tag else None
    if spot is not None:
        inside.append(element("text", point.tag, class_="tag", x=spot[0], y=spot[1], text_anchor="middle"))
    return element("a", *inside, href=point.href, class_=f"point {point.kind}", aria_label=point.text)


def shape_mark(shape: str, x: float, y: float) -> Markup:
    """Return a mark about 10 units wide around a point."""
    if shape == "square":
        return element("rect", class_="shape", x=x - 4.5, y=y - 4.5, width=9, height=9)
    if shape == "triangle":
        return element("path", class_="shape", d=f"M{x:.1f} {y - 6:.1f}l5.5 10h-11z")
    if shape == "diamond":
        return element("path", class_="shape", d=f"M{x:.1f} {y - 6:.1f}l6 6l-6 6l-6 -6z")
    return element("circle", class_="shape", cx=x, cy=y, r=5.0)


def _spot(
    tag: str, x: float, y: float, placed: Sequence[tuple[float, float]], tags: list[tuple[float, float, float]]
) -> tuple[float, float] | None:
    """Return where a tag fits beside its mark, clear of marks and other tags; None: nowhere, the table has it."""
    half = text_length(tag) / 2
    for across, down in ((0, -11), (12, 4), (-12, 4), (0, 20), (11, -8), (-11, -8), (11, 16), (-11, 16)):
        left, base = x + across, y + down
        if not (_LEFT + half + 24 < left < WIDTH - half and _TOP < base < _BOTTOM - 1):
            continue
        clear = all(abs(other - left) > half + 6 or abs(height - base + 4) > 9 for other, height in placed)
        apart = all(abs(o - left) > half + w + 2 or abs(h - base) > _CHARACTER for o, h, w in tags)
        if clear and apart:
            tags.append((left, base, half))
            return left, base
    return None
