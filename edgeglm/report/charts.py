"""Charts as inline SVG: narrow enough for a phone, coloured by the page's style sheet, readable without colour.

Every chart is 340 units wide; a wide page sets several side by side. Rows give the height. Each chart carries a
title and a description for those who cannot see it, and the tables of the page hold the same numbers.
"""

from __future__ import annotations

import math
import unicodedata
from dataclasses import dataclass
from typing import TYPE_CHECKING

from edgeglm.report.figures import as_percent
from edgeglm.report.markup import Child, Markup, element

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

WIDTH = 340
_GLYPH = 7.0  # units a character takes at 12 units of type in a wide sans; East Asian ones take two
_ROW = 38
_LABEL_ROOM = 140.0  # for the names of classes beside their line
_MOST_REACH = 1.4  # how far past the longest bar a line may stretch the axis
_MOST_AWAY = 3.0  # how many widths of the others a step may lie away and still be on the axis
REST = "graph, names, rest"  # what is left of a stacked bar: last, and grey
_TONES = {
    **dict.fromkeys(("int8",), 0),
    **dict.fromkeys(("int4", "uint4", "float16", "bfloat16"), 1),
    **dict.fromkeys(("int32", "int64"), 2),
    **dict.fromkeys(("uint8",), 3),
    **dict.fromkeys(("float32",), 4),
}
_EDGE = 6  # keeps dots and line ends inside the frame


@dataclass(frozen=True)
class Bar:
    """One row of a bar chart; ``value`` None says that it was not measured."""

    label: str
    kind: str  # class of the mark: baseline | step | artifact
    value: float | None
    text: str
    reach: float | None = None  # end of the thin line past the bar, such as p95
    keeps_end: bool = False  # of a label that is too long: names of layers differ there


@dataclass(frozen=True)
class Part:
    """One part of a row of a stacked chart."""

    name: str
    value: float


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


def shorten(text: str, room: float) -> str:
    """Return the text cut to so many units, with an ellipsis where something was cut."""
    text = " ".join(text.split())
    if text_length(text) <= room:
        return text
    kept: list[str] = []
    used = _GLYPH
    for character in text:
        used += text_length(character)
        if used > room:
            break
        kept.append(character)
    return "".join(kept).rstrip() + "\u2026"


def shorten_start(text: str, room: float) -> str:
    """Return the text cut to so many units from its start."""
    return shorten(text[::-1], room)[::-1]


def distinct(values: Sequence[float], label: Callable[[float], str]) -> list[str]:
    """Return a label for each number of an axis; where two would read alike, as many digits as tell them apart."""
    texts = [label(value) for value in values]
    digits = 4
    while len(set(texts)) < len(texts) and digits <= 12:
        texts, digits = [f"{value:.{digits}g}" for value in values], digits + 1
    return texts


def ticks(low: float, high: float, count: int = 4) -> list[float]:
    """Return about ``count`` round numbers inside the range, ends included where they are round."""
    span = high - low
    if not math.isfinite(span) or span <= 0:
        return [low]
    rough = span / max(1, count)
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(factor * power for factor in (1, 2, 2.5, 5, 10) if factor * power >= rough * 0.999)
    first = math.ceil(low / step - 1e-9)
    last = math.floor(high / step + 1e-9)
    return [number * step for number in range(first, last + 1)]


def figure(title: str, chart: Markup, note: Child) -> Markup:
    """Return a chart with its heading and a note below."""
    return element("figure", element("h3", title), chart, element("figcaption", note))


def axis_text(name: str, value: float) -> str:
    """Return a number of the axis of a metric, as short as it can be: `92.5 %`."""
    return f"{round(100 * value, 3):g} %" if as_percent(name) else f"{value:.3g}"


def bar_chart(key: str, title: str, description: str, bars: Sequence[Bar]) -> Markup:
    """Return bars from zero, one row each: label and figure above, bar below.

    Args:
        key: Unique in the page; makes the ids.
        title: What is shown, in what unit.
        description: What a reader who sees nothing should know.
        bars: Rows from top to bottom; values not below zero.
    """
    longest = max([bar.value for bar in bars if bar.value is not None], default=0.0) or 1.0
    reaches = [bar.reach or 0.0 for bar in bars if bar.value is not None]
    top = max(longest, min(max(reaches, default=0.0), longest * _MOST_REACH))  # one bad p95 must not shrink all bars
    rows: list[Markup] = []
    for number, bar in enumerate(bars):
        y = number * _ROW
        rows += _row_texts(bar.label, bar.text, y, missing=bar.value is None, keeps_end=bar.keeps_end)
        rows.append(element("rect", class_="track", x=0, y=y + 21, width=WIDTH, height=9, rx=2))
        if bar.value is None:
            continue
        length = max(2.0, bar.value / top * WIDTH)
        rows.append(element("rect", class_=f"bar {bar.kind}", x=0, y=y + 21, width=length, height=9, rx=2))
        if bar.reach is not None and bar.reach > bar.value:
            end, middle = bar.reach / top * WIDTH, y + 25.5
            if end > WIDTH + 1:
                rows.append(element("path", class_="whisker", d=f"M{length:.1f} {middle}H{WIDTH - 2}"))
                rows.append(element("path", class_="beyond", d=f"M{WIDTH} {middle}l-7 -4v8z"))
                continue
            end = min(end, WIDTH - 1)
            rows.append(element("path", class_="whisker", d=f"M{length:.1f} {middle}H{end:.1f}M{end:.1f} {y + 22}v7"))
    return _frame(key, title, description, len(bars) * _ROW, rows)


def interval_chart(
    key: str,
    title: str,
    description: str,
    dots: Sequence[Dot],
    *,
    label: Callable[[float], str],
    reference: float | None = None,
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
    """
    known = [dot for dot in dots if dot.value is not None and math.isfinite(dot.value)]
    low, high = _range(known)
    if reference is not None:
        low, high = _padded(min(low, reference), max(high, reference))
    bottom = len(dots) * _ROW

    def x(value: float) -> float:
        return _EDGE + (value - low) / (high - low) * (WIDTH - 2 * _EDGE)

    rows = _axis(low, high, x, 2, bottom, label)
    if known:
        line = known[0].value or 0.0 if reference is None else reference
        rows.append(element("path", class_="reference", d=f"M{x(line):.1f} 2V{bottom}"))
    for number, dot in enumerate(dots):
        y = number * _ROW
        rows += _row_texts(dot.label, dot.text, y, missing=dot.value is None)
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
    return _frame(key, title, description, bottom + 18, rows)


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

    rows = _axis(low, 1.0, x, 2, bottom, label, count=3)
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
    return _frame(key, title, description, bottom + 18, rows)


def _change_class(pair: Pair) -> str:
    if not pair.counted:
        return "few"
    if pair.after == pair.before:
        return "same"
    if pair.after < pair.before and pair.interval is not None and pair.interval[1] >= pair.before:
        return "unsure"
    return "lost" if pair.after < pair.before else "kept"


def _row_texts(label: str, text: str, y: float, *, missing: bool, keeps_end: bool = False) -> list[Markup]:
    room = WIDTH - text_length(text) - 12
    shown = shorten_start(label, room) if keeps_end else shorten(label, room)
    return [
        element("text", element("title", label), shown, class_="label", x=0, y=y + 14),
        element("text", text, class_="missing" if missing else "figure", x=WIDTH, y=y + 14, text_anchor="end"),
    ]


def _axis(
    low: float,
    high: float,
    x: Callable[[float], float],
    top: float,
    bottom: float,
    label: Callable[[float], str],
    count: int = 4,
) -> list[Markup]:
    marks: list[Markup] = []
    numbers = ticks(low, high, count)
    for tick, text in zip(numbers, distinct(numbers, label), strict=True):
        where = x(tick)
        half = text_length(text) / 2
        anchor = "start" if where < half else "end" if where > WIDTH - half else "middle"
        edge = 0.0 if anchor == "start" else float(WIDTH) if anchor == "end" else where
        marks.append(element("path", class_="grid", d=f"M{where:.1f} {top}V{bottom}"))
        marks.append(element("text", text, class_="tick", x=edge, y=bottom + 13, text_anchor=anchor))
    return marks


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


def text_length(text: str) -> float:
    """Return about how many units a text takes at 12 units of type."""
    return sum(_GLYPH * (2 if unicodedata.east_asian_width(character) in "WF" else 1) for character in text)


def _frame(key: str, title: str, description: str, height: float, rows: list[Markup]) -> Markup:
    return element(
        "svg",
        element("title", title, id=f"{key}-title"),
        element("desc", description, id=f"{key}-desc"),
        *rows,
        class_="chart",
        role="img",
        aria_labelledby=f"{key}-title {key}-desc",
        viewBox=f"0 0 {WIDTH} {max(1, round(height))}",
    )


def stacked_chart(
    key: str,
    title: str,
    description: str,
    rows: Sequence[tuple[str, Sequence[Part]]],
    *,
    write: Callable[[float], str],
) -> Markup:
    """Return one bar a row, all on one scale, divided into parts; the parts are named below each bar.

    Args:
        key: Unique in the page; makes the ids.
        title: What is shown, in what unit.
        description: What a reader who sees nothing should know.
        rows: From top to bottom: a label, and its parts from left to right.
        write: Writes a value.
    """
    top = max((sum(part.value for part in parts) for _, parts in rows), default=0.0) or 1.0
    kinds = [name for name in dict.fromkeys(part.name for _, parts in rows for part in parts) if name != REST]
    kinds += [REST] * any(part.name == REST for _, parts in rows for part in parts)
    drawn: list[Markup] = []
    y = 0.0
    for label, parts in rows:
        drawn += _row_texts(label, write(sum(part.value for part in parts)), y, missing=False)
        drawn.append(element("rect", class_="track", x=0, y=y + 21, width=WIDTH, height=9, rx=2))
        left = 0.0
        for part in parts:
            width = part.value / top * WIDTH
            told = element("title", f"{part.name}: {write(part.value)}")
            class_ = _part_class(part.name)
            drawn.append(element("rect", told, class_=class_, x=left, y=y + 21, width=max(0.0, width), height=9))
            left += width
        y += _ROW
    for number, kind in enumerate(kinds):
        x, down = (number % 2) * WIDTH / 2, y + 12 + (number // 2) * 18
        drawn.append(element("rect", class_=_part_class(kind), x=x, y=down - 9, width=10, height=10))
        drawn.append(element("text", shorten(kind, WIDTH / 2 - 24), class_="tick", x=x + 15, y=down))
    return _frame(key, title, description, y + 18 * -(-len(kinds) // 2) + 4, drawn)


def _part_class(name: str) -> str:
    """Return the class of a part: each type of weight has its colour on every chart."""
    return "part partrest" if name == REST else f"part part{_TONES.get(name, 5)}"
