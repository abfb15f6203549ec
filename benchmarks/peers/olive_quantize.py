"""Quantize one file by Olive, INT8 with a scale a channel; needs an environment of its own.

python3.11 -m venv olive && olive/bin/pip install olive-ai==0.13.0 onnxruntime==1.31.1 requests torch==2.13.0

Use: olive_quantize.py SOURCE TARGET [SAMPLES]. With SAMPLES (a .npz: one array an input, first axis samples) by
OnnxStaticQuantization with u8 activations, calibrated on them; without by OnnxDynamicQuantization.
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


def quantization(samples: str | None) -> dict[str, Any]:
    """Return the pass, and where it is calibrated the data of it."""
    settings = {"precision": "int8", "per_channel": True}
    if samples is None:
        return {"passes": {"quantize": {"type": "OnnxDynamicQuantization", **settings}}}
    settings |= {"activation_type": "uint8", "data_config": "calibration"}
    dataset = {"type": "calibration_samples", "params": {"path": samples}}
    return {
        "passes": {"quantize": {"type": "OnnxStaticQuantization", **settings}},
        "data_configs": [
            {
                "name": "calibration",
                "load_dataset_config": dataset,
                "dataloader_config": {"params": {"batch_size": 1}},
            }
        ],
    }


def main(source: str, target: str, samples: str | None = None) -> None:
    """Write the quantized file."""
    host = {"type": "LocalSystem", "accelerators": [{"execution_providers": ["CPUExecutionProvider"]}]}
    with tempfile.TemporaryDirectory() as folder:
        run(
            {
                "input_model": {"type": "ONNXModel", "model_path": source},
                "systems": {"host": host},
                "host": "host",
                "target": "host",
                "output_dir": folder,
                "cache_dir": f"{folder}/cache",
                **quantization(samples),
            }
        )
        (written,) = [path for path in Path(folder).rglob("*.onnx") if "cache" not in path.parts]
        shutil.copy(written, target)


if __name__ == "__main__":
    main(*sys.argv[1:])
