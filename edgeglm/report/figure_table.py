"""Tables of figures on a terminal: as wide as it is, and nothing of a change or of its interval cut off."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from rich.cells import cell_len
from rich.table import Table

from edgeglm.report.figures import as_percent, change_of, format_points, points_unit

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from rich.console import Console, ConsoleOptions, RenderResult
    from rich.text import Text

    from edgeglm.report.types import Drop, Metric

_NAME = 12  # columns that a name has at least; a longer one goes on below
_WORD = 12  # the same of a word in a heading


@dataclass(frozen=True)
class FigureRow:
    """One side: what it is called, its figures, the metric last, and what the metric lost."""

    names: tuple[Text, ...]
    figures: tuple[str, ...] = ()
    change: tuple[Drop | None, Metric | None] = (None, None)
    style: str = ""


@dataclass(frozen=True)
class FigureTable:
    """Names to the left, then figures; the change of the metric and its interval stand last.

    Where there is little room, names and the heading of the metric take more lines, then the interval does.
    """

    names: tuple[str, ...]  # headings
    figures: tuple[str, ...]  # headings; the last is the metric's
    metric: str  # its name
    rows: Sequence[FigureRow]
    below: bool = False  # the interval of a metric with many digits stands below the change, whatever the room

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """Yield the table for the width at hand."""
        yield self._at(options.max_width)

    def _at(self, width: int) -> Table:
        names = [[heading, *(row.names[place].plain for row in self.rows)] for place, heading in enumerate(self.names)]
        cells = [
            [row.figures[place] for row in self.rows if row.figures] for place in range(len(self.figures))
        ]  # column by column
        widths = [_widest([heading, *column]) for heading, column in zip(self.figures, cells, strict=True)]
        whole = [*map(_widest, names), widths.pop()]  # what can take more lines: names, the heading of the metric
        least = [min(_NAME, one) for one in whole[:-1]]
        least.append(max(_widest(cells[-1]), min(_WORD, _widest(self.figures[-1].split()))))
        room = width - len(names) - len(cells) - sum(widths) - sum(least)
        heading, changes = self._changes(room)
        spare = max(0, room - _widest([heading, *changes]))
        for place in [*reversed(range(len(names))), -1]:  # the name of a file first, the heading last
            given = min(least[place] + spare, max(least[place], whole[place]))
            spare -= given - least[place]
            least[place] = given
        table = Table(box=None, pad_edge=False, padding=(0, 1, 0, 0), header_style="dim")
        for name, given in zip(self.names, least, strict=False):
            table.add_column(name, overflow="fold", width=given)
        for figure in self.figures[:-1]:
            table.add_column(figure, justify="right", no_wrap=True)
        table.add_column(self.figures[-1], justify="right", overflow="fold", width=least[-1])
        table.add_column(heading, justify="right", no_wrap=True)
        for row, change in zip(self.rows, changes, strict=True):
            table.add_row(*row.names, *(row.figures or [""] * len(cells)), change, style=row.style)
        return table

    def _changes(self, room: int) -> tuple[str, list[str]]:
        """Return the heading and the cells of the changes, in as few lines as the room allows."""
        unit = points_unit(self.metric)
        said = f"change, {unit}" if unit else "change"
        heading = f"{said} [95 %]" if cell_len(said) + 7 <= room else f"{said}\n[95 %]"
        parts = [_parts(*row.change) for row in self.rows]
        layouts = ["{} [{}, {}]", "{}\n[{}, {}]", "{}\n[{},\n{}]"]
        for layout in layouts[1:] if self.below and not as_percent(self.metric) else layouts:
            cells = [layout.format(*one) if one else "" for one in parts]
            if _widest(cells) <= room:
                break
        return heading, cells


def _parts(drop: Drop | None, metric: Metric | None) -> tuple[str, ...]:
    """Return a change and the ends of its interval, without a unit; nothing where there is none."""
    if drop is None or metric is None:
        return ()
    change, interval = change_of(drop, metric)
    return tuple(format_points(metric.name, figure, unit=False) for figure in (change, *interval))


def _widest(texts: Iterable[str]) -> int:
    return max((cell_len(line) for text in texts for line in text.split("\n")), default=0)
