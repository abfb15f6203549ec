"""Samples that an artifact answers otherwise than the original did, as they look."""

from __future__ import annotations

from typing import TYPE_CHECKING

from edgeglm.report.findings import artifact_name, written_artifacts
from edgeglm.report.markup import Child, Markup, element, join
from edgeglm.report.typesetting import prose, typeset

if TYPE_CHECKING:
    from edgeglm.report.types import ArtifactSide, Change, Report, Sample

_WIDTH, _HEIGHT = 160, 64  # of a series
_MOST_IMAGE = 20_000  # characters of one picture
_SYNTHETIC = (
    "No samples are shown: the recipe says `golden: {source: synthetic}`, which keeps private data out of the result."
)


def example_section(report: Report) -> Child:
    """Return the changed answers of each artifact, those of the best open; nothing where none are known."""
    golden = report.recipe.get("golden")
    if isinstance(golden, dict) and golden.get("source") == "synthetic":
        return element("p", prose(_SYNTHETIC))
    blocks: list[Markup] = []
    for side in written_artifacts(report):
        if side.changed_count is None:
            continue
        blocks.append(_block(report, side, is_open=not blocks))
    return blocks


def _block(report: Report, side: ArtifactSide, *, is_open: bool) -> Markup:
    n = side.metric.n if side.metric is not None else 0
    count = side.changed_count or 0
    counted = any(change.sure_after is not None for change in side.changed) or not count
    what = "changed" if counted else "lie further from what they should be"
    said = f"{artifact_name(side)}: {count:,} answer{'s' * (count != 1)} of {n:,} {what}"
    if not count:
        return element("p", f"{artifact_name(side)}: no answer of {n:,} changed." if n else said)
    cards = [_card(report.samples.get(str(change.row)), change) for change in side.changed]
    more = f"The {len(cards)} that tell most: " if count > len(cards) else ""
    wrong = any(change.right_before and not change.right_after for change in side.changed)
    order = "first those that turned wrong, the surest of them first." if wrong else "the surest first."
    told = f"{more}{order}"
    sure = side.changed[0].sure_after is not None
    note = element("p", told[0].upper() + told[1:], class_="quiet") if sure else None
    return element(
        "details",
        element("summary", said),
        note,
        element("ul", *cards, class_="examples"),
        open=is_open,
    )


def _card(sample: Sample | None, change: Change) -> Markup:
    state = ""
    if change.right_after is not None:
        state = "kept" if change.right_after else "lost"
    return element(
        "li",
        _picture(sample, change),
        element(
            "dl",
            _line("Should be", change.expected, None) if change.expected else None,
            _line("Before", change.before, change.sure_before),
            _line("Now", change.after, change.sure_after, state),
        ),
        element("p", f"sample {change.row:,}", class_="quiet"),
    )


def _line(name: str, answer: str, sure: float | None, state: str = "") -> Markup:
    signs = {"lost": "\u2717 ", "kept": "\u2713 "}
    told = join(signs.get(state, ""), element("bdi", answer))
    share = element("span", " ", typeset(f"{100 * sure:.0f} %"), class_="quiet") if sure is not None else None
    return element("div", element("dt", name), element("dd", told, share, class_=state or None))


def _picture(sample: Sample | None, change: Change) -> Markup | None:
    if sample is None:
        return None
    if sample.kind == "image" and sample.image.startswith("data:image/") and len(sample.image) < _MOST_IMAGE:
        words = f"sample {change.row}" + (f", {change.expected}" if change.expected else "")
        return element("img", src=sample.image, alt=words, class_="picture")
    if sample.kind == "series" and sample.series:
        return _series(sample.series, f"sample {change.row} as a line")
    return element("blockquote", element("bdi", sample.text)) if sample.text else None


def _series(lines: list[list[float]], words: str) -> Markup:
    flat = [value for line in lines for value in line]
    low, high = min(flat), max(flat)
    span = (high - low) or 1.0
    paths = []
    for number, line in enumerate(lines):
        step = _WIDTH / max(1, len(line) - 1)
        points = "L".join(
            f"{place * step:.1f} {_HEIGHT - 3 - (value - low) / span * (_HEIGHT - 6):.1f}"
            for place, value in enumerate(line)
        )
        paths.append(element("path", class_=f"line line{number}", d=f"M{points}"))
    return element(
        "svg",
        element("title", f"{words}, from {low:.3g} to {high:.3g}"),
        *paths,
        class_="series",
        role="img",
        viewBox=f"0 0 {_WIDTH} {_HEIGHT}",
    )


def has_pictures(report: Report) -> bool:
    """Return whether any sample is a picture: the page's policy then allows those inside the page."""
    return any(sample.kind == "image" for sample in report.samples.values())
