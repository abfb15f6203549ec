"""What a user installs: wheels that hold everything, and nothing of the tests."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from edgeglm_agent import __version__

from tests.support.model_folders import write_best
from tests.support.uncovered import uncovered

ROOT = Path(__file__).parents[2]


_NOT_PACKED = (".venv", ".git", "build", "*.egg-info", "__pycache__", ".coverage*", ".*_cache", ".hypothesis")


@pytest.fixture(scope="module")
def wheels(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Return distribution -> its wheel."""
    folder = tmp_path_factory.mktemp("wheels")
    for source in (ROOT, ROOT / "device_agents"):
        copy = folder / source.name
        # what other tests write into the tree at the same time is left out
        shutil.copytree(source, copy, ignore=shutil.ignore_patterns(*_NOT_PACKED), symlinks=True)
        command = [sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "--no-build-isolation", "-w", folder, copy]
        subprocess.run(command, check=True, capture_output=True)
    return {path.name.split("-")[0]: path for path in folder.glob("*.whl")}


@pytest.fixture(scope="module")
def names(wheels: dict[str, Path]) -> dict[str, set[str]]:
    """Return distribution -> names in its wheel."""
    return {name: set(zipfile.ZipFile(path).namelist()) for name, path in wheels.items()}


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


def test_the_page_on_installing_names_the_wheel_that_a_clone_gives(wheels: dict[str, Path]) -> None:
    page = (ROOT / "docs" / "agent" / "install.md").read_text(encoding="utf-8")
    assert set(re.findall(r"edgeglm_agent-[\w.-]+\.whl", page)) == {wheels["edgeglm_agent"].name}


@pytest.mark.full
def test_what_the_pages_install_from_a_clone_works_in_an_environment_that_has_nothing(tmp_path: Path) -> None:
    clone, programs = tmp_path / "clone", tmp_path / "env" / "bin"
    shutil.copytree(ROOT, clone, ignore=shutil.ignore_patterns(*_NOT_PACKED), symlinks=True)
    subprocess.run([sys.executable, "-m", "venv", programs.parent], check=True)
    (command,) = re.findall(r"^\$ (pip install -c .*)", (ROOT / "docs" / "agent.md").read_text(), re.MULTILINE)
    assert command in (ROOT / "README.md").read_text()
    environment = uncovered() | {"PATH": f"{programs}:/usr/bin:/bin"}
    environment.pop("PYTHONPATH", None)  # nothing of the tree

    def typed(line: str) -> str:
        done = subprocess.run(
            line, shell=True, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, f"{line}\n{done.stdout}{done.stderr}"
        return done.stdout

    typed(command.replace("CLONE", str(clone)))  # pip makes a wheel of each
    write_best(tmp_path / "model", labels=tuple("abcde"))
    (tmp_path / "agent.toml").write_text(
        'device = "new"\nstate_dir = "state"\nruntime_dir = "run"\n'
        '[slots.main]\nmodel = "model"\ninput = {kind = "directory", path = "inbox"}\n'
    )
    (tmp_path / "inbox").mkdir()
    assert typed("edgeglm --version") == f"edgeglm {__version__}\n"
    assert "selftest" in typed("edgeglm-agent --help")
    assert typed("edgeglm-agent selftest agent.toml").startswith("ok    main  tiny")
    assert "digits-cnn" in typed("edgeglm recipes")  # data that travels in the wheel
    for name in ("edgeglm", "edgeglm_agent"):
        assert str(programs.parent) in typed(f"python -c 'import {name}; print({name}.__file__)'")
