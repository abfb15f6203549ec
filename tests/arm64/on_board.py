"""What runs on the emulated board, and on this machine beside it: on_board.py FORMAT OUT RESULT...

Each folder is a result of `edgeglm compress` with `samples.json` in it. Its artifact of that format is loaded as a
worker loads it, golden samples and all, and answers the samples; inputs, outputs and answers go to OUT, and what was
loaded to stdout. Imports the agent alone.
"""

from __future__ import annotations

import json
import platform
import sys
from pathlib import Path

import numpy as np
from edgeglm_agent.results.plain import encode_answer, plain_result
from edgeglm_agent.settings.types import InputConfig, Slot
from edgeglm_agent.wire import decode_manifest
from edgeglm_agent.worker.model import load_model


def main(file_format: str, out: Path, *results: Path) -> None:
    """Answer the samples of every result."""
    told = {}
    for folder in results:
        manifest = decode_manifest((folder / "manifest.json").read_bytes())
        paths = [artifact.path for artifact in manifest.artifacts if artifact.format == file_format]
        slot = Slot(model=str(folder), input=InputConfig(), artifacts=paths)
        model = load_model(folder, slot=slot, state_dir=out / "state" / folder.name)
        document = json.loads((folder / "samples.json").read_text())
        samples = [s if document["dtype"] == "str" else np.array(s, document["dtype"]) for s in document["samples"]]
        rows, answers = [], []
        for sample in samples:
            outputs, inputs = model.infer(sample)
            rows.append({f"input.{k}": v for k, v in inputs.items()} | {f"output.{k}": v for k, v in outputs.items()})
            answers.append(plain_result(model.judge(outputs, inputs, sample))[0])
        np.savez(out / f"{folder.name}.npz", **{key: np.concatenate([row[key] for row in rows]) for key in rows[0]})
        (out / f"{folder.name}.json").write_bytes(encode_answer(answers))
        told[folder.name] = model.describe()
    python = ".".join(map(str, sys.version_info[:2]))
    print(json.dumps({"models": told, "python": python, "arch": platform.machine()}))


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), *map(Path, sys.argv[3:]))
