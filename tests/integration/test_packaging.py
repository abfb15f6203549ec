"""What a user installs: wheels that hold everything, and nothing of the tests."""

from __future__ import annotations

import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def names(tmp_path_factory: pytest.TempPathFactory) -> dict[str, set[str]]:
    """Return distribution -> names in its wheel."""
    folder = tmp_path_factory.mktemp("wheels")
    for source in (ROOT, ROOT / "device_agents"):
        copy = folder / source.name
        ignored = {"--exclude=.venv", "--exclude=.git", "--exclude=build", "--exclude=*.egg-info"}
        copy.mkdir()
        pack = subprocess.run(["tar", "-C", source, *ignored, "-cf", "-", "."], check=True, capture_output=True)
        subprocess.run(["tar", "-C", copy, "-xf", "-"], input=pack.stdout, check=True)
        command = [sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "--no-build-isolation", "-w", folder, copy]
        subprocess.run(command, check=True, capture_output=True)
    return {path.name.split("-")[0]: set(zipfile.ZipFile(path).namelist()) for path in folder.glob("*.whl")}


def test_the_sdk_holds_every_module_recipe_and_data_file(names: dict[str, set[str]]) -> None:
    there = {
        str(path.relative_to(ROOT))
        for path in (ROOT / "edgeglm").rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    there |= {
        f"edgeglm/_recipes/{path.relative_to(ROOT / 'recipes')}"
        for path in (ROOT / "recipes").rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    packed = {name for name in names["edgeglm"] if ".dist-info/" not in name}
    assert packed == there


def test_the_agent_holds_its_own_modules_alone(names: dict[str, set[str]]) -> None:
    packed = {name for name in names["edgeglm_agent"] if ".dist-info/" not in name}
    assert "edgeglm_agent/wire.py" in packed
    assert all(name.startswith("edgeglm_agent/") for name in packed)
    assert not any(name.startswith("edgeglm/") for name in packed)
