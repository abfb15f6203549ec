"""The PostgreSQL store, where it is not like every store: several collectors, a server that comes and goes."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
from edgeglm_agent.wire.telemetry import Row, Window, row_of

from edgeglm.errors import StoreError, UserError
from edgeglm.fleet.store.opening import open_reader, open_store
from edgeglm.fleet.store.postgres_reader import PostgresReader
from edgeglm.fleet.store.postgres_schema import SCHEMA
from edgeglm.fleet.store.types import Arrivals, Device, Span, Stream
from tests.support.agent.broker import Broker
from tests.support.fleet.arriving import BOARD, EVER, NOW, STREAM, batch, event, window, windows
from tests.support.fleet.collector import PATIENCE_S, Sender, running_collector, until
from tests.support.fleet.postgres import Postgres

EPOCH = b"epoch--1"
DAY_MS = 86_400_000


@pytest.fixture(scope="module")
def postgres() -> Iterator[Postgres]:
    server = Postgres()
    yield server
    server.remove()


@pytest.fixture
def url(postgres: Postgres) -> str:
    return postgres.new_database()


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[Broker]:
    with Broker(tmp_path / "broker") as one:
        yield one


def recent(first: int, last: int) -> list[Row]:
    now = int(time.time() * 1000) - 1_000_000
    return [
        row_of(n, Window("main", 1, "00" * 8, now + n, n * 1000, 1000, True, inferences=n))
        for n in range(first, last + 1)
    ]


def stored(url: str) -> list[tuple[str, bytes, int]]:
    reader = open_reader(url)
    found = sorted((one.device.name, one.epoch, one.sequence) for one in reader.windows(EVER))
    reader.close()
    return found


def test_collectors_that_share_a_store_lose_nothing_and_keep_nothing_twice_whichever_is_killed(
    tmp_path: Path, broker: Broker, url: str
) -> None:
    address, boards, rows = f"mqtt://127.0.0.1:{broker.port}", [f"b-{n}" for n in range(16)], 150
    with (
        running_collector(tmp_path / "low", address, "--shards", "00-7f", url=url) as low,
        running_collector(tmp_path / "high", address, "--shards", "80-ff", url=url),
        running_collector(tmp_path / "all", address, "--shards", "00-ff", url=url) as every,  # gets all of it too
        Sender(broker.port) as sender,
    ):
        for turn in range(3):
            for board in boards:
                sender.give(board, EPOCH, recent(turn * rows + 1, turn * rows + rows))
            sender.send(at_once=10)
            victim = (low, every)[turn % 2]
            victim.end(signal.SIGKILL)
            victim.start()
        sender.until_acknowledged()
        for one in (low, every):
            one.until_said("connected to", 2)
            assert one.end() == 143
            assert "Traceback" not in one.log()
            assert "a bug of edgeglm" not in one.log()
    assert stored(url) == [(board, EPOCH, n) for board in sorted(boards) for n in range(1, 3 * rows + 1)]
    reader = open_reader(url)
    assert {(one.rows, one.taken_back) for one in reader.devices()} == {(3 * rows, 0)}
    reader.close()


def test_a_server_that_is_restarted_is_waited_for_and_nothing_is_acknowledged_meanwhile(
    tmp_path: Path, broker: Broker, url: str, postgres: Postgres
) -> None:
    with (
        running_collector(tmp_path / "collector", f"mqtt://127.0.0.1:{broker.port}", url=url) as collector,
        Sender(broker.port) as sender,
    ):
        sender.give("b-1", EPOCH, recent(1, 100))
        sender.until_acknowledged()
        postgres.end()
        try:
            sender.give("b-1", EPOCH, recent(101, 200))
            sender.send()
            collector.until_said("nothing is acknowledged")
            assert sender.left() == 100
        finally:
            postgres.start()
        until(lambda: sender.left() == 0, "all acknowledged", collector)
        assert collector.end() == 143
        assert collector.log().count("nothing is acknowledged") == 1
        assert "Traceback" not in collector.log()
    assert stored(url) == [("b-1", EPOCH, n) for n in range(1, 201)]


def test_a_server_that_fails_over_to_its_copy_loses_nothing(tmp_path: Path, broker: Broker, postgres: Postgres) -> None:
    copy = Postgres(follows=postgres)
    try:
        with postgres.connection("postgres") as db:
            db.execute("alter system set synchronous_standby_names = '*'")
            db.execute("select pg_reload_conf()")
        database = postgres.new_database().rpartition("/")[2]
        url = f"postgresql://tests@127.0.0.1:{copy.port},127.0.0.1:{postgres.port}/{database}"
        with (
            running_collector(tmp_path / "collector", f"mqtt://127.0.0.1:{broker.port}", url=url) as collector,
            Sender(broker.port) as sender,
        ):
            sender.give("b-1", EPOCH, recent(1, 3000))
            sender.send()
            until(lambda: sender.left() < 3000, "some acknowledged", collector)
            postgres.end(signal.SIGKILL)
            sender.give("b-1", EPOCH, recent(3001, 3200))
            sender.send()
            collector.until_said("nothing is acknowledged")
            copy.promote()
            until(lambda: sender.left() == 0, "all acknowledged", collector)
            assert collector.end() == 143
            assert "Traceback" not in collector.log()
        assert stored(copy.url(database)) == [("b-1", EPOCH, n) for n in range(1, 3201)]
    finally:
        copy.remove()
        postgres.start()
        with postgres.connection("postgres") as db:
            db.execute("alter system reset synchronous_standby_names")
            db.execute("select pg_reload_conf()")


@pytest.mark.full
def test_a_commit_that_waits_for_a_standby_that_is_gone_is_told_and_does_not_hold_up_the_end(
    tmp_path: Path, broker: Broker, url: str, postgres: Postgres
) -> None:
    def awaited(standby: str) -> None:
        with postgres.connection("postgres") as db:
            db.execute(f"alter system set synchronous_standby_names = '{standby}'")
            db.execute("select pg_reload_conf()")

    with (
        running_collector(tmp_path / "collector", f"mqtt://127.0.0.1:{broker.port}", url=url) as collector,
        Sender(broker.port) as sender,
    ):
        sender.give("b-1", EPOCH, recent(1, 100))
        sender.until_acknowledged()
        awaited("ghost")
        try:
            sender.give("b-1", EPOCH, recent(101, 200))
            sender.send()
            collector.until_said("the store has not answered for 10 s")
            assert sender.left() == 100
            assert collector.end() == 143
            assert "Traceback" not in collector.log()
        finally:
            awaited("")
        collector.start()
        sender.until_acknowledged()
    assert stored(url) == [("b-1", EPOCH, n) for n in range(1, 201)]


def test_where_no_connection_is_free_it_is_said_and_tried_again(
    tmp_path: Path, broker: Broker, url: str, postgres: Postgres
) -> None:
    database = url.rpartition("/")[2]
    with postgres.connection(url) as db:
        db.execute("drop role if exists narrow")
        db.execute("create role narrow login connection limit 1")
        db.execute(f"alter database {database} owner to narrow")
    own = postgres.url(database, "narrow")
    with (
        running_collector(tmp_path / "collector", f"mqtt://127.0.0.1:{broker.port}", url=own) as collector,
        Sender(broker.port) as sender,
        postgres.connection(url) as db,
    ):
        db.execute("select pg_terminate_backend(pid) from pg_stat_activity where usename = 'narrow'")
        other = _the_one_connection(own)
        sender.give("b-1", EPOCH, recent(1, 50))
        sender.send()
        collector.until_said("nothing is acknowledged")
        with pytest.raises(StoreError, match="too many connections") as caught:
            open_store(own)
        assert caught.value.code == "store-unreachable"
        assert sender.left() == 50
        other.close()
        until(lambda: sender.left() == 0, "all acknowledged", collector)
        assert collector.end() == 143
    assert len(stored(url)) == 50


def _the_one_connection(url: str) -> psycopg.Connection[tuple[object, ...]]:
    give_up = time.monotonic() + PATIENCE_S
    while True:
        try:
            return psycopg.connect(url)
        except psycopg.OperationalError:
            assert time.monotonic() < give_up
            time.sleep(0.05)


def test_a_board_is_forgotten_while_a_collector_runs_and_comes_again_as_a_new_one(
    tmp_path: Path, broker: Broker, url: str
) -> None:
    with (
        running_collector(tmp_path / "collector", f"mqtt://127.0.0.1:{broker.port}", url=url) as collector,
        Sender(broker.port) as sender,
    ):
        for board in ("b-1", "b-2"):
            sender.give(board, EPOCH, recent(1, 20))
        sender.until_acknowledged()
        command = [sys.executable, "-m", "edgeglm", "fleet", "forget", "works/b-1", "--yes", "--store", url]
        done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE_S)
        assert (done.returncode, "20 rows" in done.stderr) == (0, True), done.stderr
        sender.give("b-1", EPOCH, recent(21, 30))
        sender.until_acknowledged()
        assert collector.end() == 143
        assert "warning" not in collector.log()
    assert [one for one in stored(url) if one[0] == "b-1"] == [("b-1", EPOCH, n) for n in range(21, 31)]
    assert sum(1 for one in stored(url) if one[0] == "b-2") == 20


def test_two_writers_of_one_stream_keep_each_row_once(url: str) -> None:
    first, second = open_store(url), open_store(url)
    for turn in range(5):
        rows = windows(*range(turn * 3 + 1, turn * 3 + 6))
        done = [one.commit(Arrivals([batch(*rows)])) for one in ((first, second), (second, first))[turn % 2]]
        assert done[1].new_rows == 0
        assert done[0].known[STREAM].through == done[1].known[STREAM].through == turn * 3 + 5
    for one in (first, second):
        one.close()
    assert [number for _, _, number in stored(url)] == list(range(1, 18))


def test_what_was_written_and_not_flushed_is_not_kept(url: str) -> None:
    store = open_store(url)
    store.commit(Arrivals([batch(*windows(1))]))
    store.write(Arrivals([batch(*windows(2))]))
    store.close()
    store = open_store(url)
    assert store.commit(Arrivals([batch(*windows(2, 3))])).new_rows == 2
    store.close()


def test_rows_lie_in_tables_of_their_days_whatever_time_they_claim(url: str, postgres: Postgres) -> None:
    store = open_store(url)
    times = [NOW, NOW - 3 * DAY_MS, NOW - 400 * DAY_MS, 1_577_836_800_000]
    rows = [row_of(n, window(n, at_ms=at_ms)) for n, at_ms in enumerate(times, 1)]
    assert store.commit(Arrivals([batch(*rows)])).new_rows == 4
    assert store.commit(Arrivals([batch(*windows(9), stream=Stream(Device("works", "later"), EPOCH))])).new_rows == 1
    store.close()
    with postgres.connection(url) as db:
        found = db.execute("select tableoid::regclass::text, count(*) from edgeglm.windows group by 1 order by 1")
        assert found.fetchall() == [
            ("edgeglm.windows_20270112", 1),
            ("edgeglm.windows_20270115", 2),
            ("edgeglm.windows_before", 2),
        ]
        ahead = db.execute("select to_regclass('edgeglm.events_20270117') is not null").fetchone()
        assert ahead == (True,), "days are made before they come"
    assert len(stored(url)) == 5


def test_rows_of_many_boards_come_in_order_over_stretches_that_hold_much_and_over_days_that_hold_none(
    url: str, postgres: Postgres, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(PostgresReader, "page", 7)
    monkeypatch.setattr(PostgresReader, "stretch_ms", 1000)
    dense = [NOW - 5 * DAY_MS + number // 4 for number in range(60)]  # several at one moment
    times = [1_577_836_800_000, *dense, *(NOW - 2 * DAY_MS + number * 90_000 for number in range(30)), NOW]
    store = open_store(url)
    for name in ("gate-1", "gate-2"):
        rows = [row_of(n, window(n, at_ms=at_ms)) for n, at_ms in enumerate(times, 1)]
        store.commit(Arrivals([batch(*rows, stream=Stream(Device("works", name), EPOCH))]))
    store.close()
    with postgres.connection(url) as db:
        key = "at_ms, device, stream, sequence"
        expected = db.execute(f"select {key} from edgeglm.windows order by {key}").fetchall()
        names = dict(db.execute("select id, name from edgeglm.devices").fetchall())
    reader = open_reader(url)
    found = [(one.at_ms, one.device.name, one.sequence) for one in reader.windows(EVER)]
    some = Span(dense[3], dense[41])
    part = [(one.at_ms, one.device.name, one.sequence) for one in reader.windows(some)]
    reader.close()
    wanted = [(at_ms, names[device], sequence) for at_ms, device, _, sequence in expected]
    assert found == wanted
    assert len(found) == 2 * len(times)
    assert part == [one for one in wanted if some.since_ms <= one[0] < some.until_ms]


def test_a_store_of_a_newer_version_is_refused_and_one_that_is_not_there_is_not_made(
    url: str, postgres: Postgres
) -> None:
    with pytest.raises(UserError) as missing:
        open_reader(url)
    assert missing.value.code == "store-missing"
    running = open_store(url)
    running.commit(Arrivals([batch(*windows(1))]))
    looking = open_reader(url)
    assert len(looking.devices()) == 1
    with postgres.connection(url) as db:
        db.execute("update edgeglm.schema_version set version = %s", (SCHEMA + 1,))
        with pytest.raises(StoreError, match=f"schema {SCHEMA + 1}"):
            looking.devices()
        looking.close()
        with pytest.raises(StoreError) as taken_over:
            running.commit(Arrivals([batch(*windows(2))]))
        assert taken_over.value.code == "store-newer"
        assert db.execute("select count(*) from edgeglm.windows").fetchone() == (1,)
    running.close()
    for opened in (open_store, open_reader):
        with pytest.raises(StoreError, match=f"schema {SCHEMA + 1}") as caught:
            opened(url)
        assert caught.value.code == "store-newer"


def test_a_reader_goes_on_after_its_connection_has_ended(url: str, postgres: Postgres) -> None:
    store = open_store(url)
    store.commit(Arrivals([batch(*windows(1))]))
    store.close()
    reader = open_reader(url)
    with postgres.connection(url) as db:
        db.execute("select pg_terminate_backend(pid) from pg_stat_activity where application_name = 'edgeglm'")
    with pytest.raises(StoreError) as caught:
        reader.devices()
    assert caught.value.code == "store-unreachable"
    assert [one.device for one in reader.devices()] == [BOARD]
    reader.close()


def test_logs_follow_on_after_a_restart_and_show_each_event_once(url: str, postgres: Postgres, tmp_path: Path) -> None:
    now_ms = time.time_ns() // 1_000_000
    store = open_store(url)
    store.commit(Arrivals([batch(row_of(1, event("first", at_ms=now_ms)), at_ms=now_ms)]))
    store.close()
    out, log = tmp_path / "out", tmp_path / "log"
    with out.open("wb") as shown, log.open("wb") as said:
        command = [sys.executable, "-m", "edgeglm", "fleet", "logs", "--follow", "--store", url]
        following = subprocess.Popen(command, stdout=shown, stderr=said)

    def until_told(path: Path, text: str) -> None:
        give_up = time.monotonic() + PATIENCE_S
        while text not in path.read_text():
            assert following.poll() is None, log.read_text()
            assert time.monotonic() < give_up, path.read_text()
            time.sleep(0.05)

    try:
        until_told(out, " first ")
        postgres.end()
        try:
            until_told(log, "it is tried again")
            time.sleep(2.5)  # it does try
        finally:
            postgres.start()
        store = open_store(url)
        # of a collector that had it in hand when the server went, behind one that has gone on already
        store.commit(Arrivals([batch(row_of(2, event("second", at_ms=now_ms)), at_ms=now_ms + 300_000)]))
        until_told(out, " second ")
        store.commit(Arrivals([batch(row_of(3, event("late", at_ms=now_ms)), at_ms=now_ms + 10_000)]))
        until_told(out, " late ")
        store.close()
        following.send_signal(signal.SIGTERM)
        assert following.wait(PATIENCE_S) == 143
    finally:
        following.kill()
        following.wait()
    names = [line.split()[4] for line in out.read_text().splitlines()]
    assert names == ["first", "second", "late"]
    assert log.read_text().count("it is tried again") == 1
    assert log.read_text().count("the store can be read again") == 1
    assert "Traceback" not in log.read_text()


def test_what_cannot_be_reached_or_used_is_said_without_a_traceback(url: str, postgres: Postgres) -> None:
    with postgres.connection(url) as db:
        db.execute("drop role if exists stranger")
        db.execute("create role stranger login")
        db.execute(f"revoke create on database {url.rpartition('/')[2]} from public")
    for address, error, code in (
        (postgres.url("nowhere"), StoreError, "store-unreachable"),
        ("postgresql://me@127.0.0.1:1/fleet", StoreError, "store-unreachable"),
        (postgres.url(url.rpartition("/")[2], "stranger"), StoreError, "store-refused"),
        (f"{url}?no-such-setting=1", UserError, "store-address"),
    ):
        with pytest.raises(error) as caught:
            open_store(address)
        assert caught.value.code == code


def test_a_collector_without_rights_says_so_and_nothing_of_python(
    url: str, postgres: Postgres, tmp_path: Path, broker: Broker
) -> None:
    open_store(url).close()
    with postgres.connection(url) as db:
        db.execute("drop role if exists looker")
        db.execute("create role looker login")
        db.execute("grant usage on schema edgeglm to looker")
        db.execute("grant select on all tables in schema edgeglm to looker")
    theirs = postgres.url(url.rpartition("/")[2], "looker")
    words = ["--broker", f"mqtt://127.0.0.1:{broker.port}", "--store", theirs]
    command = [sys.executable, "-m", "edgeglm", "fleet", "collect", *words]
    ended = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, check=False, timeout=PATIENCE_S)
    assert ended.returncode == 4
    assert ended.stderr.endswith("code: store-refused\n")
    assert "never awaited" not in ended.stderr
    assert "Traceback" not in ended.stderr


def test_a_copy_that_was_made_meanwhile_is_a_store(url: str, postgres: Postgres) -> None:
    store = open_store(url)
    store.commit(Arrivals([batch(*windows(1, 2, 3))]))
    name = store.identity()
    copy = postgres.folder / "fleet.dump"
    place = ("-h", "127.0.0.1", "-p", str(postgres.port), "-U", "tests")
    postgres.program("pg_dump", *place, "--format=custom", "--schema=edgeglm", "--file", copy, url.rpartition("/")[2])
    store.close()
    restored = postgres.new_database()
    postgres.program("pg_restore", *place, "--dbname", restored.rpartition("/")[2], copy)
    store = open_store(restored)
    assert store.identity() != name, "another database"
    done = store.commit(Arrivals([batch(*windows(3, 4))]))
    store.close()
    assert (done.new_rows, done.duplicates) == (1, 1)
    for where, same in ((url, True), (restored, False)):
        reader = open_reader(where)
        assert (reader.identity() == name) is same
        reader.close()
    reader = open_reader(restored)
    assert [one.sequence for one in reader.windows(EVER, BOARD)] == [1, 2, 3, 4]
    reader.close()
