"""Every shipped recipe, run through the command line: with little training here, in full among the long tests."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from edgeglm.shipped import shipped_recipes

FOLDERS = {name: folder for name, folder, _ in shipped_recipes()}
# what makes a run short: the answers are worse then, the way is the same
SHORT: dict[str, list[str]] = {
    "digits-cnn": ["steps[1].distill.epochs=3"],
    "digits-dscnn": ["steps[1].distill.epochs=3"],
    "tabular-mlp": ["steps[1].distill.epochs=5"],
    "tabular-tabnet": [],
    "vibration-lstm": ["steps[1].distill.epochs=1"],
    "digits-segmentation": ["steps[1].distill.epochs=1"],
    "minilm": [],
    "minilm-small": [],
}
UNHURRIED = "budget.min_speedup=0.01"  # a busy machine is no fault of the recipe


def compress(name: str, folder: Path, *overrides: str) -> tuple[int, dict, str]:
    """Return exit code, report and stderr of one run with a cache of its own."""
    settings = [part for override in overrides for part in ("--set", override)]
    done = subprocess.run(
        [sys.executable, "-m", "edgeglm", "compress", FOLDERS[name] / "recipe.yaml", "-o", folder / "out", *settings],
        env=os.environ | {"EDGEGLM_CACHE": str(folder / "cache")},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode in (0, 3), done.stderr
    return done.returncode, json.loads((folder / "out" / "report.json").read_text()), done.stderr


@pytest.mark.parametrize("name", FOLDERS)
def test_it_runs_and_every_file_is_smaller_and_answers_as_its_network(name: str, tmp_path: Path) -> None:
    _, report, stderr = compress(name, tmp_path, UNHURRIED, "on_violation=best-effort", *SHORT[name])
    assert "Traceback" not in stderr
    assert report["artifacts"]
    for artifact in report["artifacts"]:
        assert artifact["size_ratio"] > 1
        assert artifact["parity"]["passed"]
    inspected = subprocess.run(
        [sys.executable, "-m", "edgeglm", "inspect", tmp_path / "out"], capture_output=True, text=True, check=False
    )
    assert inspected.returncode == 0, inspected.stderr
    assert inspected.stdout.count("golden      passed") == len(report["artifacts"])


@pytest.mark.full
@pytest.mark.parametrize("name", FOLDERS)
def test_in_full_it_meets_its_budget(name: str, tmp_path: Path) -> None:
    code, report, stderr = compress(name, tmp_path, UNHURRIED)
    assert code == 0, stderr
    assert report["budget"]["met"] is True, report["budget"]
