"""What every benchmark shares: where results go, what machine measured, how a table is written."""

from __future__ import annotations

import json
import subprocess
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec

from edgeglm.host import describe_host
from edgeglm.report.types import Drop

HERE = Path(__file__).resolve().parent
RESULTS = HERE / "results"
WORK = HERE.parent / "build" / "benchmarks"


def commit() -> str:
    """Return the commit that is measured, with `+` when the tree differs from it."""
    head = subprocess.run(
        ["git", "rev-parse", "--short", "HEAD"], cwd=HERE, capture_output=True, text=True, check=False
    )
    dirty = subprocess.run(
        ["git", "status", "--porcelain", "--untracked-files=no"], cwd=HERE, capture_output=True, text=True, check=False
    )
    return head.stdout.strip() + ("+" if dirty.stdout.strip() else "")


def write_result(name: str, **figures: Any) -> Path:
    """Write `results/<name>.json` with the figures, the host, the commit and the moment."""
    RESULTS.mkdir(exist_ok=True)
    path = RESULTS / f"{name}.json"
    host = msgspec.to_builtins(describe_host())
    host = {key: host[key] for key in ("machine", "cpu", "cores", "features", "python", "versions")}
    result = {
        "benchmark": name,
        "commit": commit(),
        "date": datetime.now(UTC).date().isoformat(),
        "host": host,
        **figures,
    }
    path.write_text(json.dumps(msgspec.to_builtins(result), indent=2, sort_keys=False) + "\n")
    print(f"wrote {path.relative_to(HERE.parent)}")
    return path


def beside(ours: dict[str, Any], peer: dict[str, Any], lost: Drop) -> dict[str, Any]:
    """Return how a file of ours stands to one that a library made by itself.

    Args:
        ours: `file`, `size_bytes`, `minutes`, and `times`: the median milliseconds of each whole measurement.
        peer: The same of the other file, from the same measurements.
        lost: By how much ours answers worse than the peer's on the same samples.

    Returns:
        `smaller`: its bytes over ours; `faster`: its time over ours in each measurement, lowest first.
    """
    return {
        "peer": peer["file"],
        "ours": ours["file"],
        "smaller": peer["size_bytes"] / ours["size_bytes"],
        "faster": sorted(its / own for own, its in zip(ours["times"], peer["times"], strict=True)),
        "lost": {"value": lost.value, "ci95": lost.ci95, "n": lost.n},
        "minutes": [ours["minutes"], peer["minutes"]],
    }
