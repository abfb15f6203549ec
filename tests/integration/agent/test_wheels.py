"""For every extra and every Python there are wheels for the boards: nothing is compiled where nothing can compile."""

from __future__ import annotations

import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement

ROOT = Path(__file__).resolve().parents[3]
PROJECT = tomllib.loads((ROOT / "device_agents" / "pyproject.toml").read_text())["project"]
EXTRAS = ("", *PROJECT["optional-dependencies"])
PYTHONS = ("3.10", "3.11", "3.12", "3.13")
WITHOUT = {("tflite", "3.12"), ("tflite", "3.13")}  # LiteRT's predecessor ended with Python 3.11
# pip takes a wheel for one of the platforms that are named, and no older one. JetPack 6 has glibc 2.35, bookworm 2.36
PLATFORMS = [f"manylinux_2_{minor}_aarch64" for minor in (35, 34, 31, 28, 27, 26, 24, 17)] + ["manylinux2014_aarch64"]


def required(extra: str, python: str) -> list[str]:
    """Return the requirements of one extra (of none: "") on this Python, their markers looked at and taken off.

    pip itself reads markers with the Python that it runs on, whatever it is asked for.
    """
    lines = PROJECT["optional-dependencies"][extra] if extra else PROJECT["dependencies"]
    wanted = []
    for requirement in map(Requirement, lines):
        on_board = {"python_version": python, "python_full_version": f"{python}.9", "platform_machine": "aarch64"}
        if requirement.marker is None or requirement.marker.evaluate(on_board):
            requirement.marker = None
            wanted.append(str(requirement))
    return wanted


def test_the_extras_are_those_that_are_documented() -> None:
    page = (ROOT / "docs" / "agent" / "install.md").read_text()
    assert {extra for extra in EXTRAS if extra and f"\n| `{extra}` |" not in page} == set()
    assert "tomli>=2.0" in required("", "3.10")
    assert not any(line.startswith("tomli") for line in required("", "3.11"))


@pytest.mark.full
@pytest.mark.parametrize("python", PYTHONS)
@pytest.mark.parametrize("extra", EXTRAS)
def test_pip_finds_wheels_for_boards(extra: str, python: str, tmp_path: Path) -> None:
    wanted = required(extra, python)
    assert bool(wanted) is ((extra, python) not in WITHOUT)
    if not wanted:
        return
    platforms = [part for platform in PLATFORMS for part in ("--platform", platform)]
    abis = [part for abi in (f"cp{python.replace('.', '')}", "abi3", "none") for part in ("--abi", abi)]
    base = required("", python) if extra else []
    done = subprocess.run(
        [
            *(sys.executable, "-m", "pip", "install", "--dry-run", "--ignore-installed", "-q", "--only-binary=:all:"),
            *("--target", tmp_path, "--implementation", "cp", "--python-version", python),
            *(*abis, *platforms, *base, *wanted),
        ],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
