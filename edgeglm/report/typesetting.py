"""How figures, sentences and tables are set on the page."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from edgeglm.report.markup import Child, Markup, element, join

if TYPE_CHECKING:
    from collections.abc import Sequence

STATE_WORDS = {"met": "met", "missed": "missed", "undecided": "undecided", "none": "not judged"}


def typeset(text: str) -> Markup:
    """Return a figure with the signs of a printed page: a true minus, a true times, no break inside."""
    text = text.replace("-", "\u2212" if len(text) > 1 else "\u2013")
    if text.endswith("x"):
        text = text[:-1] + "\u00d7"
    return element("span", text, class_="number")


def prose(text: str) -> Markup:
    """Return a sentence whose `backticked` parts are set as code."""
    parts = text.split("`")
    if len(parts) % 2 == 0:  # a backtick without its pair: leave the text alone
        return join(_minus(text))
    return join(*(element("code", part) if number % 2 else _minus(part) for number, part in enumerate(parts)))


def _minus(text: str) -> str:
    return re.sub(r"(?<![\w.)\]-])-(?=\d)", "\u2212", text)


def chip(state: str) -> Markup:
    """Return a word on a colour of its own."""
    return element("span", STATE_WORDS[state], class_=f"chip {state}")


def table(caption: str, head: Sequence[Child], rows: Sequence[Markup], *, class_: str) -> Markup:
    """Return a table with roles spelled out, since narrow pages lay its rows out as cards."""
    cells = [element("th", cell, scope="col", role="columnheader") for cell in head]
    return element(
        "table",
        element("caption", caption),
        element("thead", element("tr", *cells, role="row"), role="rowgroup"),
        element("tbody", *rows, role="rowgroup"),
        class_=class_,
        role="table",
    )


def row(
    head: Child, cells: Sequence[tuple[str, Child]], *, class_: str | None = None, id_: str | None = None
) -> Markup:
    """Return one row: its header, then cells, each with the name of its column for narrow pages."""
    return element(
        "tr",
        element("th", head, scope="row", role="rowheader"),
        *(element("td", element("div", cell), role="cell", data_label=name) for name, cell in cells),
        role="row",
        class_=class_,
        id_=id_,
    )


def small(*children: Child) -> Markup:
    """Return a second line of a cell."""
    return element("small", *children)


def scrolling(name: str, content: Markup) -> Markup:
    """Return content in a frame of its own that scrolls sideways, by keyboard too."""
    return element("div", content, class_="scroll", role="region", tabindex=0, aria_label=name)
