"""report.html: one file, no script, nothing fetched; the verdict first, then what led to it."""

from __future__ import annotations

import base64
import hashlib
import io
from datetime import UTC, datetime
from importlib.resources import files
from typing import TYPE_CHECKING, Any

import msgspec
from ruamel.yaml import YAML

from edgeglm.report.classes import class_section, confusion_section
from edgeglm.report.figures import (
    change_of,
    drop_text,
    format_bytes,
    format_count,
    format_metric,
    format_ms,
    format_ratio,
    format_seconds,
)
from edgeglm.report.findings import (
    artifact_name,
    best_artifact,
    best_word,
    chance_doubt,
    headline,
    host_note,
    is_rejected,
    metric_of,
    speedup_range,
    step_name,
    warnings_of,
    why_best,
)
from edgeglm.report.markup import Child, Markup, clean, element, join
from edgeglm.report.stages import stage_section
from edgeglm.report.tables import (
    artifact_table,
    budget_table,
    prose,
    small,
    split_table,
    threads_text,
    typeset,
)

if TYPE_CHECKING:
    from edgeglm.report.types import ArtifactSide, Report, Side, StepSide, Verdict


def render_html(report: Report) -> str:
    """Return the page as one self-contained document.

    What users wrote (names, labels, paths, settings) is escaped. The style sheet is allowed by its hash; the
    policy of the page forbids everything else, requests and scripts included.
    """
    style = files("edgeglm.report").joinpath("page.css").read_text("utf-8")
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    policy = f"default-src 'none'; style-src 'sha256-{digest}'; base-uri 'none'; form-action 'none'"
    sections = [
        _section(
            "best", f"{best_word(report).capitalize()}{' artifact' * (best_word(report) == 'best')}", _best(report)
        ),
        _section("artifacts", "Artifacts", _artifacts(report)),
        _section("charts", "Stage by stage", stage_section(report)),
        _section("classes", "Change by class", class_section(report)),
        _section("confusion", "Confusion", confusion_section(report)),
        _section("steps", "Steps", _steps(report)),
        _section("warnings", "Warnings", _warnings(report)),
        _section("host", "Host", _host(report)),
        _section("recipe", "Recipe and lineage", _recipe(report)),
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
            _verdict(report),
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


def _verdict(report: Report) -> Markup:
    verdict = headline(report)
    lines = [
        *(_verdict_line(line, "missed") for line in report.budget.violations),
        *(_verdict_line(line, "undecided") for line in report.budget.undecided),
    ]
    doubt = chance_doubt(report.baseline)
    if doubt is not None:
        said = next((text for text in report.warnings if text.startswith(doubt)), doubt)
        lines.append(element("li", element("span", "warning", class_="chip undecided"), " ", prose(said)))
    sign = {"met": "\u2713", "missed": "\u2717", "undecided": "?", "none": "\u2013"}[verdict.state]
    return element(
        "section",
        element("h2", element("span", sign, class_="sign", aria_hidden="true"), verdict.title),
        element("p", prose(verdict.meaning)),
        element("ul", *lines) if lines else None,
        class_=f"verdict {verdict.state}",
        id="verdict",
    )


def _verdict_line(line: Verdict, state: str) -> Markup:
    return element(
        "li", element("span", state, class_=f"chip {state}"), " ", element("code", line.key), " ", prose(line.message)
    )


def _best(report: Report) -> Child:
    best = best_artifact(report)
    if best is None:
        return element("p", "No artifact was made.")
    tiles = [_size_tile(report, best), _speed_tile(report, best), _metric_tile(report, best)]
    chosen = (
        f" It comes first because of this: {why_best(report)}. The order: fewest budget lines missed, then undecided; "
        "outputs that agree, no proven loss; then speed, where the target is this kind of machine, else the recipe's."
        if len(report.artifacts) > 1
        else ""
    )
    path = f"rejected/{best.path}" if is_rejected(report) else best.path
    rejected = element("span", "rejected", class_="chip missed") if is_rejected(report) else None
    return join(
        element("p", element("b", artifact_name(best)), " ", element("code", path), " ", rejected),
        element("div", *tiles, class_="tiles"),
        element("p", host_note(report), chosen, class_="quiet"),
    )


def _tile(value: str, label: str, *details: Child, tone: str = "") -> Markup:
    return element(
        "div",
        element("p", typeset(value), class_=f"big {tone}".strip()),
        element("p", label, class_="what"),
        *(element("p", detail, class_="quiet") for detail in details if detail),
        class_="tile",
    )


def _size_tile(report: Report, best: ArtifactSide) -> Markup:
    if best.size_ratio is None:
        return _tile("-", "size ratio not measured", tone="none")
    sizes = f"{format_bytes(report.baseline.size_bytes)} \u2192 {format_bytes(best.size_bytes)}"
    if best.size_ratio > 1:
        return _tile(format_ratio(best.size_ratio), "smaller", sizes)
    return _tile(format_ratio(best.size_ratio), "no smaller than the baseline", sizes, tone="bad")


def _speed_tile(report: Report, best: ArtifactSide) -> Markup:
    if best.speedup is None or best.latency_ms is None or report.baseline.latency_ms is None:
        return _tile("-", "speed-up not measured", tone="none")
    before, after = report.baseline.latency_ms, best.latency_ms
    times = f"p50 {format_ms(before.p50)} \u2192 {format_ms(after.p50)} ms, 1 thread"
    extra = [
        join(typeset(format_ratio(ratio)), f" on {threads_text(key)}") for key, ratio in best.speedup_extra.items()
    ]
    if interval := speedup_range(best):
        times = f"{times}; 95 % interval {interval[0]:.2f} to {interval[1]:.2f}\u00d7"
    if best.speedup > 1:
        return _tile(format_ratio(best.speedup), "faster on this host", times, *extra)
    return _tile(format_ratio(best.speedup), "no faster on this host", times, *extra, tone="bad")


def _metric_tile(report: Report, best: ArtifactSide) -> Markup:
    name = metric_of(report)
    if best.metric is None:
        return _tile("-", f"{name} not measured", tone="none")
    if best.drop is None:
        return _tile(format_metric(name, best.metric.value), name)
    value, interval = drop_text(best.drop, best.metric)
    low, high = change_of(best.drop, best.metric)[1]
    was = "" if report.baseline.metric is None else f"{format_metric(name, report.baseline.metric.value)} \u2192 "
    proven = "" if low <= 0 <= high else "The interval excludes 0."
    return _tile(
        value,
        name,
        join("95 % interval ", typeset(interval)),
        f"{was}{format_metric(name, best.metric.value)} on {best.drop.n:,} samples",
        f"{best.drop.worse:,} answer{'s' * (best.drop.worse != 1)} turned wrong,"
        f" {best.drop.better:,} turned right. {proven}",
        tone="bad" if best.drop.ci95[0] > 0 else "",
    )


def _artifacts(report: Report) -> Child:
    if not report.artifacts:
        return None
    return join(artifact_table(report), budget_table(report), split_table(report))


def _steps(report: Report) -> Child:
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
        facts.append((step.metric.name.capitalize(), shown))
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


def _warnings(report: Report) -> Child:
    found = warnings_of(report)
    return element("ul", *(element("li", prose(text)) for text in found)) if found else None


def _host(report: Report) -> Child:
    host = report.host
    facts: list[tuple[str, Child]] = [
        ("Machine", " ".join(part for part in (host.machine, host.cpu) if part)),
        ("Cores", str(host.cores)),
        ("Memory", format_bytes(host.memory_bytes)),
        ("System", host.system),
        ("Python", host.python),
        ("CPU features", ", ".join(host.features)),
    ]
    versions = [element("li", element("code", f"{name} {version}")) for name, version in sorted(host.versions.items())]
    return join(
        element("p", host_note(report), class_="quiet"),
        element("dl", *(element("div", element("dt", name), element("dd", value)) for name, value in facts if value)),
        element("details", element("summary", "Versions"), element("ul", *versions, class_="settings"))
        if versions
        else None,
    )


def _recipe(report: Report) -> Child:
    parts = [element("details", element("summary", "Resolved recipe"), element("pre", _as_yaml(report.recipe)))]
    if report.lineage:
        parts.append(element("details", element("summary", "Lineage"), element("pre", _as_yaml(report.lineage))))
    return parts


def _as_yaml(data: dict[str, Any]) -> str:
    yaml = YAML()
    yaml.width = 100
    text = io.StringIO()
    yaml.dump(data, text)
    return clean(text.getvalue())
