"""A disk that is really full: nothing is raised, what the outbox loses is counted, and told when there is room."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[3]
PROGRAM = """
import os, sys
from pathlib import Path
from edgeglm_agent.outbox import EVENTS, METRICS, Outbox
from edgeglm_agent.wire.telemetry import Ack, Gap, Result, body_of
disk = Path(sys.argv[1])
outbox = Outbox(disk / "outbox.db", quota_bytes=100_000_000)
row = Result("main", 1, "00" * 8, 0, b"x" * 2000)
filler = (disk / "filler").open("wb", buffering=0)
try:
    while True:
        filler.write(bytes(4096))
except OSError as error:
    assert error.errno == 28, error
# the room within the file: it goes on for a while, and marks and acknowledges
first = [outbox.put(METRICS, row) for _ in range(100)]
assert all(first), first
assert outbox.mark_sent(first)
assert outbox.acknowledge(Ack(1, outbox.epoch, first[-1])) == 100
numbers = [outbox.put(METRICS, row) for _ in range(2000)]
kept = [number for number in numbers if number]
lost = len(numbers) - len(kept)
assert lost > 500 and len(kept) > 200, (lost, len(kept))
assert "full" in outbox.trouble, outbox.trouble
assert outbox.lost == {"disk": lost}
assert len(outbox.pending(METRICS, limit_bytes=10**8)) in (len(kept), 1000)
os.unlink(disk / "filler"); filler.close()
assert outbox.settle() and not outbox.trouble
assert [body_of(row) for row in outbox.pending(EVENTS)] == [Gap("disk", b"", {"Result": lost})]
assert outbox.put(METRICS, row) == kept[-1] + 2
outbox.close()
again = Outbox(disk / "outbox.db", quota_bytes=100_000_000)
assert again.epoch == outbox.epoch and again.waiting["Result"] == len(kept) + 1 and again.lost_total == lost
print("kept", len(kept), "lost", lost)
"""


def test_a_disk_that_fills_and_is_freed_costs_only_what_did_not_fit(tmp_path: Path) -> None:
    mount = 'mount -t tmpfs -o size=6m none "$0" && exec "$1" -c "$2" "$0"'
    done = subprocess.run(
        ["unshare", "--map-root-user", "--mount", "sh", "-c", mount, tmp_path, sys.executable, PROGRAM],
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
        env={**os.environ, "PYTHONPATH": str(ROOT / "device_agents")},
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("kept")
