"""report.html: one file, no script, nothing fetched; the verdict first, then what led to it."""

from __future__ import annotations

import base64
import hashlib
from datetime import UTC, datetime
from importlib.resources import files
from typing import TYPE_CHECKING

from edgeglm.report.advice import with_advice
from edgeglm.report.choice import choice_section
from edgeglm.report.classes import class_section
from edgeglm.report.confusion import confusion_section
from edgeglm.report.costs import costs_section
from edgeglm.report.examples import example_section, has_pictures
from edgeglm.report.figures import format_seconds
from edgeglm.report.findings import headline, written_artifacts
from edgeglm.report.markup import Child, Markup, element, join
from edgeglm.report.origin import host_section, origin_section
from edgeglm.report.remarks import warnings_of
from edgeglm.report.slices import robustness_section, slice_section
from edgeglm.report.stages import stage_section
from edgeglm.report.steps import steps_section
from edgeglm.report.summary import summary_section
from edgeglm.report.tables import artifact_table, budget_table, split_table

if TYPE_CHECKING:
    from edgeglm.report.types import Report


def render_html(report: Report) -> str:
    """Return the page as one self-contained document.

    What users wrote (names, labels, paths, settings) is escaped. The style sheet is allowed by its hash; the
    policy of the page forbids everything else, requests and scripts included.
    """
    style = files("edgeglm.report").joinpath("page.css").read_text("utf-8")
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    pictures = " img-src data:;" if has_pictures(report) else ""
    policy = f"default-src 'none'; style-src 'sha256-{digest}';{pictures} base-uri 'none'; form-action 'none'"
    sections = [
        _section("choice", "Which file", choice_section(report)),
        _section("artifacts", "Artifacts", _artifacts(report)),
        _section("costs", "Where bytes and time go", costs_section(report)),
        _section("charts", "Stage by stage", stage_section(report)),
        _section("classes", "Change by class", class_section(report)),
        _section("slices", "Change by slice", slice_section(report)),
        _section("robustness", "Under disturbance", robustness_section(report)),
        _section("examples", "Answers that changed", example_section(report)),
        _section("confusion", "Confusion", confusion_section(report)),
        _section("steps", "Steps", steps_section(report)),
        _section("warnings", "Warnings", _warnings(report)),
        _section("host", "Host", host_section(report)),
        _section("recipe", "Recipe and lineage", origin_section(report)),
    ]
    present = [(key, title, section) for key, title, section in sections if section]
    links = [element("a", title, href=f"#{key}") for key, title, _ in present]
    head = element(
        "head",
        element("meta", charset="utf-8"),
        element("meta", http_equiv="Content-Security-Policy", content=policy),
        element("meta", name="viewport", content="width=device-width, initial-scale=1"),
        element("meta", name="color-scheme", content="light dark"),
        element("meta", name="referrer", content="no-referrer"),
        element("title", f"{report.name}: {headline(report).title.lower()} - edgeglm report"),
        element("style", Markup(style)),
    )
    body = element(
        "body",
        _header(report),
        element(
            "main",
            summary_section(report),
            element("nav", *links, aria_label="Parts of this report"),
            *(section for _, _, section in present),
        ),
    )
    return f"<!doctype html>\n{element('html', head, body, lang='en')}\n"


def _section(key: str, title: str, content: Child) -> tuple[str, str, Markup]:
    inside = join(content)
    return key, title, element("section", element("h2", title), inside, id=key) if inside else Markup("")


def _header(report: Report) -> Markup:
    facts = [f"for {report.target}"]
    if report.started:
        facts.append(_moment(report.started))
    if report.seconds:
        facts.append(f"took {format_seconds(report.seconds)}")
    return element(
        "header",
        element("p", "edgeglm report", class_="kicker"),
        element("h1", report.name),
        element("p", " \u00b7 ".join(facts), class_="quiet"),
    )


def _moment(started: str) -> str:
    try:
        moment = datetime.fromisoformat(started).astimezone(UTC)
    except ValueError:
        return started  # written by another hand: shown as it is
    return f"{moment:%Y-%m-%d %H:%M} UTC"


def _artifacts(report: Report) -> Child:
    if not written_artifacts(report):
        return None
    return join(artifact_table(report), budget_table(report), split_table(report))


def _warnings(report: Report) -> Child:
    """Return the warnings of the run, each with what to do about it; those of artifacts stand in their rows."""
    found = warnings_of(report)
    return element("ul", *(with_advice(text) for text in found), class_="warnings") if found else None
