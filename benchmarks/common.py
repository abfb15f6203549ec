"""What every benchmark shares: where results go, what machine measured, how a table is written."""

from __future__ import annotations

import json
import shutil
import subprocess
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from edgeglm.host import describe_host
from edgeglm.report.types import Drop

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from edgeglm.cache import Cache

HERE = Path(__file__).resolve().parent
RESULTS = HERE / "results"
WORK = HERE.parent / "build" / "benchmarks"


def commit(folder: Path) -> str:
    """Return the commit of the tree that holds a folder, with `+` when the tree differs from it.

    Pages and results do not count: benchmarks write them, and measure none of them.
    """

    def git(*arguments: str) -> str:
        return subprocess.run(["git", *arguments], cwd=folder, capture_output=True, text=True, check=False).stdout

    top = git("rev-parse", "--show-toplevel").strip()
    others = ("--", f"{top}/", ":(top,exclude)*.md", ":(top,exclude)benchmarks/results")
    dirty = git("status", "--porcelain", "--untracked-files=no", *others).strip()
    return git("rev-parse", "--short", "HEAD").strip() + ("+" if dirty else "")


COMMIT = commit(HERE)  # of the code that this process runs: taken once, before anything is written


def write_result(name: str, **figures: Any) -> Path:
    """Write `results/<name>.json` with the figures, the host, the commit and the moment."""
    RESULTS.mkdir(exist_ok=True)
    path = RESULTS / f"{name}.json"
    host = msgspec.to_builtins(describe_host())
    host = {key: host[key] for key in ("machine", "cpu", "cores", "features", "python", "versions")}
    result = {
        "benchmark": name,
        "commit": COMMIT,
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
        ours: `file`, `size_bytes`, `minutes`, `minutes_alone`, and `times`: the median milliseconds of each whole measurement.
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
        "minutes_alone": ours["minutes_alone"],
    }


def alone_minutes(recipe: Any, output: Path) -> float:
    """Return the minutes of a whole run of a recipe, with an empty cache; of one file, what a peer's minutes compare with.

    The libraries should be loaded, as they are when a peer's turn comes: the first run of a process does not count.

    Args:
        recipe: What ``edgeglm.compress`` takes.
        output: The folder of its result.
    """
    from edgeglm import compress
    from edgeglm.log import SilentLog

    cache = empty_cache()
    started = time.monotonic()
    compress(recipe, output=output, cache=cache, log=SilentLog())
    return (time.monotonic() - started) / 60


def empty_cache() -> Cache:
    """Return a cache that holds nothing, for what is timed."""
    from edgeglm.cache import Cache

    folder = WORK / "empty-cache"
    shutil.rmtree(folder, ignore_errors=True)
    return Cache(folder)


def add_alone(result: dict[str, Any], pairs: Iterable[dict[str, Any]], minutes: Mapping[str, float]) -> None:
    """Write the minutes of runs for one file into pairs of a recorded result, and when and of what they were measured."""
    for pair in pairs:
        pair["minutes_alone"] = minutes[pair["ours"]]
    result["alone"] = {"commit": COMMIT, "date": datetime.now(UTC).date().isoformat()}


def read_result(name: str) -> dict[str, Any]:
    """Return what was recorded."""
    return dict(json.loads((RESULTS / f"{name}.json").read_text()))


def rewrite_result(name: str, result: dict[str, Any]) -> None:
    """Write a recorded result that something was added to."""
    (RESULTS / f"{name}.json").write_text(json.dumps(result, indent=2, sort_keys=False) + "\n")
