"""A plot of candidates: cost to the right, quality upwards; every mark is a link to its row, reached by keyboard too.

Shapes tell formats apart and numbers the candidates, so that no meaning hangs on colour; a table holds the figures.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from edgeglm.report.charts import WIDTH, distinct, text_length, ticks
from edgeglm.report.figures import within
from edgeglm.report.markup import Markup, element

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

_HEIGHT = 236
_LEFT, _RIGHT, _TOP, _BOTTOM = 8.0, WIDTH - 10.0, 26.0, 196.0
_LOG_FROM = 6.0  # largest cost / smallest, from which on the axis is logarithmic
_CHARACTER = 11.0  # units a tag is high
_NAMED = 5  # marks that a shared tag names
_FAR = 21.0  # units from a mark to its tag, from which on a line joins them
_TOUCHING = 9.0  # marks nearer than this cover each other: they share a tag
_KINDS = ("dominated", "baseline", "front", "chosen")  # drawn in this order
_LEAST_OF_INTERVAL = 0.4  # of the best file's interval that the axis shows at least: small differences stay small


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
    bounds: tuple[float | None, float | None] = (None, None)  # the least and the greatest value there can be


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
    bottom, top = _quality_range(points, quality.bounds)
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

    levels = [(y(level), text) for level, text in _levels(bottom, top, quality)]
    rows = _grid(x, levels, ends, cost, quality, logarithmic=logarithmic)
    if limits[0] is not None and ends[0] < limits[0] < ends[1]:
        rows.append(element("path", class_="limit", d=f"M{x(limits[0]):.1f} {_TOP}V{_BOTTOM}"))
    if limits[1] is not None and bottom < limits[1] < top:
        height = y(limits[1])
        crossed = [text_length(text) + 4 for level, text in levels if -1 < level - height < _CHARACTER + 4]
        rows.append(element("path", class_="limit", d=f"M{max([_LEFT, *crossed]):.1f} {height:.1f}H{_RIGHT}"))
    front = _front(points, higher_is_better=higher_is_better)
    if len(front) > 1:
        line = "L".join(f"{x(point.cost):.1f} {y(point.quality):.1f}" for point in front)
        rows.append(element("path", class_="front", d=f"M{line}"))
    placed: list[tuple[float, float]] = [(x(point.cost), y(point.quality)) for point in points]
    for point in sorted(points, key=lambda point: _KINDS.index(point.kind)):
        rows.append(_mark(point, x(point.cost), y))
    rows += _tags(points, placed)
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


def _quality_range(points: Sequence[Point], bounds: tuple[float | None, float | None]) -> tuple[float, float]:
    known = [point.quality for point in points if math.isfinite(point.quality)]
    low, high = min(known), max(known)
    widths = [point.interval[1] - point.interval[0] for point in points if point.interval and _whole(point)]
    wanted = _LEAST_OF_INTERVAL * max((width for width in widths if math.isfinite(width)), default=0.0)
    margin = max((high - low) * 0.12, (wanted - (high - low)) / 2) or abs(high) * 0.05 or 0.5
    return within(low - margin, high + margin, bounds, known)


def _levels(bottom: float, top: float, quality: Axis) -> list[tuple[float, str]]:
    """Return the values that lines of the grid are drawn at, with what is written above each."""
    found = ticks(bottom, top, 4)
    return list(zip(found, distinct(found, quality.label), strict=True))


def _grid(
    x: Callable[[float], float],
    levels: Sequence[tuple[float, str]],
    widths: tuple[float, float],
    cost: Axis,
    quality: Axis,
    *,
    logarithmic: bool,
) -> list[Markup]:
    rows = [element("text", f"\u2191 {quality.name}", class_="tick", x=0, y=12)]
    for height, text in levels:
        rows.append(element("path", class_="grid", d=f"M{_LEFT} {height:.1f}H{_RIGHT}"))
        if height > _TOP + 8:
            rows.append(element("text", text, class_="tick", x=0, y=height - 3))
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


def _mark(point: Point, x: float, y: Callable[[float], float]) -> Markup:
    middle = y(point.quality)
    inside: list[Markup] = [element("title", point.text)]
    if point.interval is not None and _whole(point):
        low, high = (min(_BOTTOM, max(_TOP, y(end))) for end in point.interval)
        inside.append(element("path", class_="range", d=f"M{x:.1f} {low:.1f}V{high:.1f}"))
    if point.kind == "chosen":
        inside.append(element("circle", class_="halo", cx=x, cy=middle, r=10.0))
    inside.append(shape_mark(point.shape, x, middle))
    return element("a", *inside, href=point.href, class_=f"point {point.kind}", aria_label=point.text)


def _tags(points: Sequence[Point], placed: Sequence[tuple[float, float]]) -> list[Markup]:
    """Return the numbers beside their marks; marks that cover each other share a tag: `4, 5, 8`."""
    groups: list[list[int]] = []
    for index, (x, y) in enumerate(placed):
        if not points[index].tag:
            continue
        near = [g for g in groups if any(math.dist((x, y), placed[other]) < _TOUCHING for other in g)]
        groups = [group for group in groups if group not in near] + [[index, *(i for group in near for i in group)]]
    drawn: list[Markup] = []
    taken: list[tuple[float, float, float]] = []
    for group in sorted(groups, key=lambda group: -max(_KINDS.index(points[i].kind) for i in group)):
        members = sorted(group, key=lambda i: int(points[i].tag) if points[i].tag.isdigit() else 0)
        text = ", ".join(points[i].tag for i in members[:_NAMED])
        text += f" +{len(members) - _NAMED}" if len(members) > _NAMED else ""
        x = sum(placed[i][0] for i in group) / len(group)
        y = sum(placed[i][1] for i in group) / len(group)
        ringed = any(points[i].kind == "chosen" for i in group)
        spot = _spot(text, x, y, placed, taken, clear=5.0 if ringed else 0.0)
        if spot is None:
            continue
        beaten = all(points[i].kind == "dominated" for i in group)
        if abs(spot[1] - 4 - y) > _FAR:
            drawn.append(element("path", class_="leader", d=f"M{x:.1f} {y:.1f}L{spot[0]:.1f} {spot[1] - 4:.1f}"))
        kind = "tag beaten" if beaten else "tag"
        drawn.append(element("text", text, class_=kind, x=spot[0], y=spot[1], text_anchor="middle"))
    return drawn


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
    tag: str,
    x: float,
    y: float,
    placed: Sequence[tuple[float, float]],
    tags: list[tuple[float, float, float]],
    *,
    clear: float,
) -> tuple[float, float] | None:
    """Return where a tag fits beside its mark, clear of marks and other tags; None: nowhere, the table has it."""
    half = text_length(tag) / 2
    beside, aslant, up, under = half + 9 + clear, half + 7 + clear, -11 - clear, 20 + clear
    near = ((0, up), (beside, 4), (-beside, 4), (0, under), (aslant, -8), (-aslant, -8), (aslant, 16), (-aslant, 16))
    far = ((0, -24), (0, 33), (aslant, -22), (-aslant, -22), (aslant, 30), (-aslant, 30), (0, -37), (0, 46))
    for across, down in (*near, *far):
        left, base = x + across, y + down
        if not (_LEFT + half + 24 < left < WIDTH - half and _TOP < base < _BOTTOM - 1):
            continue
        clear = all(abs(other - left) > half + 6 or abs(height - base + 4) > 9 for other, height in placed)
        apart = all(abs(o - left) > half + w + 2 or abs(h - base) > _CHARACTER for o, h, w in tags)
        if clear and apart:
            tags.append((left, base, half))
            return left, base
    return None
