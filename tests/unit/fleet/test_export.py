"""``fleet export``: rows that other programs read, and that no spreadsheet obeys."""

from __future__ import annotations

import csv
import io
import json
import os
from datetime import datetime
from pathlib import Path

import duckdb
import pytest
from edgeglm_agent.wire.telemetry import BoardReading, Burst, Drift, Power, Result

from edgeglm.errors import StorageError, UserError
from edgeglm.fleet.seeing import export, parquet
from edgeglm.fleet.seeing.export import WHAT, check_target, columns, format_of, rows, told, write, write_csv
from edgeglm.fleet.seeing.flat import flat_event, flat_gap, flat_result, flat_window
from edgeglm.fleet.store.types import Device, Span, StoredResult
from edgeglm.log import SilentLog
from tests.support.agent.small_disk import SmallDisk
from tests.support.fleet.boards import (
    HOSTILE,
    MINUTE_MS,
    NOW_MS,
    sketch,
    stored_event,
    stored_gap,
    stored_window,
    summary,
    window,
)
from tests.support.fleet.memory import ListReader

GATE = Device("north", "gate-1")
ALWAYS = Span(0, 1 << 53)
FULL = window(
    errors={"run": 3, "input": 1},
    total_ms=sketch(*[30.0] * 100),
    cpu_permille=805,
    rss_kb=90_000,
    energy_uj=1234,
    confidence=bytes([1, 2, 3]),
    classes={3: 7, 10: 2},
    drift=(Drift("input.x", 412, 200, 900),),
    board=BoardReading(330, 1000, 2000, 612, 0x10001, True, 450, (Power("VDD_IN", 5100),)),
)


def reader() -> ListReader:
    other = Device("south", "gate-2")
    return ListReader(
        [summary(), summary("gate-2", fleet="south")],
        [stored_window(GATE, 1, FULL), stored_window(other, 1, window(at_ms=NOW_MS - MINUTE_MS))],
        [stored_event(GATE, 2), stored_event(other, 3)],
        [stored_gap(GATE, 4, [5, 6, 9]), stored_gap(other, 4, [5])],
        stored_results=[stored_result(GATE, 7), stored_result(other, 8, crop=b"\xff\xd8\xff" + bytes(97))],
    )


def stored_result(
    device: Device, sequence: int, answer: bytes = b'[{"index": 3, "score": 0.9}]', crop: bytes = b""
) -> StoredResult:
    result = Result("main", 2, f"{sequence:016x}", NOW_MS - sequence, answer, crop)
    return StoredResult(device, b"12345678", sequence, NOW_MS - sequence, NOW_MS, result)


def read_csv(text: str) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(text)))


def test_a_window_is_a_row_of_figures_with_their_units() -> None:
    row = flat_window(stored_window(GATE, 1, FULL))
    assert (row.fleet, row.device, row.slot, row.sequence) == ("north", "gate-1", "main", 1)
    assert row.at_utc == "2027-01-15T07:54:00.000Z"
    assert (row.inferences, row.inferences_per_s, row.errors) == (3000, 10.0, 4)
    assert json.loads(row.errors_by_kind) == {"run": 3, "input": 1}
    assert row.total_p50_ms == pytest.approx(30, rel=0.01)
    assert row.model_p50_ms == pytest.approx(10, rel=0.01)
    assert row.model_p95_ms == pytest.approx(20, rel=0.01)
    assert (row.worker_cpu_percent, row.board_temperature_c, row.drift_psi) == (80.5, 61.2, 0.412)
    assert (row.board_throttled, row.board_undervoltage, row.board_power_mw) == (0x10001, True, '{"VDD_IN": 5100}')
    assert (row.confidence, json.loads(row.classes)) == ("[1, 2, 3]", {"3": 7, "10": 2})
    alone = flat_window(stored_window(GATE, 1, window()))
    assert alone.total_p99_ms == alone.model_p99_ms, "where it says the same, it is not sent"
    assert (alone.drift_psi, alone.board_power_mw, alone.confidence) == (None, None, None)


def test_what_boards_make_up_becomes_a_row_that_every_program_can_read() -> None:
    absurd = window(
        HOSTILE,
        at_ms=2**62,
        duration_ms=0,
        inferences=2**63,
        latency_ms=b"\xff\xff\xff",
        confidence=b"\xff",
        errors={HOSTILE: 2**63, "a": 2**63},
        classes=dict.fromkeys(range(100_000), 1),
    )
    row = flat_window(stored_window(GATE, 1, absurd))
    assert (row.at_utc, row.inferences_per_s, row.total_p95_ms, row.confidence) == (None, None, None, None)
    assert (row.inferences, row.errors) == (2**63 - 1, 2**63 - 1)
    assert row.slot.isprintable()
    assert row.errors_by_kind.isprintable()
    assert "100000 entries" in row.classes


def test_an_answer_is_a_row_with_its_json_and_the_size_of_the_piece() -> None:
    row = flat_result(stored_result(GATE, 7, crop=b"\xff\xd8\xff" + bytes(97)))
    assert (row.device, row.slot, row.load, row.trace_id) == ("gate-1", "main", 2, "0000000000000007")
    assert json.loads(row.answer) == [{"index": 3, "score": 0.9}]
    assert (row.piece_format, row.piece_bytes) == ("jpeg", 100)
    alone = flat_result(stored_result(GATE, 7))
    assert (alone.piece_format, alone.piece_bytes) == (None, None)


@pytest.mark.parametrize(
    ("answer", "read"),
    [
        (b'{"a":\n 1e3, "b": 123456789012345678901234567890}', {"a": 1000.0, "b": 123456789012345678901234567890}),
        ('{"‮": "\\u001b[31m​"}'.encode(), {"‮": "\x1b[31m​"}),
        (b"", ""),
        (b"{not\x1b", "{not\\x1b"),
        (b"\xff", "�"),
        (b"[" * 5000, "[" * 5000),
        (b"[" * 5000 + b"]" * 5000, "[" * 5000 + "]" * 5000),
        (b'"' + b"x" * 70_000 + b'"', {"left out": "70002 characters"}),
    ],
)
def test_whatever_a_board_answers_is_json_on_one_printable_line(answer: bytes, read: object) -> None:
    row = flat_result(stored_result(GATE, 7, answer))
    assert json.loads(row.answer) == read
    assert row.answer.isprintable()


def test_events_and_gaps_are_rows_too() -> None:
    event = flat_event(stored_event(GATE, 2, burst=Burst("float32", (8,), bytes(32))))
    assert (event.name, event.severity, event.burst_bytes) == ("drift-raised", "warning", 32)
    assert json.loads(event.detail) == {"feature": "input.x", "psi": 0.412}
    gap = flat_gap(stored_gap(GATE, 4, [5, 6, 9]))
    assert (gap.reason, gap.rows, gap.rows_by_kind) == ("quota", 3, '{"window": 3}')


@pytest.mark.parametrize("start", ["=1+1", "+1", "-1", "@SUM(A1)", "=cmd|' /C calc'!A0"])
def test_a_spreadsheet_takes_nothing_that_a_board_wrote_for_a_formula(start: str) -> None:
    hostile = stored_event(Device("north", start), 1, name=start, slot=start, at_ms=-1)
    text = io.StringIO()
    assert write_csv([flat_event(hostile)], "events", text) == 1
    (row,) = read_csv(text.getvalue())
    assert (row["device"], row["name"], row["slot"]) == (f"'{start}",) * 3
    assert row["at_ms"] == "-1", "a number is none"


def test_csv_goes_to_stdout_and_to_a_file_the_same(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert write(rows(reader(), "windows", ALWAYS, None, None), "windows", "csv", None, force=False) == 2
    path = tmp_path / "windows.csv"
    write(rows(reader(), "windows", ALWAYS, None, None), "windows", "csv", path, force=False)
    shown = capsys.readouterr().out
    assert path.read_text() == shown
    assert path.stat().st_mode & 0o777 == 0o600, "as the store"
    first, second = read_csv(shown)
    assert (first["device"], first["board_undervoltage"], first["energy_uj"]) == ("gate-1", "true", "1234")
    assert (second["device"], second["board_undervoltage"], second["energy_uj"]) == ("gate-2", "", "")


@pytest.mark.parametrize("what", WHAT)
def test_parquet_has_the_same_rows_with_their_types(tmp_path: Path, what: str) -> None:
    path = tmp_path / f"it's {what}.parquet"
    kind = next(known for known in WHAT if known == what)
    found = list(rows(reader(), kind, ALWAYS, None, None))
    assert write(found, kind, "parquet", path, force=False) == 2
    assert path.stat().st_mode & 0o777 == 0o600
    with duckdb.connect() as database:
        table = database.read_parquet(str(path))
        assert dict(zip(table.columns, map(str, table.types), strict=True)) == columns(kind)
        for row, read in zip(found, table.fetchall(), strict=True):
            as_read = dict(zip(table.columns, read, strict=True))
            for name in row.__struct_fields__:
                value = getattr(row, name)
                if name == "at_utc":
                    value = datetime.fromisoformat(value.replace("Z", ""))
                assert as_read[name] == value, name


def test_a_parquet_file_of_no_rows_has_its_columns(tmp_path: Path) -> None:
    assert write([], "windows", "parquet", tmp_path / "none.parquet", force=False) == 0
    with duckdb.connect() as database:
        table = database.read_parquet(str(tmp_path / "none.parquet"))
        assert (table.columns, table.fetchall()) == ([*columns("windows")], [])


def test_hostile_texts_come_through_parquet_plain(tmp_path: Path) -> None:
    hostile = [flat_event(stored_event(Device(HOSTILE, "\x00"), 1, name="\ud800", detail={"\x00": "\x00"}))]
    write(hostile, "events", "parquet", tmp_path / "h.parquet", force=False)
    with duckdb.connect() as database:
        ((fleet, device, name),) = database.sql(f"select fleet, device, name from '{tmp_path}/h.parquet'").fetchall()
    assert (device, name) == ("\\x00", "\\ud800")
    assert fleet.isprintable()


def test_more_rows_than_a_piece_come_in_their_order_and_are_told_of(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(parquet, "_PIECE_ROWS", 100)
    monkeypatch.setattr(export, "_TOLD_ROWS", 100)
    notes: list[str] = []
    log = SilentLog()
    log.note = notes.append  # type: ignore[method-assign]
    many = (flat_event(stored_event(GATE, number)) for number in range(250))
    path = tmp_path / "events.parquet"
    assert write(told(many, "events", log), "events", "parquet", path, force=False) == 250
    with duckdb.connect() as database:
        found = [number for (number,) in database.sql(f"select sequence from '{path}'").fetchall()]
    assert found == [*range(250)]
    assert [note.split(",")[0] for note in notes] == ["100 events", "200 events"]
    assert [file.name for file in tmp_path.iterdir()] == ["events.parquet"]


@pytest.mark.parametrize("piece_rows", [100, 1 << 20], ids=["its pieces", "its text"])
def test_a_full_disk_leaves_nothing_of_a_parquet_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, piece_rows: int
) -> None:
    monkeypatch.setattr(parquet, "_PIECE_ROWS", piece_rows)
    many = (
        flat_event(stored_event(GATE, number, detail={str(n): os.urandom(60).hex() for n in range(9)}))
        for number in range(9000)
    )
    with SmallDisk(tmp_path / "disk", megabytes=2) as disk:
        with pytest.raises(StorageError) as error:
            write(many, "events", "parquet", disk.path / "events.parquet", force=False)
        assert error.value.code == "disk-full"
        assert list(disk.path.iterdir()) == []


def test_fleet_and_board_narrow_it() -> None:
    for what in WHAT:
        assert [row.device for row in rows(reader(), what, ALWAYS, "south", None)] == ["gate-2"]
        assert [row.device for row in rows(reader(), what, ALWAYS, None, GATE)] == ["gate-1"]


def test_a_file_that_is_there_is_left_alone_unless_told(tmp_path: Path) -> None:
    path = tmp_path / "windows.csv"
    path.write_text("mine")
    with pytest.raises(UserError, match="there already") as error:
        write([], "windows", "csv", path, force=False)
    assert error.value.code == "export-exists"
    assert path.read_text() == "mine"
    write([], "windows", "csv", path, force=True)
    assert path.read_text().startswith("fleet,device,at_utc")
    with pytest.raises(UserError, match="is a folder"):
        write([], "windows", "csv", tmp_path, force=True)
    with pytest.raises(UserError, match="cannot go to stdout"):
        write([], "windows", "parquet", None, force=False)


def test_a_file_is_of_the_format_that_its_name_says_or_none_is_written() -> None:
    assert [format_of(Path(name)) for name in ("a.csv", "A.PARQUET", "a")] == ["csv", "parquet", "csv"]
    assert format_of(None) == "csv"
    for name in ("a.xlsx", "a.csv.gz"):
        with pytest.raises(UserError, match="no file that ends in") as error:
            format_of(Path(name))
        assert error.value.code == "export-name"


def test_a_device_or_a_pipe_is_not_replaced_by_a_file(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe.csv"
    os.mkfifo(pipe)
    (tmp_path / "link.csv").symlink_to("/dev/null")
    for path in (pipe, tmp_path / "link.csv", Path("/dev/full"), Path("/dev/stdout"), Path("/proc/self/fd/1")):
        with pytest.raises(UserError, match="a device or a pipe") as error:
            check_target(path, "csv", force=True)
        assert error.value.code == "not-a-file"
    assert pipe.is_fifo()


def test_a_failure_half_way_leaves_no_piece_of_a_file(tmp_path: Path) -> None:
    def failing() -> object:
        yield flat_event(stored_event(GATE, 1))
        raise RuntimeError("the store is gone")

    for file_format in ("csv", "parquet"):
        with pytest.raises(RuntimeError):
            write(failing(), "events", file_format, tmp_path / "events.out", force=False)  # type: ignore[arg-type]
    assert list(tmp_path.iterdir()) == []
