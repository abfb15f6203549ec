"""Write docs/test-full.md: when the long tests ran last, on which commit, and how they ended."""

from __future__ import annotations

import platform
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


def main(status: int) -> None:
    """Record the result; ``status`` is the exit code of the run."""
    commit = git("rev-parse", "--short", "HEAD") or "unknown"
    commit += "+" if git("status", "--porcelain") else ""
    moment = f"{datetime.now(UTC):%Y-%m-%d %H:%M}"
    tried = ", ".join((ROOT / "build" / "agent-tried").read_text().split()) or "none"
    outcome = "passed" if status == 0 else f"FAILED (exit {status})"
    (ROOT / "docs" / "test-full.md").write_text(
        "# The last run of the long tests\n\n"
        "`make test-full` runs all that `make test` runs, the tests marked `full` (kill storms, boots), and the\n"
        "agent's own tests on the other Pythons of the boards, as far as they are installed. It writes this page.\n\n"
        "| date (UTC) | commit | Python | the agent also on | machine | result |\n|---|---|---|---|---|---|\n"
        f"| {moment} | {commit} | {platform.python_version()} | {tried} | {platform.machine()} | {outcome} |\n"
    )


def git(*arguments: str) -> str:
    """Return what git says, or "" where there is no repository."""
    done = subprocess.run(["git", *arguments], cwd=ROOT, capture_output=True, text=True, check=False)
    return done.stdout.strip()


if __name__ == "__main__":
    main(int(sys.argv[1]))
