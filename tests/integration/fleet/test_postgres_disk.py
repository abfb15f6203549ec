"""PostgreSQL without room on its disk, under a collector: nothing is lost, whether or not the server stays up."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import psycopg
import pytest
from edgeglm_agent.wire.telemetry import Result, Row, Window, encode_batch, row_of
from edgeglm_agent.wire.topics import Topics

from edgeglm.fleet.store.opening import open_reader
from edgeglm.fleet.store.types import Device
from tests.support.agent.broker import Broker
from tests.support.agent.small_disk import SmallDisk
from tests.support.fleet.arriving import EVER
from tests.support.fleet.collector import Sender, running_collector, until, until_nothing_more_is_read
from tests.support.fleet.postgres import Postgres

BOARD = Device("works", "b-1")
EPOCH = b"epoch--1"


@pytest.fixture(scope="module")
def postgres() -> Iterator[Postgres]:
    server = Postgres("min_wal_size=32MB", disk_megabytes=160)  # its log of changes has little room beforehand
    yield server
    server.remove()


@pytest.fixture
def disk(postgres: Postgres) -> SmallDisk:
    assert postgres.disk is not None
    return postgres.disk


@pytest.fixture
def url(postgres: Postgres) -> str:
    address = postgres.new_database()
    with postgres.connection("postgres") as db:
        db.execute("select pg_switch_wal()")  # a whole segment has room: what fails first are the tables
        db.execute("checkpoint")
    return address


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


def stored(url: str) -> list[tuple[bytes, int]]:
    reader = open_reader(url)
    found = [*reader.windows(EVER), *reader.results(BOARD, EVER)]
    reader.close()
    return sorted((one.epoch, one.sequence) for one in found)


def write_ahead(postgres: Postgres, megabytes: int) -> None:
    """Have the server write into its log of changes, until it cannot."""
    with postgres.connection("postgres") as db, suppress(psycopg.Error):
        for _ in range(megabytes * 10):
            db.execute("select pg_logical_emit_message(false, 'work of others', repeat('x', 100000))")


@pytest.mark.parametrize("pictures", [0, pytest.param(130, marks=pytest.mark.full)])  # twice what may be in hand
def test_a_full_disk_is_told_once_and_what_waits_for_room_is_bounded_and_kept_once(
    tmp_path: Path, broker: Broker, url: str, disk: SmallDisk, pictures: int
) -> None:
    with (
        running_collector(tmp_path / "collector", f"mqtt://127.0.0.1:{broker.port}", url=url) as collector,
        Sender(broker.port) as sender,
    ):
        sender.give(BOARD.name, EPOCH, recent(1, 50))
        sender.until_acknowledged()
        before = collector.resident_mb()
        disk.fill()
        sender.give(BOARD.name, EPOCH, recent(51, 2050))
        sender.send()
        collector.until_said("nothing is acknowledged")
        for number in range(pictures):
            row = row_of(10_001 + number, Result("main", 1, "0" * 16, 0, b"{}", crop=bytes(1 << 20)))
            sender.client.publish(Topics(*BOARD).results, encode_batch(EPOCH, [row]), qos=1)
        if pictures:
            assert min(until_nothing_more_is_read(collector, broker.port)) < before + 100, "64 MB, and what heaps waste"
        assert (sender.left(), disk.is_full()) == (2000, True)
        disk.free()
        sender.until_acknowledged()
        until(lambda: len(stored(url)) == 2050 + pictures, "all of it in the store", collector)
        assert collector.end() == 143
        assert "make room on its disk" in collector.log()
        assert collector.log().count("nothing is acknowledged") == 1
        assert "Traceback" not in collector.log()
    assert stored(url) == [(EPOCH, n) for n in (*range(1, 2051), *range(10_001, 10_001 + pictures))]


def test_a_server_that_went_down_for_want_of_room_is_started_again_and_loses_nothing(
    tmp_path: Path, broker: Broker, url: str, postgres: Postgres, disk: SmallDisk
) -> None:
    with (
        running_collector(tmp_path / "collector", f"mqtt://127.0.0.1:{broker.port}", url=url) as collector,
        Sender(broker.port) as sender,
    ):
        sender.give(BOARD.name, EPOCH, recent(1, 50))
        sender.until_acknowledged()
        disk.fill()
        sender.give(BOARD.name, EPOCH, recent(51, 2050))
        sender.send()
        collector.until_said("make room on its disk")
        write_ahead(postgres, megabytes=400)
        until(postgres.has_ended, "it is down")
        assert "PANIC:  could not write to file" in postgres.log()
        collector.until_said("no PostgreSQL")
        assert sender.left() == 2000
        disk.free()
        postgres.start()
        sender.until_acknowledged()
        assert collector.end() == 143
        assert collector.log().count("nothing is acknowledged") == 2, "for want of room, and of a server"
        assert "Traceback" not in collector.log()
    assert stored(url) == [(EPOCH, n) for n in range(1, 2051)]
