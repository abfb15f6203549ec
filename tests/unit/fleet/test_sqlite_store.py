"""The SQLite store, where it is not like every store: its file, its one writer, its versions."""

from __future__ import annotations

import shutil
import sqlite3
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest
from edgeglm_agent.wire.telemetry import Row

from edgeglm.errors import BusyError, EdgeglmError, StoreError, UserError
from edgeglm.fleet.store.opening import open_reader, open_store
from edgeglm.fleet.store.sqlite_reader import SqliteReader
from edgeglm.fleet.store.sqlite_schema import APPLICATION_ID, MIGRATIONS, SCHEMA
from edgeglm.fleet.store.sqlite_writer import SqliteWriter
from edgeglm.fleet.store.types import (
    Arrivals,
    Committed,
    Device,
    Known,
)
from tests.support.fleet.arriving import BOARD, EVER, NOW, STREAM, batch, event, window, windows


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "fleet.db"


@pytest.fixture
def store(path: Path) -> Iterator[SqliteWriter]:
    one = SqliteWriter(path)
    yield one
    one.close()


@pytest.fixture
def reader(store: SqliteWriter, path: Path) -> Iterator[SqliteReader]:
    one = SqliteReader(path)
    yield one
    one.close()


def numbers_of(reader: SqliteReader, device: Device = BOARD) -> list[int]:
    return [stored.sequence for stored in reader.windows(EVER, device)]


def test_what_is_known_is_known_after_the_store_was_opened_again(path: Path) -> None:
    for numbers, expected in (
        ((2, 3, 9), Known(0, ((2, 3), (9, 9)))),
        ((1, 5), Known(3, ((5, 5), (9, 9)))),
        ((4, 6, 7, 8), Known(9)),
    ):
        store = SqliteWriter(path)
        assert store.commit(Arrivals([batch(*windows(*numbers))])).known == {STREAM: expected}
        store.close()


def test_a_copy_is_another_store_and_what_is_restored_is_the_same(path: Path) -> None:
    def name_of(where: Path) -> str:
        store = SqliteWriter(where)
        name = store.identity()
        store.close()
        reader = SqliteReader(where)
        assert reader.identity() == name, "as who only looks knows it"
        reader.close()
        return name

    SqliteWriter(path).close()
    reader = SqliteReader(path)
    assert reader.identity() == "", "nobody has collected into it"
    reader.close()
    name = name_of(path)
    assert name_of(path) == name
    copy = path.with_name("copy.db")
    shutil.copy(path, copy)
    assert name_of(copy) not in ("", name)
    path.unlink()
    assert name_of(path) != name, "a new one in the same place"
    path.unlink()
    copy.replace(path)
    assert name_of(path) == name, "restored"


def test_what_was_written_and_not_flushed_is_not_kept(path: Path) -> None:
    store = SqliteWriter(path)
    store.commit(Arrivals([batch(*windows(1))]))
    store.write(Arrivals([batch(*windows(2))]))
    store.close()
    store = SqliteWriter(path)
    assert store.commit(Arrivals([batch(*windows(2, 3))])).new_rows == 2
    store.close()


def test_a_row_of_a_later_version_is_kept_and_later_fields_of_known_ones_survive(
    store: SqliteWriter, path: Path
) -> None:
    later = Row(1, 7, msgspec.Raw(msgspec.msgpack.encode(["new", "things"])))
    longer = [*msgspec.msgpack.decode(msgspec.msgpack.encode(window(2))), "a field that comes later"]
    store.commit(Arrivals([batch(later, Row(2, 0, msgspec.Raw(msgspec.msgpack.encode(longer))))]))
    with sqlite3.connect(path) as db:
        assert msgspec.msgpack.decode(db.execute("select body from others").fetchone()[0]) == ["new", "things"]
        assert msgspec.msgpack.decode(db.execute("select body from windows").fetchone()[0])[-1] == longer[-1]
    assert store.commit(Arrivals([batch(later)])).duplicates == 1


def test_two_writers_are_one_too_many(store: SqliteWriter, path: Path) -> None:
    with pytest.raises(BusyError, match="another collector"):
        SqliteWriter(path)


def test_a_store_of_a_newer_version_is_refused_and_left_as_it_is(path: Path) -> None:
    SqliteWriter(path).close()
    with sqlite3.connect(path) as db:
        db.execute(f"pragma user_version = {SCHEMA + 1}")
    db.close()
    before = path.read_bytes()
    for opened in (open_store, open_reader):
        with pytest.raises(StoreError, match=f"schema {SCHEMA + 1}") as caught:
            opened(f"sqlite:///{path}")
        assert (caught.value.code, caught.value.exit_code) == ("store-newer", 4)
    assert path.read_bytes() == before


def test_a_store_of_the_first_version_is_brought_up_to_date_with_all_that_is_in_it(path: Path) -> None:
    with sqlite3.connect(path) as db:
        db.executescript(f"{MIGRATIONS[0]}; pragma application_id = {APPLICATION_ID}; pragma user_version = 1")
        db.execute("insert into devices values (1, 'works', 'press-1', 'aa', ?, ?, null, 0)", (NOW, NOW))
        db.execute("insert into streams (id, device, epoch, through, rows) values (1, 1, ?, 2, 2)", (STREAM.epoch,))
        for number in (1, 2):
            body = msgspec.msgpack.encode(window(number))
            at_ms = window(number).start_ms
            db.execute(
                "insert into windows values (?, 1, 1, ?, ?, 'main', 1000, 0, 0, null, null, null, ?)",
                (at_ms, number, NOW, body),
            )
        db.execute("insert into latest values (1, 'main', ?, 1, 2)", (window(2).start_ms,))
    db.close()
    with pytest.raises(StoreError) as caught:
        SqliteReader(path)
    assert caught.value.code == "store-older"
    store = SqliteWriter(path)
    assert store.commit(Arrivals([batch(*windows(2, 3))])).duplicates == 1
    store.close()
    reader = SqliteReader(path)
    assert numbers_of(reader) == [1, 2, 3]
    summary = reader.device(BOARD)
    assert summary is not None
    assert summary.slots["main"].window == window(3)
    reader.close()


def test_a_copy_that_was_made_meanwhile_is_a_store(store: SqliteWriter, path: Path) -> None:
    """As `.backup` of the sqlite3 shell makes it."""
    store.commit(Arrivals([batch(*windows(1, 2, 3))]))
    copy = path.with_name("copy.db")
    with sqlite3.connect(path) as whole, sqlite3.connect(copy) as into:
        store.write(Arrivals([batch(*windows(4))]))
        whole.backup(into)
        store.flush()
    whole.close()
    into.close()
    other = SqliteWriter(copy)
    done = other.commit(Arrivals([batch(*windows(3, 4))]))
    other.close()
    assert (done.new_rows, done.duplicates) == (1, 1), "what was not committed is not in it"
    reader = SqliteReader(copy)
    assert numbers_of(reader) == [1, 2, 3, 4]
    reader.close()


def test_a_damaged_store_is_refused_and_left_as_it_is(path: Path) -> None:
    path.write_bytes(b"SQLite format 3\0" + b"\xff" * 8000)
    before = path.read_bytes()
    with pytest.raises(StoreError) as caught:
        SqliteWriter(path)
    assert caught.value.code == "store-damaged"
    assert path.read_bytes() == before


def test_somebody_elses_database_is_refused(path: Path) -> None:
    with sqlite3.connect(path) as db:
        db.execute("create table accounts (name)")
    db.close()
    with pytest.raises(UserError) as caught:
        SqliteWriter(path)
    assert caught.value.code == "store-foreign"


def test_the_store_is_its_owners_alone(store: SqliteWriter, path: Path) -> None:
    assert path.stat().st_mode & 0o077 == 0


def test_to_look_at_a_store_that_is_not_there_makes_none(path: Path) -> None:
    with pytest.raises(UserError, match="no store"):
        SqliteReader(path)
    assert not path.exists()


def test_an_error_while_writing_keeps_nothing_of_it(store: SqliteWriter, path: Path) -> None:
    with sqlite3.connect(path, isolation_level=None) as other:
        other.execute("begin immediate")
        store._db.execute("pragma busy_timeout = 0")
        with pytest.raises(EdgeglmError) as caught:
            store.commit(Arrivals([batch(*windows(1))]))
        assert caught.value.code == "store-locked"
        other.execute("rollback")
    other.close()
    done: Committed = store.commit(Arrivals([batch(*windows(1))]))
    assert (done.new_rows, done.duplicates) == (1, 0)


def test_a_store_of_an_older_version_is_brought_up_to_date_with_what_is_in_it(path: Path) -> None:
    with sqlite3.connect(path) as db:
        for statement in MIGRATIONS[0].split(";"):
            db.execute(statement)
        db.execute(f"pragma application_id = {APPLICATION_ID}")
        db.execute("pragma user_version = 1")
        db.execute("insert into devices values (1, 'works', 'press-1', '00', 1, 1, null, 0)")
        db.execute("insert into streams (id, device, epoch) values (1, 1, ?)", (STREAM.epoch,))
        body = msgspec.msgpack.encode(event())
        row = (NOW, 1, 1, 7, NOW, "main", "throttled", "info", body)
        db.execute("insert into events values (?, ?, ?, ?, ?, ?, ?, ?, ?)", row)
    db.close()
    with pytest.raises(StoreError) as caught:
        open_reader(f"sqlite:///{path}")
    assert caught.value.code == "store-older"
    SqliteWriter(path).close()
    reader = SqliteReader(path)
    assert [one.event for one in reader.events_received(0)] == [event()]
    reader.close()


def test_a_store_that_is_taken_away_or_exchanged_is_told(store: SqliteWriter, reader: SqliteReader, path: Path) -> None:
    store.commit(Arrivals([batch(*windows(1))]))
    aside = path.rename(path.with_name("aside.db"))
    with pytest.raises(StoreError, match="gone") as caught:
        reader.devices()
    assert caught.value.code == "store-gone"
    path.touch()
    with pytest.raises(StoreError, match="another store"):
        reader.devices()
    aside.replace(path)
    assert len(reader.devices()) == 1


def test_a_store_that_a_newer_version_took_over_is_not_read_on(
    store: SqliteWriter, reader: SqliteReader, path: Path
) -> None:
    assert reader.devices() == []
    with sqlite3.connect(path) as db:
        db.execute(f"pragma user_version = {SCHEMA + 1}")
    db.close()
    with pytest.raises(StoreError) as caught:
        reader.devices()
    assert caught.value.code == "store-newer"


def test_a_store_has_one_name_which_is_told_also_while_somebody_holds_it(tmp_path: Path) -> None:
    path = tmp_path / "fleet.db"
    first = SqliteWriter(path)
    name = first.identity()
    first.close()
    again, holder = SqliteWriter(path), sqlite3.connect(path, isolation_level=None)
    holder.execute("begin immediate")
    assert again.identity() == name
    holder.close()
    again.close()
    other = SqliteWriter(tmp_path / "other.db")
    assert other.identity() != name
    other.close()
