"""A disk that is really full: nothing is raised, what the outbox loses is counted, and told when there is room."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

from tests.support.agent.small_disk import SmallDisk

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
LOSES_AND_IS_KILLED = """
import os, signal, sys
from pathlib import Path
from edgeglm_agent.outbox import EVENTS, METRICS, Outbox
from edgeglm_agent.wire.telemetry import Event, Result
disk = Path(sys.argv[1])
outbox = Outbox(disk / "outbox.db", quota_bytes=100_000_000)
with (disk / "filler").open("ab", buffering=0) as filler:
    for size in (4096, 1):
        try:
            while True:
                filler.write(bytes(size))
        except OSError as error:
            assert error.errno == 28, error
result, event = Result("main", 1, "00" * 8, 0, b"x" * 2000), Event("throttled", "", "", 0, 0, True, "info")
lost = {"Result": 0, "Event": 0}
for _ in range(1500):
    if 0 in outbox.put_many([(METRICS, result), (EVENTS, event)]):
        lost["Result"] += 1
        lost["Event"] += 1
assert min(lost.values()) > 100, lost
print(*lost.values(), flush=True)
os.kill(os.getpid(), signal.SIGKILL)
"""


def on_a_small_disk(folder: Path, *programs: str) -> list[subprocess.CompletedProcess[str]]:
    """Run programs one after the other on a disk of 6 MB."""
    with SmallDisk(folder / "disk", megabytes=6) as disk:
        return [
            subprocess.run(
                [*disk.enter, sys.executable, "-c", program, folder / "disk"],
                capture_output=True,
                text=True,
                check=False,
                timeout=120,
                env={**os.environ, "PYTHONPATH": str(ROOT / "device_agents")},
            )
            for program in programs
        ]


def test_a_disk_that_fills_and_is_freed_costs_only_what_did_not_fit(tmp_path: Path) -> None:
    (done,) = on_a_small_disk(tmp_path, PROGRAM)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("kept")


def test_what_agents_lost_that_were_killed_on_a_full_disk_is_told_when_it_has_room(tmp_path: Path) -> None:
    tells = """
import sys
from pathlib import Path
from edgeglm_agent.outbox import EVENTS, Outbox
from edgeglm_agent.wire.telemetry import Gap, body_of
disk = Path(sys.argv[1])
(disk / "filler").unlink(missing_ok=True)
outbox = Outbox(disk / "outbox.db", quota_bytes=100_000_000)
gaps = [body for row in outbox.pending(EVENTS, limit_bytes=10**8) if isinstance(body := body_of(row), Gap)]
print(*[(gap.reason, gap.counts["Result"], gap.counts["Event"]) for gap in gaps], outbox.lost_total)
"""
    *killed, told, again = on_a_small_disk(tmp_path, *[LOSES_AND_IS_KILLED] * 3, tells, tells)
    assert {done.returncode for done in killed} == {-signal.SIGKILL}, killed
    results, events = (sum(column) for column in zip(*[map(int, done.stdout.split()) for done in killed], strict=True))
    for done in (told, again):
        assert done.stdout.strip() == f"('disk', {results}, {events}) {results + events}", done.stderr
