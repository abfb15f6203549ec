"""What each step was told and what it did."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from edgeglm.report.figures import drop_text, format_bytes, format_count, format_metric, format_seconds, metric_title
from edgeglm.report.findings import step_name
from edgeglm.report.markup import Child, Markup, element, join
from edgeglm.report.typesetting import prose, small, typeset

if TYPE_CHECKING:
    from edgeglm.report.types import Report, Side, StepSide


def steps_section(report: Report) -> Child:
    """Return a card for each step."""
    if not report.steps:
        return element("p", "No steps: the artifacts are the original network, exported and quantized.")
    cards: list[Markup] = []
    before = report.baseline
    for step in report.steps:
        cards.append(_step_card(step, before))
        before = step
    return element("ol", *cards, class_="steps")


def _step_card(step: StepSide, before: Side) -> Markup:
    settings = [
        element("li", element("code", f"{key}: {_setting(value)}"))
        for key, value in step.settings.items()
        if key != "type" and value is not None
    ]
    facts: list[tuple[str, Child]] = [
        ("Parameters", _from_to(before.params, step.params, format_count)),
        ("MACs", _from_to(before.macs, step.macs, format_count)),
        ("Size", _from_to(before.size_bytes, step.size_bytes, format_bytes)),
    ]
    if step.metric is not None:
        shown: Child = typeset(format_metric(step.metric.name, step.metric.value))
        if step.drop is not None:
            value, interval = drop_text(step.drop, step.metric)
            shown = join(shown, small(typeset(value), " against the baseline (", typeset(interval), ")"))
        facts.append((metric_title(step.metric.name, begins=True), shown))
    took = (
        f"from the cache; took {format_seconds(step.seconds)} when it ran"
        if step.cached
        else f"took {format_seconds(step.seconds)}"
    )
    notes = [
        *(element("li", prose(note)) for note in step.notes),
        *(element("li", prose(note), class_="bad") for note in step.warnings),
    ]
    return element(
        "li",
        element("h3", step_name(step), " ", element("span", took, class_="quiet")),
        element("ul", *settings, class_="settings") if settings else None,
        element("dl", *(element("div", element("dt", name), element("dd", value)) for name, value in facts if value)),
        element("ul", *notes) if notes else None,
    )


def _setting(value: Any) -> str:
    return value if isinstance(value, str) else msgspec.json.encode(value).decode()


def _from_to(before: int | None, after: int | None, write: Any) -> Child:
    if after is None:
        return None
    if before is None or before == after:
        return typeset(write(after))
    share = f" ({100 * (after / before - 1):+.0f} %)" if before else ""
    return join(typeset(write(before)), " \u2192 ", typeset(write(after)), typeset(share))
