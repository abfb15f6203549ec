"""What a user installs: wheels that hold everything, and nothing of the tests."""

from __future__ import annotations

import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from edgeglm_agent import __version__

ROOT = Path(__file__).parents[2]


_NOT_PACKED = (".venv", ".git", "build", "*.egg-info", "__pycache__", ".coverage*", ".*_cache", ".hypothesis")


@pytest.fixture(scope="module")
def names(tmp_path_factory: pytest.TempPathFactory) -> dict[str, set[str]]:
    """Return distribution -> names in its wheel."""
    folder = tmp_path_factory.mktemp("wheels")
    for source in (ROOT, ROOT / "device_agents"):
        copy = folder / source.name
        # what other tests write into the tree at the same time is left out
        shutil.copytree(source, copy, ignore=shutil.ignore_patterns(*_NOT_PACKED), symlinks=True)
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
    assert "edgeglm_agent/wire/manifest.py" in packed
    units = {name for name in packed if not name.startswith("edgeglm_agent/")}
    beside_bin = f"edgeglm_agent-{__version__}.data/data/share/edgeglm-agent/systemd"
    assert units == {f"{beside_bin}/{path.name}" for path in (ROOT / "device_agents" / "systemd").iterdir()}
