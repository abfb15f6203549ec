"""Run every benchmark whose data is there, then write the table of docs/benchmarks.md from benchmarks/results/."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
BENCHMARKS = {  # script -> what of EDGEGLM_BENCH_DATA it needs
    "own_cost": "",
    "agent_wire": "",
    "agent_engines": "",
    "agent_overhead": "",
    "agent_hot_path": "",
    "agent_http": "",
    "agent_lifetime": "",
    "agent_arm64": "",
    "fleet_collector": "",
    "fleet_scale": "",
    "fleet_page": "",
    "fleet_week": "",
    "drift_rates": "",
    "shapes": "",
    "recipes": "",
    "minilm": "",
    "minilm_pareto": "sst2",
    "resnet56": "resnet-cifar10/resnet56.safetensors",
    "own_networks": "fsdd",
    "mlperf_tiny": "mlperf-tiny",
    "onnx_sources": "onnx",
    "bearing": "cwru",
}


def main() -> None:
    """Run the benchmarks in turn; a failure stops."""
    data = Path(os.environ.get("EDGEGLM_BENCH_DATA", HERE.parents[1] / "shared" / "data"))
    for name, needed in BENCHMARKS.items():
        if needed and not (data / needed).exists():
            print(f"{name}: no data in {data}; set EDGEGLM_BENCH_DATA", file=sys.stderr)
            continue
        print(f"== {name}", flush=True)
        subprocess.run([sys.executable, str(HERE / f"{name}.py")], check=True)
    subprocess.run([sys.executable, str(HERE / "table.py")], check=True)


if __name__ == "__main__":
    main()
