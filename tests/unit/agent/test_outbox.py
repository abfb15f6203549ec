"""What is written to the outbox is kept, numbered once, and what must go is counted and told."""

from __future__ import annotations

import shutil
import sqlite3
import subprocess
import sys
import time
from typing import TYPE_CHECKING

import msgspec
import pytest
from edgeglm_agent.outbox import EVENTS, METRICS, PRIORITIES, SAMPLES, Outbox, OutboxBusyError
from edgeglm_agent.outbox.file import DamagedError, open_file, set_aside
from edgeglm_agent.outbox.losses import Losses
from edgeglm_agent.wire import WireError
from edgeglm_agent.wire.sketch import Sketch
from edgeglm_agent.wire.telemetry import Ack, Event, Gap, Result, Row, Window, body_of, pack_ranges, unpack_ranges
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

if TYPE_CHECKING:
    from pathlib import Path

MANY = 10_000_000


def window(inferences: int = 1, *, slot: str = "main", load: int = 1) -> Window:
    return Window(slot, load, "00" * 8, 1_000, 5_000, 300_000, True, inferences, latency_ms=Sketch({1: 1}).pack())


def event(name: str = "throttled") -> Event:
    return Event(name, "main", "00" * 8, 0, 0, True, "info")


def result(size: int = 100) -> Result:
    return Result("main", 1, "00" * 8, 0, b"x" * size)


def numbers(rows: list[Row]) -> list[int]:
    return [row.sequence for row in rows]


def waiting(outbox: Outbox, priority: int) -> list[Row]:
    return outbox.pending(priority, limit_bytes=MANY)


def gaps(outbox: Outbox) -> list[Gap]:
    return [body for row in waiting(outbox, EVENTS) if isinstance(body := body_of(row), Gap)]


def lost_numbers(outbox: Outbox) -> list[int]:
    return [n for gap in gaps(outbox) for first, last in unpack_ranges(gap.ranges) for n in range(first, last + 1)]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "outbox.db"


@pytest.fixture
def outbox(path: Path) -> Outbox:
    return Outbox(path, quota_bytes=MANY)


def test_rows_come_back_in_order_within_their_priority(outbox: Outbox) -> None:
    assert outbox.put(METRICS, window(1)) == 1
    assert outbox.put_many([(EVENTS, event()), (SAMPLES, result()), (METRICS, window(2))]) == [2, 3, 4]
    assert [numbers(waiting(outbox, priority)) for priority in PRIORITIES] == [[2], [1, 4], [3]]
    assert body_of(waiting(outbox, METRICS)[1]) == window(2)
    assert numbers(outbox.pending(METRICS, after=1)) == [4]
    assert numbers(outbox.pending(METRICS, through=3)) == [1]
    assert outbox.waiting == {"Window": 2, "Event": 1, "Result": 1}


def test_at_least_one_row_comes_however_small_the_limit(outbox: Outbox) -> None:
    outbox.put_many([(SAMPLES, result(5_000)), (SAMPLES, result(5_000))])
    assert numbers(outbox.pending(SAMPLES, limit_bytes=100)) == [1]
    assert numbers(outbox.pending(SAMPLES, limit_bytes=11_000)) == [1, 2]


def test_a_restart_keeps_epoch_rows_and_numbers(path: Path, outbox: Outbox) -> None:
    outbox.put_many([(METRICS, window()), (METRICS, window())])
    outbox.mark_sent([1, 2], {"level": 12.5})
    assert outbox.acknowledge(Ack(1, outbox.epoch, 2)) == 2
    outbox.close()
    again = Outbox(path, quota_bytes=MANY)
    assert again.epoch == outbox.epoch
    assert len(again.epoch) == 8
    assert waiting(again, METRICS) == []
    assert again.put(METRICS, window()) == 3  # though 2 is gone from the file
    assert again.note("level") == 12.5
    assert again.note("other") is None


def test_two_outboxes_have_two_epochs(tmp_path: Path) -> None:
    assert Outbox(tmp_path / "a.db", quota_bytes=MANY).epoch != Outbox(tmp_path / "b.db", quota_bytes=MANY).epoch


def test_a_second_agent_is_refused(path: Path, outbox: Outbox) -> None:
    with pytest.raises(OutboxBusyError, match="another agent"):
        Outbox(path, quota_bytes=MANY)
    assert outbox.put(EVENTS, event()) == 1


def test_only_its_owner_may_read_it(path: Path, outbox: Outbox) -> None:
    assert path.stat().st_mode & 0o077 == 0


def test_an_acknowledgement_lets_go_of_what_it_names_and_was_sent(outbox: Outbox) -> None:
    outbox.put_many([(METRICS, window()) for _ in range(6)])
    outbox.mark_sent([1, 2, 4, 5])
    assert outbox.acknowledge(Ack(1, outbox.epoch, 1, pack_ranges([3, 4]))) == 2
    assert numbers(waiting(outbox, METRICS)) == [2, 3, 5, 6]
    assert outbox.acknowledge(Ack(1, b"another!", 6)) == 0
    assert len(waiting(outbox, METRICS)) == 4


def test_an_acknowledgement_of_what_has_gone_already_writes_nothing(outbox: Outbox) -> None:
    outbox.mark_sent(outbox.put_many([(METRICS, window())] * 3))
    assert outbox.acknowledge(Ack(1, outbox.epoch, 3)) == 3
    log = outbox.path.with_name(f"{outbox.path.name}-wal")
    before = log.read_bytes()
    assert outbox.acknowledge(Ack(1, outbox.epoch, 1, pack_ranges([2, 3]))) == 0
    assert log.read_bytes() == before


@pytest.mark.parametrize(
    ("through", "beyond"), [(7, b""), (-1, b""), (1, pack_ranges([9])), (1, b"\x80"), (1, b"\x01")]
)
def test_an_acknowledgement_of_what_was_never_given_is_refused(outbox: Outbox, through: int, beyond: bytes) -> None:
    outbox.put_many([(METRICS, window()) for _ in range(6)])
    outbox.mark_sent(range(1, 7))
    with pytest.raises(WireError):
        outbox.acknowledge(Ack(1, outbox.epoch, through, beyond))
    assert len(waiting(outbox, METRICS)) == 6


def test_the_oldest_of_the_lowest_priority_goes_first_and_is_told(path: Path) -> None:
    outbox = Outbox(path, quota_bytes=4_000)
    outbox.put_many([(SAMPLES, result(700)), (METRICS, result(700)), (SAMPLES, result(700)), (EVENTS, event())])
    outbox.put(METRICS, result(1_400))
    assert numbers(waiting(outbox, SAMPLES)) == [3]
    outbox.put(METRICS, result(700))
    assert numbers(waiting(outbox, SAMPLES)) == []
    assert 2 in numbers(waiting(outbox, METRICS))
    outbox.put(METRICS, result(700))
    assert 2 not in numbers(waiting(outbox, METRICS))
    assert lost_numbers(outbox) == [1, 2, 3]
    assert len(gaps(outbox)) == 1  # one that has not left takes in what follows
    assert gaps(outbox)[0].counts == {"Result": 3}
    assert outbox.lost == {"quota": 3}
    assert outbox.stored_bytes <= 4_000
    outbox.close()
    again = Outbox(path, quota_bytes=4_000)
    assert (again.lost, again.lost_total) == ({}, 3)


def test_a_row_of_low_priority_never_drives_out_a_higher_one(path: Path) -> None:
    outbox = Outbox(path, quota_bytes=3_000)
    assert outbox.put(METRICS, result(2_500)) == 1
    assert outbox.put(SAMPLES, result(1_000)) == 0
    assert outbox.put(EVENTS, result(9_000)) == 0  # larger than the whole outbox: drives nothing out
    assert numbers(waiting(outbox, METRICS)) == [1]
    assert gaps(outbox) == [Gap("quota", b"", {"Result": 2})]


def test_a_gap_that_may_have_left_is_changed_no_more(path: Path) -> None:
    outbox = Outbox(path, quota_bytes=3_000)
    for _ in range(4):
        outbox.put(SAMPLES, result(1_000))
    (gap,) = waiting(outbox, EVENTS)
    outbox.mark_sent([gap.sequence])
    outbox.put(SAMPLES, result(1_000))
    assert waiting(outbox, EVENTS)[0] == gap
    assert len(gaps(outbox)) == 2


def test_what_the_broker_refuses_becomes_a_gap_and_gaps_stay(outbox: Outbox) -> None:
    outbox.put_many([(EVENTS, event()), (EVENTS, event())])
    assert outbox.reject([1]) == 1
    assert gaps(outbox) == [Gap("rejected", pack_ranges([1]), {"Event": 1})]
    assert outbox.reject(numbers(waiting(outbox, EVENTS))) == 1
    assert lost_numbers(outbox) == [1, 2]
    assert outbox.reject(numbers(waiting(outbox, EVENTS))) == 0
    assert numbers(waiting(outbox, EVENTS)) == [3]


def test_unsent_windows_of_one_slot_and_load_are_merged_and_the_rest_is_not(outbox: Outbox) -> None:
    outbox.put_many([(METRICS, window(1)), (METRICS, window(2))])
    outbox.mark_sent([1])
    outbox.put_many([(METRICS, window(4)), (METRICS, window(8, slot="other")), (METRICS, window(16))])
    outbox.put_many([(METRICS, window(32, load=2)), (METRICS, window(64, load=2)), (METRICS, window(128))])
    assert outbox.merge_unsent_windows(3) == 3
    rows = {row.sequence: row for row in waiting(outbox, METRICS)}
    assert {n: body_of(row).inferences for n, row in rows.items()} == {1: 1, 4: 8, 5: 22, 7: 96, 8: 128}
    assert unpack_ranges(rows[5].replaces) == [(2, 3)]
    assert unpack_ranges(rows[7].replaces) == [(6, 6)]
    assert outbox.merge_unsent_windows(2) == 1
    rows = {row.sequence: row for row in waiting(outbox, METRICS)}
    assert unpack_ranges(rows[8].replaces) == [(2, 3), (5, 5)]
    assert body_of(rows[8]).merged == 4
    assert outbox.waiting == {"Window": 4}


def test_a_merged_window_that_goes_takes_the_replaced_ones_into_the_gap(path: Path) -> None:
    outbox = Outbox(path, quota_bytes=3_000)
    outbox.put_many([(METRICS, window()) for _ in range(4)])
    outbox.merge_unsent_windows(4)
    outbox.put(METRICS, result(2_600))
    assert lost_numbers(outbox) == [1, 2, 3, 4]
    assert gaps(outbox)[0].counts == {"Window": 4}


@pytest.mark.parametrize("damage", ["torn", "noise", "text", "emptied"])
def test_a_damaged_file_is_kept_aside_and_a_new_epoch_begins(path: Path, damage: str) -> None:
    outbox = Outbox(path, quota_bytes=MANY)
    outbox.put_many([(METRICS, result(3_000)) for _ in range(40)])
    outbox.close()
    whole = path.read_bytes()
    broken = {
        "torn": whole[: len(whole) // 2],
        "noise": whole[:4096] + bytes(range(256)) * 64 + whole[4096 + 256 * 64 :],
        "text": b"this is no database\n" * 500,
        "emptied": whole[:4096] + bytes(len(whole) - 4096),
    }[damage]
    path.write_bytes(broken)
    told: list[tuple[str, dict[str, object]]] = []
    again = Outbox(path, quota_bytes=MANY, on_event=lambda name, detail: told.append((name, detail)))
    assert again.epoch not in {outbox.epoch, b""}
    assert again.put(EVENTS, event()) > 0
    assert [gap.reason for gap in gaps(again)] == ["corrupt"]
    ((name, detail),) = told
    assert name == "outbox-rebuilt"
    assert (path.parent / str(detail["kept"])).read_bytes() == broken
    assert str(detail["kept"]).startswith("outbox.corrupt-")


def test_damage_while_it_is_open_costs_what_was_in_it_and_the_next_row_is_kept(path: Path) -> None:
    told: list[dict[str, object]] = []
    outbox = Outbox(path, quota_bytes=MANY, on_event=lambda _, detail: told.append(detail))
    outbox.put_many([(METRICS, result(3_000)) for _ in range(400)])
    epoch = outbox.epoch
    with path.open("r+b") as file:  # under the open connection, as a dying card does
        file.seek(4096)
        file.write(b"\xa5" * (path.stat().st_size - 4096))
    for _ in range(2_000):  # until it meets the damage
        outbox.put(METRICS, result(3_000))
        if told:
            break
    assert outbox.epoch != epoch
    assert told
    assert outbox.lost["corrupt"] >= 400
    assert outbox.put(EVENTS, event()) > 0
    assert gaps(outbox)[0].counts["Result"] >= 400


def killed(path: Path, to: Path) -> Path:
    """Return a copy of an open outbox, as a killed agent leaves it."""
    to.mkdir()
    for file in path.parent.glob("outbox.db*"):
        shutil.copy(file, to / file.name)
    return to / path.name


def log_of(path: Path) -> tuple[Path, bytearray, list[int]]:
    """Return a log, its bytes, and where the frames of its newest generation begin."""
    log = path.with_name("outbox.db-wal")
    data = bytearray(log.read_bytes())
    return log, data, [at for at in range(32, len(data), 4096 + 24) if data[at + 8 : at + 16] == data[16:24]]


def test_a_log_that_is_broken_in_its_midst_begins_a_new_epoch_with_what_can_be_read(
    path: Path, outbox: Outbox, tmp_path: Path
) -> None:
    assert outbox.remember_command("ops-1", 10_000, 1)
    given = [outbox.put(METRICS, window(number)) for number in range(40)]
    assert outbox.mark_sent(given, {"budget": -7.0})
    copy = killed(path, tmp_path / "killed")
    log, data, frames = log_of(copy)
    data[frames[len(frames) // 2] + 2000] ^= 1
    log.write_bytes(data)
    told: list[dict[str, object]] = []
    again = Outbox(copy, quota_bytes=MANY, on_event=lambda _, detail: told.append(detail))
    kept = [body.inferences for row in waiting(again, METRICS) if isinstance(body := body_of(row), Window)]
    assert again.epoch not in {outbox.epoch, b""}, "numbers that were given are given again"
    assert 0 < len(kept) < 40
    assert kept == [*range(len(kept))]
    assert [gap.reason for gap in gaps(again)] == ["corrupt"]
    assert told[0]["saved"] == len(kept)
    assert "log is broken" in str(told[0]["why"])
    assert again.remember_command("ops-1", 10_000, 1) is False, "a replay"
    again.close()
    assert Outbox(copy, quota_bytes=MANY).epoch == again.epoch


def test_a_broken_log_is_known_until_its_file_was_put_aside(path: Path, outbox: Outbox, tmp_path: Path) -> None:
    """Closing the file ends the log: a power cut before it is renamed must not give its numbers again."""
    for number in range(40):
        outbox.put(METRICS, window(number))
    copy = killed(path, tmp_path / "killed")
    log, data, frames = log_of(copy)
    data[frames[len(frames) // 2] + 2000] ^= 1
    log.write_bytes(data)
    for _ in range(2):
        with pytest.raises(DamagedError, match="log"):
            open_file(copy)
    again = Outbox(copy, quota_bytes=MANY)
    assert again.epoch not in {outbox.epoch, b""}
    assert 0 < sum(isinstance(body_of(row), Window) for row in waiting(again, METRICS)) < 40


def test_a_damaged_file_whose_log_cannot_be_renamed_stays_beside_it(path: Path) -> None:
    log = path.with_name("outbox.db-wal")
    path.write_bytes(b"damaged")
    log.write_bytes(b"its log")
    now = time.time()
    moments = [time.strftime("%Y%m%dT%H%M%SZ", time.gmtime(now + second)) for second in range(120)]
    in_the_way = [path.with_name(f"outbox.corrupt-{moment}.db-wal") for moment in moments]
    for folder in in_the_way:
        folder.mkdir()
    assert set_aside(path) is None
    assert (path.read_bytes(), log.read_bytes()) == (b"damaged", b"its log")
    for folder in in_the_way:
        folder.rmdir()
    aside = set_aside(path)
    assert aside is not None
    assert (aside.read_bytes(), aside.with_name(f"{aside.name}-wal").read_bytes()) == (b"damaged", b"its log")
    assert list(path.parent.glob("outbox.db*")) == []


def test_what_was_lost_with_a_damaged_file_stays_counted_when_the_disk_is_full_next(path: Path) -> None:
    outbox = Outbox(path, quota_bytes=MANY)
    outbox.put_many([(METRICS, result(3_000)) for _ in range(400)])
    with path.open("r+b") as file:
        file.seek(4096)
        file.write(b"\xa5" * (path.stat().st_size - 4096))

    def meets_damage_then_a_full_disk(db: sqlite3.Connection) -> None:
        db.execute("select total(length(body)) from rows").fetchall()
        raise sqlite3.OperationalError("database or disk is full")

    outbox._run(meets_damage_then_a_full_disk)
    lost = outbox.lost["corrupt"]
    assert lost >= 400
    assert outbox.settle()
    assert gaps(outbox)[0].counts["Result"] == lost == outbox.lost_total
    outbox.close()
    assert Outbox(path, quota_bytes=MANY).lost_total == lost


def test_a_log_that_ends_anywhere_is_what_a_power_cut_leaves(path: Path, outbox: Outbox, tmp_path: Path) -> None:
    for number in range(12):
        outbox.put(METRICS, window(number))
    copy = killed(path, tmp_path / "killed")
    log, data, frames = log_of(copy)
    for number, end in enumerate([0, 7, 32, *range(33, frames[-1] + 4120, 2500), len(data)]):
        shutil.copy(copy, tmp_path / f"{number}.db")
        (tmp_path / f"{number}.db-wal").write_bytes(data[:end])
        cut = Outbox(tmp_path / f"{number}.db", quota_bytes=MANY)
        assert cut.epoch == outbox.epoch, end
        assert gaps(cut) == []
        cut.close()
    torn = bytearray(data)
    torn[frames[-1] + 100] ^= 1  # of the transaction that was under way
    log.write_bytes(torn)
    assert Outbox(copy, quota_bytes=MANY).epoch == outbox.epoch


def test_rows_before_and_behind_what_is_broken_are_taken_over(path: Path) -> None:
    outbox = Outbox(path, quota_bytes=MANY)
    outbox.put_many([(METRICS, window(number)) for number in range(1_000)])
    outbox.put(EVENTS, event("anomaly"))
    outbox.merge_unsent_windows(2)
    outbox.close()
    whole = bytearray(path.read_bytes())
    middle = whole.index(msgspec.msgpack.encode(window(498))[:20], 100_000) // 4096 * 4096
    whole[middle : middle + 4096] = bytes(4096)
    path.write_bytes(whole)
    told: list[dict[str, object]] = []
    again = Outbox(path, quota_bytes=MANY, on_event=lambda _, detail: told.append(detail))
    bodies = [body for row in waiting(again, METRICS) if isinstance(body := body_of(row), Window)]
    kept = sum(body.inferences for body in bodies)
    assert 400_000 < kept < sum(range(1_000)), "all but a page of them"
    assert bodies[0].inferences == 0 + 1
    assert bodies[-1].inferences == 998 + 999
    assert all(row.replaces == b"" for row in waiting(again, METRICS)), "numbers of the old epoch"
    assert "anomaly" in [getattr(body_of(row), "name", "") for row in waiting(again, EVENTS)]
    assert told[0]["saved"] == len(bodies) + 1


ENDED = """
import os, signal, sys
from pathlib import Path
from edgeglm_agent.outbox import Outbox, changes, rows

where, path = sys.argv[1], Path(sys.argv[2])
calls = {"insert": 0, "rename": 0}


def ended(name, at, real):
    def call(*arguments):
        calls[name] += 1
        if calls[name] == at:
            os.kill(os.getpid(), signal.SIGKILL)
        return real(*arguments)

    return call


if where == "before the new file":
    real = changes.open_file
    changes.open_file = lambda path: real(path) if path.exists() else os.kill(os.getpid(), signal.SIGKILL)
elif where == "amid the rows":
    rows.Rows.insert = ended("insert", 450, rows.Rows.insert)
else:
    Path.rename = ended("rename", 2, Path.rename)
    changes.set_aside(path)
Outbox(path, quota_bytes=10_000_000)
"""


def end_an_agent(where: str, path: Path) -> None:
    ended = subprocess.run([sys.executable, "-c", ENDED, where, str(path)], capture_output=True, text=True, check=False)
    assert ended.returncode == -9, ended.stderr


@pytest.mark.parametrize("where", ["before the new file", "amid the rows"])
def test_a_damaged_file_whose_agent_was_killed_before_it_had_told_is_told_by_the_next(path: Path, where: str) -> None:
    outbox = Outbox(path, quota_bytes=MANY)
    outbox.put_many([(METRICS, window(number)) for number in range(1_000)])
    outbox.close()
    whole = bytearray(path.read_bytes())
    middle = whole.index(msgspec.msgpack.encode(window(598))) // 4096 * 4096
    whole[middle : middle + 4096] = bytes(4096)
    path.write_bytes(whole)
    end_an_agent(where, path)
    told: list[dict[str, object]] = []
    again = Outbox(path, quota_bytes=MANY, on_event=lambda _, detail: told.append(detail))
    kept = [body.inferences for row in waiting(again, METRICS) if isinstance(body := body_of(row), Window)]
    assert kept == sorted(set(kept)), "each once"
    assert (kept[0], kept[-1]) == (0, 999)
    assert 900 < len(kept) < 1_000, "all but a page of them"
    assert [gap.reason for gap in gaps(again)] == ["corrupt"]
    assert [detail["saved"] for detail in told] == [len(kept) - (400 if where == "amid the rows" else 0)]
    assert again.epoch not in {outbox.epoch, b""}
    again.close()
    last = Outbox(path, quota_bytes=MANY, on_event=lambda _, detail: told.append(detail))
    assert (last.epoch, len(told), len(waiting(last, METRICS))) == (again.epoch, 1, len(kept)), "once and for all"
    assert list(path.parent.glob("*.untold")) == []


def test_a_new_file_never_finds_the_log_of_one_whose_agent_was_killed_while_it_put_it_aside(path: Path) -> None:
    path.write_bytes(b"this is no database\n" * 500)
    path.with_name("outbox.db-wal").write_bytes(b"its log" * 5_000)
    end_an_agent("before the log", path)
    assert not path.exists()
    assert path.with_name("outbox.db-wal").exists()
    told: list[dict[str, object]] = []
    again = Outbox(path, quota_bytes=MANY, on_event=lambda _, detail: told.append(detail))
    assert again.put(EVENTS, event()) > 0
    assert [(detail["saved"], "ended before" in str(detail["why"])) for detail in told] == [(0, True)]
    assert [gap.reason for gap in gaps(again)] == ["corrupt"]


def test_at_most_two_damaged_files_are_kept(path: Path) -> None:
    for _ in range(4):
        path.write_bytes(b"this is no database\n" * 500)
        Outbox(path, quota_bytes=MANY).close()
    assert len(list(path.parent.glob("outbox.corrupt-*.db"))) == 2


def test_a_file_of_a_later_schema_is_kept_aside(path: Path) -> None:
    with sqlite3.connect(path) as db:
        db.execute("pragma user_version = 7")
    outbox = Outbox(path, quota_bytes=MANY)
    assert outbox.put(EVENTS, event()) > 0
    assert len(list(path.parent.glob("outbox.corrupt-*.db"))) == 1


DISK_FULL = """
import resource, sys
from pathlib import Path
from edgeglm_agent.outbox import METRICS, Outbox
from edgeglm_agent.wire.telemetry import Ack, Gap, Result, body_of
outbox = Outbox(Path(sys.argv[1]), quota_bytes=100_000_000)
row = Result("main", 1, "00" * 8, 0, b"x" * 4000)
outbox.put(METRICS, row)
resource.setrlimit(resource.RLIMIT_FSIZE, (1_500_000, resource.RLIM_INFINITY))
numbers = [outbox.put(METRICS, row) for _ in range(600)]
kept = [number for number in numbers if number]
lost = len(numbers) - len(kept)
assert lost and outbox.trouble and outbox.lost == {"disk": lost}, (lost, outbox.trouble, outbox.lost)
assert len(kept) > 100, len(kept)  # the room that was left in the file
assert not outbox.settle()
resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
assert outbox.settle()
(gap,) = [body_of(row) for row in outbox.pending(0)]
assert gap == Gap("disk", b"", {"Result": lost}), gap
assert outbox.put(METRICS, row) == kept[-1] + 2
print("ok", len(kept), lost)
"""


def test_a_full_disk_is_counted_and_told_when_there_is_room(path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", DISK_FULL, path], capture_output=True, text=True, check=False, timeout=120
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("ok")


def test_a_folder_that_takes_no_file_never_raises_and_is_told_when_it_does(tmp_path: Path) -> None:
    folder = tmp_path / "not-there"
    outbox = Outbox(folder / "outbox.db", quota_bytes=MANY)
    assert outbox.put(METRICS, window()) == 0
    assert outbox.pending(METRICS) == []
    assert not outbox.mark_sent([1])
    assert outbox.epoch == b""
    folder.mkdir()
    assert outbox.put(METRICS, window()) > 0
    assert gaps(outbox) == [Gap("disk", b"", {"Window": 1})]


@pytest.fixture
def losses(path: Path) -> Losses:
    """Return counts of which two were written: the newer one takes in the older."""
    losses = Losses(path.with_suffix(".losses"))
    losses.count("disk", {"Window": 3})
    losses.count("disk", {"Window": 4, "Result": 1})
    return losses


def test_what_the_disk_did_not_take_is_told_once_by_the_agent_that_starts_next(path: Path, losses: Losses) -> None:
    assert losses.untold == {"disk": {"Window": 7, "Result": 1}}
    kept = path.with_suffix(".losses").read_bytes()
    outbox = Outbox(path, quota_bytes=MANY)
    assert gaps(outbox) == [Gap("disk", b"", {"Window": 7, "Result": 1})]
    assert outbox.lost_total == 8
    outbox.close()
    path.with_suffix(".losses").write_bytes(kept)  # as if power had failed when the gap was on the disk
    outbox = Outbox(path, quota_bytes=MANY)
    assert len(gaps(outbox)) == 1
    assert outbox.lost_total == 8
    outbox.close()
    path.with_suffix(".losses").unlink()
    outbox = Outbox(path, quota_bytes=MANY)
    outbox._losses.count("disk", {"Window": 2})  # under a number of its own, though the file began anew
    outbox.close()
    again = Outbox(path, quota_bytes=MANY)
    assert gaps(again) == [Gap("disk", b"", {"Window": 9, "Result": 1})]
    assert again.lost_total == 10


@pytest.mark.parametrize("torn", [*range(0, 40, 3), 4096])
def test_a_count_that_was_torn_as_it_was_written_leaves_the_one_before(path: Path, losses: Losses, torn: int) -> None:
    file = path.with_suffix(".losses")
    whole = file.read_bytes()
    assert len(whole) == 2 * 4096
    newer = losses.number % 2 * 4096
    file.write_bytes(whole[: newer + torn] + b"\xa5" * (4096 - torn) + whole[newer + 4096 :])
    length = 10 + len(msgspec.msgpack.encode((losses.number, losses.untold)))  # behind it nothing counts
    expected = {"Window": 7, "Result": 1} if torn >= length else {"Window": 3}
    assert Losses(file).untold == {"disk": expected}


def test_kinds_without_end_are_kept_as_their_sum(path: Path, losses: Losses) -> None:
    losses.count("corrupt", {f"kind-{number}": 2 for number in range(1_000)})
    assert Losses(path.with_suffix(".losses")).untold == {"corrupt": {"rows": 2_000}, "disk": {"rows": 8}}


def test_a_command_is_known_again_until_its_deadline_and_after_a_restart(path: Path, outbox: Outbox) -> None:
    assert outbox.remember_command("a", 1_000, 0)
    assert not outbox.remember_command("a", 1_000, 0)
    outbox.close()
    again = Outbox(path, quota_bytes=MANY)
    assert not again.remember_command("a", 1_000, 999)
    assert again.remember_command("b", 3_000, 2_000)
    assert again.remember_command("a", 3_000, 2_000)


class Delivery(RuleBasedStateMachine):
    """An outbox and a collector, with crashes, merging, a small quota, and acknowledgements lost and late."""

    def __init__(self) -> None:
        super().__init__()
        import tempfile
        from pathlib import Path

        self.folder = Path(tempfile.mkdtemp(prefix="outbox-"))
        self.generation = 0
        self.outbox = Outbox(self.folder / "0.db", quota_bytes=20_000)
        self.epoch = self.outbox.epoch
        self.given: set[int] = set()
        self.known: set[int] = set()  # to the collector: by row, by being replaced, by gap
        self.rows: dict[int, Row] = {}
        self.weight = 0  # inferences in windows that were kept

    def teardown(self) -> None:
        self.outbox.close()
        shutil.rmtree(self.folder)

    @rule(priority=st.sampled_from(PRIORITIES), size=st.integers(0, 4_000))
    def put(self, priority: int, size: int) -> None:
        number = self.outbox.put(priority, result(size))
        assert number not in self.given
        if number:
            self.given.add(number)

    @rule(count=st.integers(1, 5), slot=st.sampled_from(["main", "other"]))
    def put_windows(self, count: int, slot: str) -> None:
        given = self.outbox.put_many([(METRICS, window(1, slot=slot)) for _ in range(count)])
        assert not self.given & set(given)
        self.given |= {*given} - {0}
        self.weight += sum(1 for number in given if number)

    @rule(group=st.integers(2, 4))
    def merge(self, group: int) -> None:
        self.outbox.merge_unsent_windows(group)

    @rule(priority=st.sampled_from(PRIORITIES), arrives=st.booleans(), limit=st.integers(1, 9_000))
    def send(self, priority: int, arrives: bool, limit: int) -> None:
        rows = self.outbox.pending(priority, limit_bytes=limit)
        assert self.outbox.mark_sent(numbers(rows))
        if arrives:
            for row in rows:
                self.arrive(row)

    def arrive(self, row: Row) -> None:
        if row.sequence in self.rows:
            assert self.rows[row.sequence] == row, "a row that had left was changed"
            return
        self.rows[row.sequence] = row
        replaced = {n for first, last in unpack_ranges(row.replaces) for n in range(first, last + 1)}
        assert not replaced & set(self.rows), "a row that had arrived was merged"
        self.known |= {row.sequence} | replaced
        body = body_of(row)
        if isinstance(body, Gap):
            self.known |= {n for first, last in unpack_ranges(body.ranges) for n in range(first, last + 1)}

    @rule(some=st.booleans())
    def acknowledge(self, some: bool) -> None:
        through = 0
        while through + 1 in self.known:
            through += 1
        beyond = [n for n in self.known if n > through and (n % 2 or not some)]
        self.outbox.acknowledge(Ack(1, self.epoch, through, pack_ranges(beyond)))

    @rule()
    def crash(self) -> None:
        """Go on from what a power cut would have left: the files as they are, without closing."""
        self.generation += 1
        old = self.outbox.path
        new = self.folder / f"{self.generation}.db"
        shutil.copy(old, new)
        if (log := old.with_name(old.name + "-wal")).exists():
            shutil.copy(log, new.with_name(new.name + "-wal"))
        self.outbox.close()
        self.outbox = Outbox(new, quota_bytes=20_000)
        assert self.outbox.epoch == self.epoch

    @precondition(lambda self: self.generation >= 0)
    @invariant()
    def it_counts_what_it_holds(self) -> None:
        rows = [row for priority in PRIORITIES for row in waiting(self.outbox, priority)]
        assert sum(self.outbox.waiting.values()) == len(rows)
        assert self.outbox.stored_bytes == sum(len(row.body) + len(row.replaces) + 64 for row in rows)
        assert self.outbox.stored_bytes <= 20_000 + 2_000  # gaps alone may go over it

    @rule()
    def deliver_everything(self) -> None:
        for priority in PRIORITIES:
            rows = waiting(self.outbox, priority)
            self.outbox.mark_sent(numbers(rows))
            for row in rows:
                self.arrive(row)
        assert self.known >= set(range(1, self.outbox.high_water + 1)), "a number that nobody accounts for"
        windows = [body for row in self.rows.values() if isinstance(body := body_of(row), Window)]
        gone = sum(
            body.counts.get("Window", 0)
            for row in self.rows.values()
            if isinstance(body := body_of(row), Gap) and body.reason == "quota"
        )
        assert sum(body.inferences for body in windows) <= self.weight
        assert sum(body.inferences for body in windows) + gone >= self.weight
        self.outbox.acknowledge(Ack(1, self.epoch, self.outbox.high_water))
        assert all(waiting(self.outbox, priority) == [] for priority in PRIORITIES)


TestDelivery = Delivery.TestCase
TestDelivery.settings = settings(
    max_examples=20, stateful_step_count=25, deadline=None, suppress_health_check=list(HealthCheck)
)


def test_a_window_that_was_merged_is_read_as_one(outbox: Outbox) -> None:
    outbox.put_many([(METRICS, window(3)), (METRICS, window(4))])
    outbox.merge_unsent_windows(2)
    (row,) = outbox.pending(METRICS)
    assert msgspec.msgpack.decode(row.body, type=Window).inferences == 7
    assert outbox.unsent_windows()[0] == 1
