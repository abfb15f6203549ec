"""Every shipped recipe in full, some whole runs each: writes results/recipes.json and the tables of their pages.

`recipes.py [NAME ...]` runs those named, or all; `--tables` only writes the tables again; `--check` compares them.
Runs after the first take steps, artifacts and answers from the cache, and measure speed and memory anew.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
from datetime import UTC, datetime
from statistics import median
from typing import Any

import msgspec
from common import COMMIT, HERE, RESULTS, WORK, write_result

from edgeglm.cache import Cache
from edgeglm.report.figures import change_of, format_bytes, format_metric, format_points, format_ratio, format_seconds
from edgeglm.report.types import Drop, Metric
from edgeglm.shipped import shipped_recipes

RUNS = 3
RECIPES = HERE.parent / "recipes"
INDEX = HERE.parent / "docs" / "shipped-recipes.md"
BEGIN, END = "<!-- table: begin -->", "<!-- table: end -->"
ALSO = {  # of metrics_extra, what the tables tell beside the metric
    "cosine_min": lambda value: f"least {value:.3f}",
    "neighbour_agreement_1": lambda value: f"same neighbour {value:.1%}",
    "spearman": lambda value: f"Spearman {value:.3f}",
}
COLUMNS = {  # of metrics_extra, what has a column of its own: what anomaly detection by a limit comes to
    "detection_rate": ("found", "{:.1%}".format),
    "false_alarm_rate": ("false alarms", "{:.1%}".format),
    "detection_delay_s": ("delay", format_seconds),
    "lead_time_s": ("lead", format_seconds),
}
FORMATS = {"onnx": "ONNX", "tflite": "TFLite", "openvino": "OpenVINO"}


def main() -> None:
    """Run, or only write or compare the tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME")
    parser.add_argument(
        "--cached", action="store_true", help="take what your cache has; times of whole runs are left out"
    )
    parser.add_argument("--runs", type=int, default=RUNS)
    parser.add_argument("--tables", action="store_true")
    parser.add_argument("--check", action="store_true")
    chosen = parser.parse_args()
    if not (chosen.tables or chosen.check):
        measured = known()
        for name in chosen.names or [name for name, _, _ in shipped_recipes()]:
            measured[name] = measure(name, runs=chosen.runs, cached=chosen.cached)
            write_result("recipes", recipes=dict(sorted(measured.items())))
    stale = [path for path, text in pages(known()).items() if path.read_text() != text]
    if chosen.check:
        names = ", ".join(str(path.relative_to(HERE.parent)) for path in stale)
        sys.exit(f"{names}: not what results/recipes.json gives; run benchmarks/recipes.py --tables" if stale else 0)
    for path, text in pages(known()).items():
        path.write_text(text)


def known() -> dict[str, Any]:
    """Return what was measured so far, by name of the recipe."""
    path = RESULTS / "recipes.json"
    return dict(json.loads(path.read_text())["recipes"]) if path.is_file() else {}


def measure(name: str, *, runs: int, cached: bool) -> dict[str, Any]:
    """Return the figures of one recipe; the first run says how long it takes with an empty cache."""
    print(f"== {name}", flush=True)
    cache = Cache().folder if cached else WORK / "recipes-cache"
    if not cached:
        shutil.rmtree(cache, ignore_errors=True)
    reports = []
    for _ in range(runs):
        command = [sys.executable, "-m", "edgeglm", "compress", str(RECIPES / name / "recipe.yaml"), "--json"]
        done = subprocess.run(
            [*command, "-o", str(WORK / "recipes" / name)],
            env=os.environ | {"EDGEGLM_CACHE": str(cache)},
            stdout=subprocess.PIPE,
            check=False,
        )
        if done.returncode not in (0, 3):  # 3: a line of the budget was missed on this host, and the figures say so
            sys.exit(f"{name} failed")
        reports.append(json.loads(done.stdout))
    return figures(reports, whole=not cached)


def figures(reports: list[dict[str, Any]], *, whole: bool) -> dict[str, Any]:
    """Return what the tables tell of some runs of one recipe; ``whole``: the first began with an empty cache."""
    first = reports[0]
    host = first["host"]
    return {
        "date": datetime.now(UTC).date().isoformat(),
        "commit": COMMIT,
        "cpu": f"{host['machine']}, {host['cpu']}",
        "seconds": round(first["seconds"]) if whole else None,
        "budget": first["budget"],
        "baseline": side(first["baseline"]),
        "compressed": {"step": first["steps"][-1]["step"], **side(first["steps"][-1])} if first["steps"] else None,
        "artifacts": [
            {
                "path": artifact["path"],
                "format": artifact["format"],
                "scheme": artifact["scheme"],
                **side(artifact),
                "size_ratio": artifact["size_ratio"],
                "speedup": sorted(
                    other["speedup"]
                    for report in reports
                    for other in report["artifacts"]
                    if other["path"] == artifact["path"]
                ),
            }
            for artifact in first["artifacts"]
        ],
    }


def side(measured: dict[str, Any]) -> dict[str, Any]:
    """Return what the tables tell of one side of a report."""
    kept = {key: measured.get(key) for key in ("size_bytes", "peak_rss_bytes", "metric", "drop")}
    latency = measured.get("latency_ms")
    return {**kept, "metrics_extra": measured["metrics_extra"], "p50_ms": latency and latency["p50"]}


def pages(results: dict[str, Any]) -> dict[Any, str]:
    """Return path -> text of every page that holds a table."""
    made = {}
    for name, folder, _ in shipped_recipes():
        path = folder / "README.md"
        made[path] = between(path.read_text(), table(results[name]) if name in results else "Not measured yet.")
    made[INDEX] = between(INDEX.read_text(), index(results))
    return made


def between(text: str, table: str) -> str:
    """Return the text with the table between its marks."""
    head, _, rest = text.partition(BEGIN)
    _, _, tail = rest.partition(END)
    return f"{head}{BEGIN}\n{table}\n{END}{tail}"


def table(result: dict[str, Any]) -> str:
    """Return the table of one recipe: the original, what the steps leave, every artifact."""
    base = result["baseline"]
    metric = f"{base['metric']['name']} (n = {base['metric']['n']})"
    columns = [name for name in COLUMNS if name in base["metrics_extra"]]
    titles = [COLUMNS[name][0] for name in columns]
    lines = [
        row("", "size", "faster, 1 thread", "peak memory", metric, "change [95 %]", *titles, ""),
        row(*["---"] * (7 + len(columns))),
        row("original, FP32 ONNX", format_bytes(base["size_bytes"]), "1x", *quality(base, columns)),
    ]
    if (left := result["compressed"]) is not None:
        faster = format_ratio(base["p50_ms"] / left["p50_ms"]) if left["p50_ms"] else ""
        lines.append(row(f"after `{left['step']}`, FP32 ONNX", smaller(left, base), faster, *quality(left, columns)))
    for artifact in result["artifacts"]:
        name = f"{FORMATS[artifact['format']]}, {artifact['scheme']}"
        lines.append(row(name, smaller(artifact, base), spread(artifact["speedup"]), *quality(artifact, columns)))
    took = f"{result['seconds']} s in all; " if result["seconds"] else ""
    lines += ["", f"{result['cpu']}; {took}{result['date']}, commit {result['commit']}. {verdict(result)}"]
    if all(line.endswith("|  |") for line in lines[2:-2]):  # nothing else is told of any: no column for it
        lines = [line.removesuffix("  |").removesuffix(" --- |") for line in lines[:-2]] + lines[-2:]
    return "\n".join(lines)


def verdict(result: dict[str, Any]) -> str:
    """Return a sentence on the budget."""
    missed = [line["message"] for line in result["budget"]["violations"]]
    undecided = [line["message"] for line in result["budget"]["undecided"]]
    if missed:
        return "Missed: " + "; ".join(missed)
    return "Undecided: " + "; ".join(undecided) if undecided else "Every line of the budget is met."


def quality(side: dict[str, Any], columns: list[str]) -> tuple[str, ...]:
    """Return memory, metric, its change against the original, a cell for each column, and what else is worth telling."""
    metric = msgspec.convert(side["metric"], Metric)
    memory = format_bytes(side["peak_rss_bytes"]) if side["peak_rss_bytes"] else ""
    change = ""
    if side["drop"] is not None:
        value, (low, high) = change_of(msgspec.convert(side["drop"], Drop), metric)
        ends = [format_points(metric.name, end, unit=False) for end in (low, high)]
        change = f"{format_points(metric.name, value)} [{ends[0]}, {ends[1]}]"
    also = ", ".join(tell(side["metrics_extra"][name]) for name, tell in ALSO.items() if name in side["metrics_extra"])
    extra = side["metrics_extra"]
    cells = [COLUMNS[name][1](extra[name]) if name in extra else "" for name in columns]
    return memory, format_metric(metric.name, metric.value), change, *cells, also


def smaller(side: dict[str, Any], base: dict[str, Any]) -> str:
    """Return a size and how many times it fits into the original's."""
    return f"{format_bytes(side['size_bytes'])}, {format_ratio(base['size_bytes'] / side['size_bytes'])} smaller"


def spread(values: list[float]) -> str:
    """Return the median of some measurements, and their range."""
    if len(values) == 1:
        return format_ratio(values[0])
    return f"{format_ratio(median(values))} ({format_ratio(values[0])} to {format_ratio(values[-1])})"


def index(results: dict[str, Any]) -> str:
    """Return the table of all recipes, each with its first artifact: the one that a board would take."""
    lines = [row("recipe", "what", "best artifact", "smaller", "faster", "metric, before and after"), row(*["---"] * 6)]
    for name, _, summary in shipped_recipes():
        link = f"[{name}](../recipes/{name}/README.md)"
        if name not in results:
            lines.append(row(link, summary, "", "", "", ""))
            continue
        best, base = results[name]["artifacts"][0], results[name]["baseline"]
        values = " to ".join(format_metric(s["metric"]["name"], s["metric"]["value"]) for s in (base, best))
        lines.append(
            row(
                link,
                summary,
                f"{FORMATS[best['format']]}, {best['scheme']}",
                format_ratio(best["size_ratio"]),
                format_ratio(median(best["speedup"])),
                f"{base['metric']['name']} {values}",
            )
        )
    return "\n".join(lines)


def row(*cells: object) -> str:
    """Return one row."""
    return "| " + " | ".join(str(cell) for cell in cells) + " |"


if __name__ == "__main__":
    main()
