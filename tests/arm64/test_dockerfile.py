"""The agent's image, as far as its text tells; it is built and run in test_image.py."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
HADOLINT = Path(sys.executable).parent / "hadolint"


def hadolint(file: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run([HADOLINT, "--no-color", file], capture_output=True, text=True, check=False)


def test_hadolint_finds_nothing() -> None:
    done = hadolint(ROOT / "Dockerfile.arm64")
    assert (done.returncode, done.stdout) == (0, "")


def test_hadolint_would_find_something(tmp_path: Path) -> None:
    bad = tmp_path / "Dockerfile"
    bad.write_text((ROOT / "Dockerfile.arm64").read_text().replace("WORKDIR /var", "WORKDIR var"))
    assert "DL3000" in hadolint(bad).stdout
