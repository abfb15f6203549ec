"""Run Olive's OnnxDynamicQuantization (QInt8, per channel) on one file; needs an environment of its own.

python3.11 -m venv olive && olive/bin/pip install olive-ai==0.13.0 onnxruntime==1.31.1 requests torch==2.13.0
"""

from __future__ import annotations

import shutil
import sys
import tempfile
from pathlib import Path

from olive import run


def main(source: str, target: str) -> None:
    """Write the quantized file."""
    with tempfile.TemporaryDirectory() as folder:
        run(
            {
                "input_model": {"type": "ONNXModel", "model_path": source},
                "systems": {
                    "host": {"type": "LocalSystem", "accelerators": [{"execution_providers": ["CPUExecutionProvider"]}]}
                },
                "passes": {"quantize": {"type": "OnnxDynamicQuantization", "precision": "int8", "per_channel": True}},
                "host": "host",
                "target": "host",
                "output_dir": folder,
                "cache_dir": f"{folder}/cache",
            }
        )
        (written,) = [path for path in Path(folder).rglob("*.onnx") if "cache" not in path.parts]
        shutil.copy(written, target)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2])
