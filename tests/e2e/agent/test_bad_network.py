"""Two packets of a hundred are lost, an answer takes 600 ms, and the cable is pulled: every row arrives, once."""

from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]


@pytest.mark.full
def test_every_row_arrives_once_over_a_network_that_loses_delays_and_stops(tmp_path: Path) -> None:
    program = ROOT / "tests" / "support" / "agent" / "lossy.py"
    done = subprocess.run(
        ["unshare", "--map-root-user", "--net", "--mount", sys.executable, program, tmp_path],
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
        env={**os.environ, "PYTHONPATH": str(ROOT / "device_agents"), "XTABLES_LOCKFILE": str(tmp_path / "lock")},
    )
    assert done.returncode == 0, done.stderr[-3000:]
    with sqlite3.connect(tmp_path / "rows.db") as db:
        assert [number for (number,) in db.execute("select sequence from rows order by 1")] == list(range(1, 301))
    print(done.stdout)
