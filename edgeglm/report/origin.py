"""Where a result comes from: what went in, what came out, the machine that measured, the recipe."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, Any

from ruamel.yaml import YAML

from edgeglm.report.figures import format_bytes
from edgeglm.report.findings import artifact_name, host_note, is_rejected, step_name, written_artifacts
from edgeglm.report.markup import Child, Markup, clean, element, join

if TYPE_CHECKING:
    from edgeglm.report.types import Report

_DIGESTS = {
    "weights_sha256": "Weights",
    "data_sha256": "Data",
    "code_sha256": "Code of the recipe",
    "recipe_sha256": "Recipe",
}


def host_section(report: Report) -> Child:
    """Return the machine whose figures these are."""
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
        _facts(facts),
        element("details", element("summary", "Versions"), element("ul", *versions, class_="settings"))
        if versions
        else None,
    )


def origin_section(report: Report) -> Child:
    """Return what went in and what came out, each by its digest, and the recipe and lineage as they are kept."""
    lineage = report.lineage
    provenance = lineage.get("provenance")
    told: list[tuple[str, Child]] = []
    if isinstance(provenance, dict):
        told = [(str(key).replace("_", " ").capitalize(), str(value)) for key, value in provenance.items() if value]
    went_in: list[tuple[str, Child]] = [
        (label, element("code", _short(str(lineage[key]))))
        for key, label in _DIGESTS.items()
        if isinstance(lineage.get(key), str) and lineage[key]
    ]
    rejected = "rejected/" if is_rejected(report) else ""
    came_out: list[tuple[str, Child]] = [
        (artifact_name(side), join(element("code", rejected + side.path), " ", element("code", _short(side.sha256))))
        for side in written_artifacts(report)
    ]
    way = ["original", *(step_name(step) for step in report.steps), "export and quantize", "measure", "judge"]
    return join(
        element("ol", *(element("li", part) for part in way), class_="way"),
        *_group("Where the model comes from", told),
        *_group("What went in, by the start of its sha256", went_in),
        *_group("What came out", came_out),
        _folded("Resolved recipe", report.recipe),
        element("details", element("summary", "Lineage in full"), element("pre", _as_yaml(lineage)))
        if lineage
        else None,
    )


def _group(title: str, facts: list[tuple[str, Child]]) -> list[Child]:
    return [element("h3", title, class_="after"), _facts(facts)] if facts else []


def _folded(title: str, data: dict[str, Any]) -> Markup:
    return element("details", element("summary", title), element("pre", _as_yaml(data)))


def _facts(facts: list[tuple[str, Child]]) -> Markup:
    return element("dl", *(element("div", element("dt", name), element("dd", value)) for name, value in facts if value))


def _short(digest: str) -> str:
    return digest[:12]


def _as_yaml(data: dict[str, Any]) -> str:
    yaml = YAML()
    yaml.width = 100
    text = io.StringIO()
    yaml.dump(data, text)
    return clean(text.getvalue())
