"""Charts as inline SVG: narrow enough for a phone, coloured by the page's style sheet, readable without colour.

Every chart is 340 units wide; a wide page sets several side by side. Rows give the height. Each chart carries a
title and a description for those who cannot see it, and the tables of the page hold the same numbers.
"""

from __future__ import annotations

import math
import unicodedata
from dataclasses import dataclass
from typing import TYPE_CHECKING

from edgeglm.report.figures import as_percent, unit_of
from edgeglm.report.markup import Child, Markup, element

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

WIDTH = 340
_GLYPH = 7.0  # units a character takes at 12 units of type in a wide sans; East Asian ones take two
ROW = 38
_MOST_REACH = 1.4  # how far past the longest bar a line may stretch the axis
REST = "graph, names, rest"  # what is left of a stacked bar: last, and grey
_TONES = {
    **dict.fromkeys(("int8",), 0),
    **dict.fromkeys(("int4", "uint4", "float16", "bfloat16"), 1),
    **dict.fromkeys(("int32", "int64"), 2),
    **dict.fromkeys(("uint8",), 3),
    **dict.fromkeys(("float32",), 4),
}


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
    return f"{round(100 * value, 3):g} %" if as_percent(name) else f"{value:.3g} {unit_of(name)}".rstrip()


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
        y = number * ROW
        rows += row_texts(bar.label, bar.text, y, missing=bar.value is None, keeps_end=bar.keeps_end)
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
    return frame(key, title, description, len(bars) * ROW, rows)


def row_texts(label: str, text: str, y: float, *, missing: bool, keeps_end: bool = False) -> list[Markup]:
    """Return the two texts of a row: its label on the left, its figure on the right."""
    room = WIDTH - text_length(text) - 12
    shown = shorten_start(label, room) if keeps_end else shorten(label, room)
    return [
        element("text", element("title", label), shown, class_="label", x=0, y=y + 14),
        element("text", text, class_="missing" if missing else "figure", x=WIDTH, y=y + 14, text_anchor="end"),
    ]


def axis_marks(
    low: float,
    high: float,
    x: Callable[[float], float],
    top: float,
    bottom: float,
    label: Callable[[float], str],
    count: int = 4,
) -> list[Markup]:
    """Return the lines and numbers of the axis below."""
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


def text_length(text: str) -> float:
    """Return about how many units a text takes at 12 units of type."""
    return sum(_GLYPH * (2 if unicodedata.east_asian_width(character) in "WF" else 1) for character in text)


def frame(key: str, title: str, description: str, height: float, rows: list[Markup]) -> Markup:
    """Return the chart as one picture with a title and a description for those who cannot see it."""
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
        drawn += row_texts(label, write(sum(part.value for part in parts)), y, missing=False)
        drawn.append(element("rect", class_="track", x=0, y=y + 21, width=WIDTH, height=9, rx=2))
        left = 0.0
        for part in parts:
            width = part.value / top * WIDTH
            told = element("title", f"{part.name}: {write(part.value)}")
            class_ = _part_class(part.name)
            drawn.append(element("rect", told, class_=class_, x=left, y=y + 21, width=max(0.0, width), height=9))
            left += width
        y += ROW
    for number, kind in enumerate(kinds):
        x, down = (number % 2) * WIDTH / 2, y + 12 + (number // 2) * 18
        drawn.append(element("rect", class_=_part_class(kind), x=x, y=down - 9, width=10, height=10))
        drawn.append(element("text", shorten(kind, WIDTH / 2 - 24), class_="tick", x=x + 15, y=down))
    return frame(key, title, description, y + 18 * -(-len(kinds) // 2) + 4, drawn)


def _part_class(name: str) -> str:
    """Return the class of a part: each type of weight has its colour on every chart."""
    return "part partrest" if name == REST else f"part part{_TONES.get(name, 5)}"
