"""The collector as a process, with a real broker: what is acknowledged is in the store, once."""

from __future__ import annotations

import os
import random
import shutil
import signal
import sqlite3
import subprocess
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from edgeglm_agent.wire.commands import Reply, State, encode
from edgeglm_agent.wire.telemetry import Result, Row, Window, encode_batch, row_of
from edgeglm_agent.wire.topics import Topics

from edgeglm.fleet.store.sqlite_reader import SqliteReader
from edgeglm.fleet.store.sqlite_writer import SqliteWriter
from edgeglm.fleet.store.types import Device, DeviceSummary, Span
from tests.support.agent.broker import Broker
from tests.support.agent.certificates import Authority
from tests.support.agent.relay import Relay, only_version_311
from tests.support.agent.small_disk import SmallDisk
from tests.support.fleet.collector import (
    RunningCollector,
    Sender,
    running_collector,
    until,
    until_nothing_more_is_read,
)

EVER = Span(-(2**61), 2**61)
EPOCH = b"epoch--1"
TOPICS = Topics("works", "press-1")


def windows(first: int, last: int, *, at_ms: int | None = None) -> list[Row]:
    now = int(time.time() * 1000) - 100_000_000 if at_ms is None else at_ms
    return [
        row_of(n, Window("main", 1, "00" * 8, now + n * 1000, n * 1000, 1000, True, inferences=n))
        for n in range(first, last + 1)
    ]


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[Broker]:
    with Broker(tmp_path / "broker") as one:
        yield one


@pytest.fixture
def collector(broker: Broker, tmp_path: Path) -> Iterator[RunningCollector]:
    with running_collector(tmp_path / "fleet.db", f"mqtt://127.0.0.1:{broker.port}") as one:
        yield one


@pytest.fixture
def sender(broker: Broker) -> Iterator[Sender]:
    with Sender(broker.port) as one:
        yield one


def stored(path: Path, device: str = "press-1") -> list[tuple[bytes, int]]:
    reader = SqliteReader(path)
    found = [(one.epoch, one.sequence) for one in reader.windows(EVER, Device("works", device))]
    reader.close()
    return found


def summary(path: Path, device: str = "press-1") -> DeviceSummary | None:
    reader = SqliteReader(path)
    found = reader.device(Device("works", device))
    reader.close()
    return found


def test_rows_are_acknowledged_and_in_the_store(collector: RunningCollector, sender: Sender) -> None:
    sender.give("press-1", EPOCH, windows(1, 200))
    sender.until_acknowledged()
    assert stored(collector.store) == [(EPOCH, n) for n in range(1, 201)]
    assert collector.end(signal.SIGTERM) == 143
    assert "stopped: 200 rows" in collector.log()
    assert "Traceback" not in collector.log()


def test_what_waits_in_a_commit_is_kept_and_told_when_it_is_stopped(
    collector: RunningCollector, sender: Sender
) -> None:
    sender.give("press-1", EPOCH, windows(1, 50))
    sender.send(within_s=3000)  # no acknowledgement for most of an hour
    until(lambda: len(stored(collector.store)) == 50, "all rows in the store", collector)
    assert sender.acks == 0
    assert collector.end(signal.SIGINT) == 130
    until(lambda: sender.left() == 0, "an acknowledgement at the end")
    assert sender.acks == 1, "one for all of it"


def test_one_acknowledgement_covers_what_comes_while_the_board_grants_it(
    collector: RunningCollector, sender: Sender
) -> None:
    sender.give("press-1", EPOCH, windows(1, 300))
    sender.send(at_once=10, within_s=2)
    until(lambda: sender.left() == 0, "all acknowledged", collector)
    assert sender.acks <= 3


def test_nothing_is_lost_and_nothing_kept_twice_when_the_collector_is_killed(
    broker: Broker, tmp_path: Path, sender: Sender
) -> None:
    chance = random.Random(5)
    collector = RunningCollector(tmp_path / "fleet.db", f"mqtt://127.0.0.1:{broker.port}")
    expected = {}
    for board in range(20):
        rows = windows(1, 300)
        expected[f"press-{board}"] = [row.sequence for row in rows]
        sender.give(f"press-{board}", EPOCH, rows)
    kills = 0
    try:
        while sender.left() or kills < 6:
            collector.start()
            collector.until_said("connected to", kills + 1)
            sender.send(at_once=3)
            if kills < 6:
                time.sleep(chance.uniform(0.0, 0.4))
                collector.end(signal.SIGKILL)
                kills += 1
                if not sender.left():
                    for board in range(20):
                        more = windows(kills * 1000, kills * 1000 + 100)
                        expected[f"press-{board}"] += [row.sequence for row in more]
                        sender.give(f"press-{board}", EPOCH, more)
            else:
                sender.until_acknowledged()
        for device, numbers in expected.items():
            found = stored(collector.store, device)
            assert sorted(found) == [(EPOCH, number) for number in numbers]
            known = summary(collector.store, device)
            assert known is not None
            assert (known.rows, known.taken_back) == (len(numbers), 0)
            assert known.slots["main"].window.inferences == numbers[-1]
    finally:
        if collector.process is not None and collector.process.poll() is None:
            collector.end(signal.SIGKILL)


def test_the_broker_may_be_killed_too(broker: Broker, collector: RunningCollector, sender: Sender) -> None:
    for turn in range(3):
        sender.give("press-1", EPOCH, windows(turn * 100 + 1, turn * 100 + 100))
        sender.send(at_once=5)
        broker.kill()
        broker.start()
        collector.until_said("connected to", turn + 2)
        until(sender.client.is_connected, "the sender's connection")
        sender.until_acknowledged()
    assert stored(collector.store) == [(EPOCH, n) for n in range(1, 301)]


def test_an_answer_that_was_not_committed_comes_again(collector: RunningCollector, sender: Sender) -> None:
    with sqlite3.connect(collector.store, isolation_level=None) as other:
        other.execute("begin immediate")
        sender.say(TOPICS.reply("ops-1"), encode(Reply(1, "ops-1", "ping", True)))  # boards say it once
        collector.until_said("nothing is acknowledged")
        collector.end(signal.SIGKILL)
        other.execute("rollback")
    other.close()
    collector.start()
    reader = SqliteReader(collector.store)
    until(lambda: [*reader.replies(Device("works", "press-1"), EVER)], "the reply in the store", collector)
    reader.close()


def test_a_card_restored_from_an_old_image_loses_nothing(collector: RunningCollector, sender: Sender) -> None:
    first = windows(1, 40)
    sender.give("press-1", EPOCH, first)
    sender.until_acknowledged()
    sender.give("press-1", EPOCH, windows(21, 60, at_ms=int(time.time() * 1000) - 80_000))
    sender.until_acknowledged()
    found = stored(collector.store)
    assert len(found) == 80
    assert len(set(found)) == 80
    known = summary(collector.store)
    assert known is not None
    assert known.taken_back == 20


def test_a_board_whose_clock_is_at_1970_is_put_in_order(collector: RunningCollector, sender: Sender) -> None:
    rows = [
        row_of(n, Window("main", 1, "00" * 8, n * 1000, 5000 + n * 1000, 1000, False, inferences=n))
        for n in range(1, 31)
    ]
    sender.give("press-1", EPOCH, rows)
    sender.until_acknowledged()
    assert stored(collector.store) == [(EPOCH, n) for n in range(1, 31)]
    reader = SqliteReader(collector.store)
    now = time.time() * 1000
    assert all(abs(one.at_ms - now) < 600_000 for one in reader.windows(EVER, Device("works", "press-1")))
    reader.close()


def test_a_late_will_does_not_speak_for_a_newer_birth(collector: RunningCollector, sender: Sender) -> None:
    for session, online in (("s1", True), ("s2", True), ("s1", False)):
        sender.say(TOPICS.state, encode(State(1, "press-1", "boot", session, online)), retain=True)
    sender.say(TOPICS.reply("ops-1"), encode(Reply(1, "ops-1", "ping", True)))
    reader = SqliteReader(collector.store)
    until(lambda: [*reader.replies(Device("works", "press-1"), EVER)], "the reply in the store", collector)
    reader.close()
    known = summary(collector.store)
    assert known is not None
    assert known.state is not None
    assert (known.state.session, known.state.online) == ("s2", True)


def test_each_collector_takes_its_shards_alone(broker: Broker, tmp_path: Path, sender: Sender) -> None:
    url = f"mqtt://127.0.0.1:{broker.port}"
    with (
        running_collector(tmp_path / "low.db", url, "--shards", "00-7f") as low,
        running_collector(tmp_path / "high.db", url, "--shards", "80-ff", "--fleet", "works") as high,
    ):
        for board in range(30):
            sender.give(f"press-{board}", EPOCH, windows(1, 5))
        sender.until_acknowledged()
        found = []
        for one, shards in ((low, range(128)), (high, range(128, 256))):
            reader = SqliteReader(one.store)
            devices = reader.devices()
            reader.close()
            assert all(int(known.shard, 16) in shards for known in devices)
            found += [known.device.name for known in devices]
        assert sorted(found) == sorted(f"press-{board}" for board in range(30))


def test_who_collects_the_same_boards_into_a_copy_of_the_store_takes_nothing_away(
    broker: Broker, collector: RunningCollector, sender: Sender, tmp_path: Path
) -> None:
    with sqlite3.connect(collector.store) as original, sqlite3.connect(tmp_path / "other.db") as copy:
        original.backup(copy)
    with running_collector(tmp_path / "other.db", f"mqtt://127.0.0.1:{broker.port}") as other:
        for first in range(1, 400, 100):
            sender.give("press-1", EPOCH, windows(first, first + 99))
            sender.until_acknowledged()
        for one in (collector, other):
            until(lambda one=one: len(stored(one.store)) == 400, "all rows", one)
            assert "connection" not in one.log().partition("connected to")[2]


def test_a_second_collector_on_one_store_is_refused(broker: Broker, collector: RunningCollector) -> None:
    second = RunningCollector(collector.store, f"mqtt://127.0.0.1:{broker.port}")
    second.log_path = collector.store.with_name("second.log")
    second.start()
    assert second.process is not None
    assert second.process.wait(60) == 4
    assert "code: store-busy" in second.log()


@pytest.mark.parametrize(
    ("change", "code"),
    [("pragma user_version = 99", "store-newer"), ("pragma application_id = 7", "store-foreign")],
)
def test_a_store_that_is_not_ours_to_write_is_refused_and_left_as_it_is(tmp_path: Path, change: str, code: str) -> None:
    path = tmp_path / "fleet.db"
    SqliteWriter(path).close()
    with sqlite3.connect(path) as db:
        db.execute(change)
    db.close()
    before = path.read_bytes()
    collector = RunningCollector(path, "mqtt://127.0.0.1:9")
    collector.start()
    assert collector.process is not None
    assert collector.process.wait(60) == (4 if code == "store-newer" else 2)
    assert f"code: {code}" in collector.log()
    assert path.read_bytes() == before


def test_it_shows_that_it_works_while_the_broker_is_away_and_no_longer(tmp_path: Path, broker: Broker) -> None:
    alive = tmp_path / "alive"
    with running_collector(
        tmp_path / "fleet.db", f"mqtt://127.0.0.1:{broker.port}", "--alive", str(alive)
    ) as collector:
        broker.kill()
        os.utime(alive, (1, 1))
        until(lambda: alive.stat().st_mtime > 1, "it is touched again", collector)
        assert collector.end() == 143
        assert not alive.exists()


def test_what_a_user_got_wrong_is_said_before_anything_begins(tmp_path: Path) -> None:
    store = tmp_path / "fleet.db"
    for broker, arguments, code in (
        ("mqtt://ops:word@127.0.0.1", (), "broker-address"),
        (f"mqtts://127.0.0.1?ca={tmp_path}/none.pem", (), "file-unreadable"),
        ("mqtt://127.0.0.1", ("--shards", "7f-00"), "fleet-shards"),
        ("mqtt://127.0.0.1", ("--fleet", "a/b"), "fleet-name"),
    ):
        collector = RunningCollector(store, broker, *arguments)
        collector.start()
        assert collector.process is not None
        assert collector.process.wait(60) == 2
        assert f"code: {code}" in collector.log()
    assert "Traceback" not in collector.log()
    assert not store.exists()


def test_a_store_that_somebody_holds_is_waited_for_and_nothing_is_acknowledged(
    collector: RunningCollector, sender: Sender
) -> None:
    with sqlite3.connect(collector.store, isolation_level=None) as other:
        other.execute("begin immediate")
        sender.give("press-1", EPOCH, windows(1, 50))
        sender.send()
        collector.until_said("nothing is acknowledged")
        assert sender.left() == 50
        other.execute("rollback")
    other.close()
    until(lambda: sender.left() == 0, "all acknowledged", collector)
    assert len(stored(collector.store)) == 50
    assert collector.log().count("nothing is acknowledged") == 1


def test_it_can_be_stopped_while_the_store_takes_nothing(collector: RunningCollector, sender: Sender) -> None:
    with sqlite3.connect(collector.store, isolation_level=None) as other:
        other.execute("begin immediate")
        sender.give("press-1", EPOCH, windows(1, 50))
        sender.send()
        collector.until_said("nothing is acknowledged")
        assert collector.end() == 143
        other.execute("rollback")
    other.close()
    assert (sender.left(), sender.acks) == (50, 0)
    collector.start()
    sender.until_acknowledged()
    assert stored(collector.store) == [(EPOCH, n) for n in range(1, 51)]
    assert "Traceback" not in collector.log()


def test_what_is_in_hand_is_bounded_while_the_store_takes_nothing_and_when_it_takes_it_all(
    broker: Broker, collector: RunningCollector, sender: Sender
) -> None:
    sender.give("press-1", EPOCH, windows(1, 10))
    sender.until_acknowledged()
    before = collector.resident_mb()
    with sqlite3.connect(collector.store, isolation_level=None) as other:
        other.execute("begin immediate")
        for number in range(200):  # of 1 MB each
            row = row_of(100 + number, Result("main", 1, "0" * 16, 0, b"{}", crop=bytes(1 << 20)))
            sender.client.publish(TOPICS.results, encode_batch(EPOCH, [row]), qos=1)
        collector.until_said("nothing is acknowledged")
        holds = until_nothing_more_is_read(collector, broker.port)
        assert min(holds) < before + 150, "64 MB, and what a heap of large messages wastes"
        other.execute("rollback")
    other.close()
    sender.give("press-1", EPOCH, windows(11, 20))
    sender.until_acknowledged()
    reader = SqliteReader(collector.store)
    until(lambda: len([*reader.results(Device("works", "press-1"), EVER)]) == 200, "all of it in the store", collector)
    reader.close()
    assert collector.resident_mb("VmHWM") < before + 220, "and SQLite's cache of 64 MB, and what one transaction copies"


def test_a_broker_that_knows_no_version_5_is_spoken_to_in_3_1_1(tmp_path: Path, broker: Broker) -> None:
    with (
        Relay(broker.port, first=only_version_311) as relay,
        running_collector(tmp_path / "fleet.db", f"mqtt://127.0.0.1:{relay.port}") as collector,
        Sender(broker.port) as sender,
    ):
        assert "(MQTT 3.1.1)" in collector.log()
        assert "warning" not in collector.log()
        sender.give("press-1", EPOCH, windows(1, 50))
        sender.until_acknowledged()
        assert len(stored(collector.store)) == 50


def test_a_connection_that_is_cut_again_and_again_loses_nothing(tmp_path: Path, broker: Broker, sender: Sender) -> None:
    with (
        Relay(broker.port) as relay,
        running_collector(tmp_path / "fleet.db", f"mqtt://127.0.0.1:{relay.port}") as collector,
    ):
        for turn in range(3):
            sender.give("press-1", EPOCH, windows(turn * 500 + 1, turn * 500 + 500))
            sender.send(at_once=5)
            relay.cut()
            collector.until_said("connected to", turn + 2)
        sender.until_acknowledged()
        assert stored(collector.store) == [(EPOCH, n) for n in range(1, 1501)]


def authority_in(folder: Path) -> Authority:
    folder.mkdir()
    return Authority(folder)


@pytest.mark.parametrize(("broker_days", "own_days"), [(7, 60), (60, 7)])
def test_a_certificate_that_ends_soon_is_warned_of_before_it_does(
    tmp_path: Path, broker_days: int, own_days: int
) -> None:
    authority = authority_in(tmp_path / "certificates")
    shown = authority.issue("broker", hosts=("localhost",), lasts=timedelta(days=broker_days))
    own, key = authority.issue("collector", lasts=timedelta(days=own_days))
    day = f"{datetime.now(UTC) + timedelta(days=7):%Y-%m-%d}"
    with Broker(tmp_path / "broker", certificate=shown, clients=authority.pem) as broker:
        address = f"mqtts://localhost:{broker.port}"
        files = f"?ca={authority.pem}&certificate={own}&key={key}"
        with running_collector(tmp_path / "fleet.db", address + files) as collector:
            whose = f"the certificate of the broker {address}" if broker_days == 7 else f"certificate, {own},"
            collector.until_said(f"{whose} ends on {day}")
            assert collector.log().count(" ends on ") == 1


def test_a_collector_shows_its_certificate_and_trusts_the_brokers(tmp_path: Path) -> None:
    authority = authority_in(tmp_path / "certificates")
    certificate = authority.issue("broker", hosts=("127.0.0.1", "localhost"))
    with Broker(tmp_path / "broker", certificate=certificate, clients=authority.pem) as broker:
        own, key = authority.issue("collector")
        files = f"?ca={authority.pem}&certificate={own}&key={key}"
        with running_collector(tmp_path / "fleet.db", f"mqtts://localhost:{broker.port}{files}") as collector:
            assert "connected to mqtts://localhost" in collector.log()
        other = RunningCollector(tmp_path / "other.db", f"mqtts://localhost:{broker.port}?ca={authority.pem}")
        other.start()
        other.until_said("no connection")
        assert other.end() == 143
        stranger = authority_in(tmp_path / "strangers")
        other = RunningCollector(tmp_path / "third.db", f"mqtts://localhost:{broker.port}?ca={stranger.pem}")
        other.start()
        other.until_said("certificate verify failed")
        assert other.end() == 143


def test_a_password_is_read_from_its_file_and_told_to_nobody(tmp_path: Path) -> None:
    (tmp_path / "passwords").write_text("ops:secret-word\n")
    (tmp_path / "passwords").chmod(0o600)
    subprocess.run(["mosquitto_passwd", "-U", tmp_path / "passwords"], check=True)
    (tmp_path / "word").write_text("secret-word\n")
    refused = RunningCollector(tmp_path / "fleet.db", f"mqtt://ops@127.0.0.1?password_file={tmp_path}/word")
    refused.start()
    assert refused.process is not None
    assert refused.process.wait(60) == 2, "others may read it"
    (tmp_path / "word").chmod(0o600)
    with Broker(tmp_path / "broker", lines=("allow_anonymous false", f"password_file {tmp_path}/passwords")) as broker:
        url = f"mqtt://ops@127.0.0.1:{broker.port}"
        with running_collector(tmp_path / "fleet.db", f"{url}?password_file={tmp_path}/word") as collector:
            assert "secret-word" not in collector.log()
        (tmp_path / "word").write_text("wrong\n")
        other = RunningCollector(tmp_path / "other.db", f"{url}?password_file={tmp_path}/word")
        other.start()
        other.until_said("no connection")
        assert "not authori" in other.log() or "bad user name or password" in other.log()
        other.end()


def test_a_full_disk_stops_acknowledgements_until_there_is_room(tmp_path: Path, broker: Broker, sender: Sender) -> None:
    with SmallDisk(tmp_path / "disk", megabytes=8) as disk:
        inside = tmp_path / "disk" / "fleet.db"
        url = f"mqtt://127.0.0.1:{broker.port}"
        collector = RunningCollector(inside, url, enter=disk.enter)
        collector.log_path = tmp_path / "collector.log"
        collector.start()
        try:
            collector.until_said("connected to")
            sender.give("press-1", EPOCH, windows(1, 50))
            sender.until_acknowledged()
            disk.fill()
            sender.give("press-1", EPOCH, windows(51, 20_050))
            sender.send(at_once=100)
            collector.until_said("nothing is acknowledged")
            assert sender.left() > 0
            disk.free()
            until(lambda: sender.left() == 0, "all acknowledged", collector)
            assert collector.end() == 143
            shutil.copyfile(disk.path / "fleet.db", tmp_path / "copy.db")
            assert stored(tmp_path / "copy.db") == [(EPOCH, n) for n in range(1, 20_051)]
            assert "Traceback" not in collector.log()
        finally:
            if collector.process is not None and collector.process.poll() is None:
                collector.process.kill()
                collector.process.wait()
