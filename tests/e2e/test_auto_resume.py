"""kill -9 while `auto` looks for the best file, then the same again: the same candidates, trials and files."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]


def start(folder: Path) -> subprocess.Popen[str]:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("COVERAGE")}
    command = [sys.executable, "-m", "tests.support.killed_search", str(folder)]
    return subprocess.Popen(command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, text=True)


def outcome(folder: Path) -> dict[str, Any]:
    report = json.loads((folder / "out" / "report.json").read_text())
    manifest = json.loads((folder / "out" / "manifest.json").read_text())
    return {
        "candidates": sorted((side["scheme"], side["sha256"]) for side in report["artifacts"]),
        "metrics": sorted((side["sha256"], side["metric"]["value"]) for side in report["artifacts"]),
        "sensitivity": [side["sensitivity"] for side in report["artifacts"] if side["sensitivity"]],
        "formats": [artifact["format"] for artifact in manifest["artifacts"]],
    }


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    folder = tmp_path_factory.mktemp("whole")
    process = start(folder)
    process.communicate()
    assert process.returncode == 0
    return outcome(folder)


@pytest.mark.full
def test_a_search_that_is_killed_twice_ends_as_if_it_had_not_been(
    tmp_path: Path, uninterrupted: dict[str, Any]
) -> None:
    for moment in ("artifacts[0]: candidate 2", "2 of 5"):
        process = start(tmp_path)
        assert process.stdout is not None
        assert any(line.startswith(moment) for line in process.stdout), "it ended before it was killed"
        process.kill()
        process.communicate()
        assert not (tmp_path / "out" / "manifest.json").exists()
    done = len(list((tmp_path / "cache" / "sensitivity").glob("*/done.json")))
    assert done >= 2  # what was tried is known already
    last = start(tmp_path)
    last.communicate()
    assert last.returncode == 0
    assert outcome(tmp_path) == uninterrupted
