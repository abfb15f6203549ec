"""Run `auto` on the network with an outlier, and say on stdout what is being done: a test kills this.

python -m tests.support.killed_search FOLDER
"""

from __future__ import annotations

import sys
from pathlib import Path

from edgeglm import compress
from edgeglm.cache import Cache
from edgeglm.log import SilentLog
from tests.support.outlier import digits, outlier_network


class Said(SilentLog):
    """Prints stages and progress, at once."""

    def stage(self, text: str) -> None:
        print(text, flush=True)

    def progress(self, done: int, total: int, **_: float) -> None:
        print(f"{done} of {total}", flush=True)


if __name__ == "__main__":
    folder = Path(sys.argv[1])
    data = digits()
    compress(
        {
            "name": "killed",
            "task": {"kind": "classification"},
            "artifacts": [{"format": "onnx", "quantize": "auto"}],
            "budget": {"metric_drop": 0.03},
            "threads": 1,
        },
        model=outlier_network(data),
        data=data,
        output=folder / "out",
        cache=Cache(folder / "cache"),
        log=Said(),
    )
