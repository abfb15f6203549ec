"""Run Olive's OnnxStaticQuantization (s8 weights a channel, u8 activations) on one file; see olive_dynamic.py.

Calibration samples lie in a .npz: one array an input, first axis samples.
"""

from __future__ import annotations

import shutil
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from olive import run
from olive.data.registry import Registry


class Samples:
    """Rows of the arrays, each with a label that nobody reads, as Olive wants them."""

    def __init__(self, path: str) -> None:
        self.arrays = dict(np.load(path))

    def __len__(self) -> int:
        return len(next(iter(self.arrays.values())))

    def __getitem__(self, row: int) -> tuple[dict[str, np.ndarray], int]:
        return {name: values[row] for name, values in self.arrays.items()}, 0


@Registry.register_dataset()
def calibration_samples(path: str, **_: Any) -> Samples:
    """Return the samples of a file."""
    return Samples(path)


def main(source: str, samples: str, target: str) -> None:
    """Write the quantized file."""
    with tempfile.TemporaryDirectory() as folder:
        run(
            {
                "input_model": {"type": "ONNXModel", "model_path": source},
                "data_configs": [
                    {
                        "name": "calibration",
                        "load_dataset_config": {"type": "calibration_samples", "params": {"path": samples}},
                        "dataloader_config": {"params": {"batch_size": 1}},
                    }
                ],
                "systems": {
                    "host": {"type": "LocalSystem", "accelerators": [{"execution_providers": ["CPUExecutionProvider"]}]}
                },
                "passes": {
                    "quantize": {
                        "type": "OnnxStaticQuantization",
                        "precision": "int8",
                        "activation_type": "uint8",
                        "per_channel": True,
                        "data_config": "calibration",
                    }
                },
                "host": "host",
                "target": "host",
                "output_dir": folder,
                "cache_dir": f"{folder}/cache",
            }
        )
        (written,) = [path for path in Path(folder).rglob("*.onnx") if "cache" not in path.parts]
        shutil.copy(written, target)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], sys.argv[3])
