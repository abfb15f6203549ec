"""What edgeglm costs on top of the libraries: a two-step recipe against the same library calls in one script.

Both do the same work on the same network and data with the same settings: build, prune (torch-pruning), fine-tune,
export FP32 and INT8 ONNX, predict the evaluation split with original and result, time both files. Runs alternate, each
a fresh process. `cold` has an empty cache of steps and artifacts, `cached` is the same command again.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from statistics import median

from common import HERE, WORK, write_result

RUNS = 5
FOLDER = HERE / "own_cost"


def timed(command: list[str], environment: dict[str, str]) -> float:
    """Return the seconds of one whole process."""
    start = time.perf_counter()
    subprocess.run(command, check=True, env=os.environ | environment, cwd=FOLDER, capture_output=True)
    return time.perf_counter() - start


def main() -> None:
    """Alternate the script, cold runs and cached runs; then `--help` against a bare import of typer and rich."""
    cache = WORK / "own-cost-cache"
    edgeglm = [sys.executable, "-m", "edgeglm", "compress", "recipe.yaml", "-o", str(WORK / "own-cost")]
    script = [sys.executable, "script.py", str(WORK / "own-cost-script")]
    seconds: dict[str, list[float]] = {"script": [], "cold": [], "cached": []}
    for run in range(RUNS + 1):
        kept = {"EDGEGLM_CACHE": str(cache)}
        shutil.rmtree(cache, ignore_errors=True)
        figures = {"script": timed(script, {}), "cold": timed(edgeglm, kept), "cached": timed(edgeglm, kept)}
        if run:  # the first warms the file cache
            for name, value in figures.items():
                seconds[name].append(value)
    starts: dict[str, list[float]] = {"help": [], "bare": []}
    for run in range(21):
        figures = {
            "help": timed([sys.executable, "-m", "edgeglm", "--help"], {}),
            "bare": timed([sys.executable, "-c", "import typer, rich"], {}),
        }
        if run:
            for name, value in figures.items():
                starts[name].append(value)
    write_result(
        "own_cost",
        seconds={name: sorted(values) for name, values in seconds.items()},
        cold_ratio=sorted(a / b for a, b in zip(seconds["cold"], seconds["script"], strict=True)),
        cached_ratio=sorted(a / b for a, b in zip(seconds["cached"], seconds["script"], strict=True)),
        help_seconds={name: median(values) for name, values in starts.items()},
        help_ratio=sorted(a / b for a, b in zip(starts["help"], starts["bare"], strict=True)),
    )


if __name__ == "__main__":
    main()
