"""The supervisor's loop: it wakes when there is something to do."""

from __future__ import annotations

import subprocess
import sys
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

# a worker that ends before it has said a word, and a supervisor that looks at nobody once a second
_BLIND = """
import sys
from pathlib import Path
from edgeglm_agent.settings.load import load_settings
from edgeglm_agent.supervisor import run
run._TICK_S = 3600.0
sys.executable = "/bin/false"
run.Supervisor(load_settings(Path(sys.argv[1]), models=False)).run()
"""


def test_a_worker_that_ends_is_seen_at_once_and_not_at_the_next_look(tmp_path: Path) -> None:
    settings, log = tmp_path / "agent.toml", tmp_path / "log"
    settings.write_text(
        'state_dir = "state"\nruntime_dir = "run"\n[slots.main]\nmodel = "none"\nfailures = 2\n'
        'input = {kind = "directory", path = "inbox"}\n'
    )
    with log.open("wb") as file:
        agent = subprocess.Popen([sys.executable, "-c", _BLIND, str(settings)], stderr=file)
    try:
        give_up = time.monotonic() + 60
        while "worker-quarantined" not in log.read_text():
            assert agent.poll() is None, log.read_text()
            assert time.monotonic() < give_up, log.read_text()
            time.sleep(0.02)
    finally:
        agent.kill()
        agent.wait()
