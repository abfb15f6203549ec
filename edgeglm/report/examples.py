"""Samples that an artifact answers otherwise than the original did, as they look."""

from __future__ import annotations

from typing import TYPE_CHECKING

from edgeglm.report.findings import artifact_name, written_artifacts
from edgeglm.report.markup import Child, Markup, element, join
from edgeglm.report.typesetting import prose, typeset

if TYPE_CHECKING:
    from collections.abc import Mapping

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
    what = side.changed_what or _older_words(side)
    if not count:
        return element("p", f"{artifact_name(side)}: none of {n:,} {what}.")
    cards = [_card(report.samples, change) for change in side.changed]
    more = f"The {len(cards)} that tell most: " if count > len(cards) else ""
    wrong = any(change.right_before and not change.right_after for change in side.changed)
    sure = any(change.sure_after is not None for change in side.changed)
    most = "surest" if sure else "largest change"
    order = f"first those that turned wrong, the {most} of them first." if wrong else f"the {most} first."
    told = f"{more}{order}"
    return element(
        "details",
        element("summary", f"{artifact_name(side)}: {count:,} of {n:,} {what}"),
        element("p", told[0].upper() + told[1:], class_="quiet"),
        element("ul", *cards, class_=f"examples{' roomy' if _reads_long(report, side) else ''}"),
        open=is_open,
    )


def _reads_long(report: Report, side: ArtifactSide) -> bool:
    """Return whether an answer is a text: those of three samples in one card need room."""
    rows = (row for change in side.changed for row in (change.row_before, change.row_after))
    found = (report.samples.get(str(row)) for row in rows)
    return any(sample is not None and sample.kind == "text" for sample in found)


def _older_words(side: ArtifactSide) -> str:
    """Return what became of the answers in a report of before that was said."""
    counted = any(change.sure_after is not None for change in side.changed) or not side.changed_count
    return "answers changed" if counted else "answers lie further from what they should be"


def _card(samples: Mapping[str, Sample], change: Change) -> Markup:
    state = ""
    if change.right_after is not None:
        state = "kept" if change.right_after else "lost"
    known = change.expected or change.picture_expected
    before, after = (None if row is None else samples.get(str(row)) for row in (change.row_before, change.row_after))
    words = f"sample {change.row:,}"
    sample, described = samples.get(str(change.row)), words + (f", {change.expected}" if change.expected else "")
    return element(
        "li",
        _with_boxes(sample, change, described) or _picture(sample, described),
        element(
            "dl",
            _line("Should be", change.expected, picture=_map(change.picture_expected, f"{words}, as it should be"))
            if known
            else None,
            _line(
                "Before",
                change.before,
                change.sure_before,
                picture=_map(change.picture_before, f"{words}, before") or _picture(before, f"{words}, before"),
            ),
            _line(
                "Now",
                change.after,
                change.sure_after,
                state,
                picture=_map(change.picture_after, f"{words}, now") or _picture(after, f"{words}, now"),
            ),
        ),
        element("p", element("bdi", change.note), class_="note") if change.note else None,
        element("p", words, class_="quiet"),
    )


def _line(name: str, answer: str, sure: float | None = None, state: str = "", picture: Markup | None = None) -> Markup:
    signs = {"lost": "\u2717 ", "kept": "\u2713 "}
    told = join(signs.get(state, ""), element("bdi", answer))
    share = element("span", " ", typeset(f"{100 * sure:.0f} %"), class_="quiet") if sure is not None else None
    return element("div", element("dt", name), element("dd", picture, told, share, class_=state or None))


def _picture(sample: Sample | None, words: str) -> Markup | None:
    if sample is None:
        return None
    if sample.kind == "image":
        return _map(sample.image, words)
    if sample.kind == "series" and sample.series:
        return _series(sample.series, f"{words} as a line")
    return element("blockquote", element("bdi", sample.text)) if sample.text else None


def _with_boxes(sample: Sample | None, change: Change, words: str) -> Markup | None:
    """Return the picture with the boxes that are gone (dashed), new, and the same; None where there are none."""
    if sample is None or sample.size is None or not change.boxes or _map(sample.image, words) is None:
        return None
    width, height = sample.size
    boxes = []
    for one in reversed(change.boxes):  # those that are gone or new above the others
        x1, y1, x2, y2 = one.box
        what = one.what if one.what in ("gone", "new") else "same"
        shape = {"x": x1, "y": y1, "width": max(0.0, x2 - x1), "height": max(0.0, y2 - y1)}
        title = element("title", f"{one.label}, {what}")
        boxes += [element("rect", class_="under", **shape), element("rect", title, class_=what, **shape)]
    image = element("image", href=sample.image, width=width, height=height, preserveAspectRatio="none")
    title = element("title", f"{words}; boxes that are gone are dashed, new ones thick")
    return element("svg", title, image, *boxes, class_="picture boxes", role="img", viewBox=f"0 0 {width} {height}")


def _map(image: str, words: str) -> Markup | None:
    if not image.startswith("data:image/") or len(image) >= _MOST_IMAGE:
        return None
    return element("img", src=image, alt=words, class_="picture")


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
    """Return whether any sample or answer is a picture: the page's policy then allows those inside the page."""
    maps = any(change.picture_before or change.picture_after for side in report.artifacts for change in side.changed)
    return maps or any(sample.kind == "image" for sample in report.samples.values())
