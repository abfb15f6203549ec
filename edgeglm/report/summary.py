"""The top of the page: what was made, what it gained, what it cost and whether that is allowed, read in ten seconds."""

from __future__ import annotations

from typing import TYPE_CHECKING

from edgeglm.report.figures import (
    change_of,
    direction,
    drop_text,
    format_bytes,
    format_metric,
    format_ms,
    format_ratio,
    metric_title,
)
from edgeglm.report.findings import (
    artifact_name,
    budget_limits,
    files_made,
    headline,
    host_note,
    is_rejected,
    metric_of,
    speedup_range,
    state_of,
    threads_text,
)
from edgeglm.report.markup import Child, Markup, element, join
from edgeglm.report.ranking import best_artifact, best_word
from edgeglm.report.remarks import chance_doubt
from edgeglm.report.typesetting import prose, typeset

if TYPE_CHECKING:
    from edgeglm.report.types import ArtifactSide, Report, Verdict

_SERVING = "of a process that serves it here"
_SAME = 1.005  # a ratio below this shows as 1.00: no gain
_LINES = 4  # of the budget that stand at the top; more are folded
_SIGNS = {"met": "\u2713", "missed": "\u2717", "undecided": "?", "none": "\u2013"}


def summary_section(report: Report) -> Markup:
    """Return the verdict, one sentence, the big figures, and each budget line that is not met."""
    verdict, best = headline(report), best_artifact(report)
    lines = _verdict_lines(report)
    doubt = chance_doubt(report.baseline)
    if doubt is not None:
        said = next((text for text in report.warnings if text.startswith(doubt)), doubt)
        lines.insert(0, element("li", element("span", "warning", class_="chip undecided"), " ", prose(said)))
    return element(
        "section",
        element("h2", element("span", _SIGNS[verdict.state], class_="sign", aria_hidden="true"), verdict.title),
        element("p", _sentence(report, best), class_="lede") if best is not None else None,
        element("p", prose(verdict.meaning), class_="meaning"),
        element("div", *_tiles(report, best), class_="tiles") if best is not None else None,
        element("ul", *lines[:_LINES]) if lines else None,
        _folded(lines[_LINES:]),
        _whose(report, best),
        class_=f"verdict {verdict.state}",
        id="verdict",
    )


def _sentence(report: Report, best: ArtifactSide) -> Child:
    """Say in one sentence what was made and what that changed."""
    gains: list[Child] = []
    if best.size_ratio is not None:
        smaller = best.size_ratio >= _SAME
        gains.append(join(typeset(format_ratio(best.size_ratio)), " smaller") if smaller else "no smaller")
    if best.speedup is not None:
        faster = best.speedup >= _SAME
        gains.append(join(typeset(format_ratio(best.speedup)), " faster") if faster else "no faster")
    where = " on this host" if best.speedup is not None else ""
    made = join(element("b", artifact_name(best)), f" for {report.target}")
    said = join(made, " is ", _listed(gains), where, " than the original" if gains else "") if gains else made
    name = metric_of(report)
    if best.metric is None:
        return join(said, f". Its {metric_title(name)} was not measured.")
    after = typeset(format_metric(name, best.metric.value))
    if best.drop is None:
        return join(said, f"; its {metric_title(name)} is ", after, ".")
    value, interval = drop_text(best.drop, best.metric)
    low, high = change_of(best.drop, best.metric)[1]
    better = direction(name, best.drop.value)
    if low <= 0 <= high:
        proof = f"{better}, though these samples do not prove it" if best.drop.value else better
    else:
        proof = f"proven {better}, by too little to show" if _alike(report, best) else f"proven {better}"
    return join(
        said,
        f"; its {metric_title(name)} is ",
        after,
        ", ",
        typeset(value),
        " (95 % interval ",
        typeset(interval),
        f"): {proof}.",
    )


def _listed(parts: list[Child]) -> Child:
    return parts[0] if len(parts) == 1 else join(parts[0], " and ", parts[1])


def _tiles(report: Report, best: ArtifactSide) -> list[Markup]:
    tiles = [_size_tile(report, best), _speed_tile(report, best), _metric_tile(report, best)]
    return [*tiles, *filter(None, [_memory_tile(report, best), _budget_tile(report, best)])]


def _tile(label: str, value: Child, *details: Child, tone: str = "") -> Markup:
    return element(
        "div",
        element("p", label, class_="what"),
        element("p", value, class_=f"big {tone}".strip()),
        *(element("p", detail, class_="quiet") for detail in details if detail),
        class_="tile",
    )


def _figure(text: str, word: str = "") -> Markup:
    return join(typeset(text), " ", element("span", word, class_="unit") if word else None)


def _size_tile(report: Report, best: ArtifactSide) -> Markup:
    if best.size_ratio is None:
        return _tile("Size", "not measured", tone="none")
    before, after = format_bytes(report.baseline.size_bytes), format_bytes(best.size_bytes)
    word, tone = ("smaller", "good") if best.size_ratio >= _SAME else ("no smaller", "bad")
    return _tile("Size", _figure(format_ratio(best.size_ratio), word), _change(before, after), tone=tone)


def _speed_tile(report: Report, best: ArtifactSide) -> Markup:
    if best.speedup is None or best.latency_ms is None or report.baseline.latency_ms is None:
        return _tile("Speed on this host", "not measured", tone="none")
    before, after = format_ms(report.baseline.latency_ms.p50), format_ms(best.latency_ms.p50)
    word, tone = ("faster", "good") if best.speedup >= _SAME else ("no faster", "bad")
    interval = speedup_range(best)
    extra = [
        join(typeset(format_ratio(ratio)), f" on {threads_text(key)}") for key, ratio in best.speedup_extra.items()
    ]
    return _tile(
        "Speed on this host",
        _figure(format_ratio(best.speedup), word),
        join(_change(before, f"{after} ms"), ", p50 on 1 thread"),
        join("95 % interval ", typeset(f"{interval[0]:.2f} to {interval[1]:.2f}x")) if interval else None,
        *extra,
        tone=tone,
    )


def _metric_tile(report: Report, best: ArtifactSide) -> Markup:
    name = metric_of(report)
    label = metric_title(name, begins=True)
    if best.metric is None:
        return _tile(label, "not measured", tone="none")
    after = format_metric(name, best.metric.value)
    if best.drop is None:
        return _tile(label, typeset(after), f"{best.metric.n:,} samples")
    value, interval = drop_text(best.drop, best.metric)
    before = "-" if report.baseline.metric is None else format_metric(name, report.baseline.metric.value)
    drop = best.drop
    allowed = "metric_drop" in budget_limits(report) and state_of(report, best, "metric_drop") == "met"
    worded = f"{value}, {direction(name, drop.value)}".replace("-", "\u2212") if drop.value else value
    counted = f"{drop.worse:,} answer{'s' * (drop.worse != 1)} turned wrong, {drop.better:,} right"
    return _tile(
        label,
        _figure(after, worded),
        join(_change(before, after), f" on {drop.n:,} samples"),
        join("95 % interval ", typeset(interval)),
        counted if drop.method == "counts" else None,
        tone="bad" if drop.ci95[0] > 0 and not _alike(report, best) and not allowed else "",
    )


def _alike(report: Report, best: ArtifactSide) -> bool:
    """Return whether the metric reads the same before and after, however sure the difference is."""
    before, after = report.baseline.metric, best.metric
    if before is None or after is None:
        return False
    return format_metric(before.name, before.value) == format_metric(after.name, after.value)


def _memory_tile(report: Report, best: ArtifactSide) -> Markup | None:
    if best.peak_rss_bytes is None:
        return None
    before, after = report.baseline.peak_rss_bytes, format_bytes(best.peak_rss_bytes)
    if before is None:
        return _tile("Peak memory", typeset(after), _SERVING)
    share = f"{100 * (best.peak_rss_bytes / before - 1):+.0f} %".replace("-", "\u2212")
    told = join(typeset(format_bytes(before)), " before, ", typeset(share))
    return _tile("Peak memory", typeset(after), told, _SERVING)


def _budget_tile(report: Report, best: ArtifactSide) -> Markup | None:
    limits = budget_limits(report)
    if not limits:
        return None
    states = [state_of(report, best, line) for line in limits]
    missed, open_ = states.count("missed"), states.count("undecided")
    words = [f"{missed} missed"] * bool(missed) + [f"{open_} undecided"] * bool(open_)
    tone = "bad" if missed else "open" if open_ else "good"
    told = " and ".join(words) or "every line is met"
    return _tile(
        "Budget", _figure(f"{states.count('met')} of {len(limits)}", "met"), f"{told}, by this file", tone=tone
    )


def _change(before: str, after: str) -> Markup:
    return join(typeset(before), " \u2192 ", typeset(after))


def _verdict_lines(report: Report) -> list[Markup]:
    """Return a line for all that is missed, then for all that is open, those of the best artifact first."""
    best = best_artifact(report)
    first = "" if best is None else best.path
    missed = sorted(report.budget.violations, key=lambda line: line.artifact != first)
    undecided = sorted(report.budget.undecided, key=lambda line: line.artifact != first)
    shown = [_verdict_line(line, "missed") for line in missed]
    return [*shown, *(_verdict_line(line, "undecided") for line in undecided)]


def _folded(lines: list[Markup]) -> Markup | None:
    if not lines:
        return None
    summary = f"{len(lines)} more line{'s' * (len(lines) != 1)}"
    return element("details", element("summary", summary), element("ul", *lines))


def _verdict_line(line: Verdict, state: str) -> Markup:
    named = None if f"`{line.key}`" in line.message else join(element("code", line.key), " ")
    return element("li", element("span", state, class_=f"chip {state}"), " ", named, prose(line.message))


def _whose(report: Report, best: ArtifactSide | None) -> Markup:
    """Say which file the figures are of, why that one, and whose the latencies are."""
    if best is None:
        return element("p", "No artifact was made.")
    path = f"rejected/{best.path}" if is_rejected(report) else best.path
    rejected = element("span", "rejected", class_="chip missed") if is_rejected(report) else None
    which = f", the {best_word(report)} of {files_made(report)}" if len(report.artifacts) > 1 else ""
    said = join("The figures are of ", element("code", path), which, ". ", rejected, " ", host_note(report))
    return element("p", said, class_="quiet whose")
