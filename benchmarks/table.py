"""Write the tables of docs/benchmarks.md and docs/scaling.md from the JSON files in results/; `--check` only compares."""

from __future__ import annotations

import json
import sys
from typing import Any

import table_agent as agent
import table_fleet as fleet
import table_images as images
import table_overhead as overhead
import table_peers as peers
import table_scaling as scaling
import table_sources as sources
import table_texts as texts
from common import HERE, RESULTS
from table_rows import head, row

DOCS = HERE.parent / "docs"
MAKERS = {  # result -> lines of what is asked, table
    "resnet56": (images.asked_resnet56, images.resnet56),
    "shapes": (images.asked_shapes, images.shapes),
    "minilm": (texts.asked_minilm, texts.minilm),
    "minilm_pareto": (texts.asked_minilm_pareto, texts.minilm_pareto),
    "own_networks": (peers.asked_own_networks, peers.own_networks),
    "mlperf_tiny": (sources.asked_mlperf_tiny, sources.mlperf_tiny),
    "onnx_sources": (sources.asked_onnx_sources, sources.onnx_sources),
    "bearing": (sources.asked_bearing, sources.bearing),
    "own_cost": (images.asked_own_cost, images.own_cost),
    "agent_engines": (agent.asked_agent_engines, agent.agent_engines),
    "agent_overhead": (overhead.asked, overhead.table),
    "agent_wire": (agent.asked_agent_wire, agent.agent_wire),
    "agent_memory": (agent.asked_agent_memory, agent.agent_memory),
    "agent_arm64": (agent.asked_agent_arm64, agent.agent_arm64),
    "agent_idle": (agent.asked_agent_idle, agent.agent_idle),
    "agent_killed": (agent.asked_agent_killed, agent.agent_killed),
    "agent_http": (agent.asked_agent_http, agent.agent_http),
    "fleet_collector": (fleet.asked_collector, fleet.collector),
    "fleet_collector_postgresql": (fleet.asked_postgresql, fleet.postgresql),
    "fleet_connected": (fleet.asked_connected, fleet.connected),
    "fleet_scale": (fleet.asked_scale, fleet.scale),
    "fleet_page": (fleet.asked_page, fleet.page),
    "fleet_week": (fleet.asked_week, fleet.week),
    "fleet_killed": (fleet.asked_killed, fleet.killed),
}


def main() -> None:
    """Put the tables between the marks of the documents."""
    results = {path.stem: json.loads(path.read_text()) for path in sorted(RESULTS.glob("*.json"))}
    makers = {
        "benchmarks.md": {"tables": tables},
        "scaling.md": {"figures": scaling.figures, "million": scaling.million},
    }
    for name, marked in makers.items():
        made = text = (DOCS / name).read_text()
        for mark, make in marked.items():
            made = between(made, mark, make(results))
        if "--check" not in sys.argv:
            (DOCS / name).write_text(made)
        elif made != text:
            sys.exit(f"{name} is not what benchmarks/results gives: run benchmarks/table.py")


def between(text: str, mark: str, made: str) -> str:
    """Return a document with other lines between two marks."""
    begin, end = f"<!-- {mark}: begin -->", f"<!-- {mark}: end -->"
    before, _, rest = text.partition(begin)
    _, _, tail = rest.partition(end)
    return f"{before}{begin}\n\n{made}\n{end}{tail}"


def tables(results: dict[str, dict[str, Any]]) -> str:
    """Return all tables as Markdown."""
    parts = [asked(results)] + ([peers.peers(results)] if peers.pairs(results) else [])
    parts += [table(results[name]) for name, (_, table) in MAKERS.items() if name in results]
    return "\n".join(f"{part}\n" for part in parts)


def asked(results: dict[str, dict[str, Any]]) -> str:
    """Return what is asked of each benchmark, what was measured, and whether that suffices."""
    lines = ["### What is asked, and what came out", "", *head("benchmark", "must (strive for)", "measured", "")]
    for name, (asks, _) in MAKERS.items():
        lines += [row(*line) for line in asks(results[name])] if name in results else []
    lines += [row(*line) for line in [*overhead.asked_supervisor(results), *peers.asked_peers(results)]]
    return "\n".join(lines)


if __name__ == "__main__":
    main()
