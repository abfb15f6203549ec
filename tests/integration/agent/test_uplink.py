"""The uplink against a real broker: what leaves, what comes back, and what happens when something goes."""

from __future__ import annotations

import sqlite3
import time
from typing import TYPE_CHECKING

import msgspec
import paho.mqtt.client as paho
import pytest
from edgeglm_agent.outbox import EVENTS, METRICS, SAMPLES
from edgeglm_agent.wire.commands import Command, Reply, decode_state, encode
from edgeglm_agent.wire.telemetry import Event, Gap, Row, Window, body_of, encode_ack, unpack_ranges
from edgeglm_agent.wire.topics import Topics
from msgspec import Raw
from paho.mqtt.enums import CallbackAPIVersion

from tests.support.agent.broker import Broker, refusing
from tests.support.agent.collector import Collector
from tests.support.agent.relay import Relay, only_version_311
from tests.support.agent.uplinks import QUICK, Board, event, result, window

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

TOPICS = Topics("default", "board-1")


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[Broker]:
    with Broker(tmp_path / "broker") as one:
        yield one


@pytest.fixture
def collector(broker: Broker, tmp_path: Path) -> Iterator[Collector]:
    with Collector(broker.port, tmp_path / "rows.db", lazy=0.0) as one:
        yield one


class Peer:
    """Someone else at the broker: asks and listens."""

    def __init__(self, port: int, *topics: str) -> None:
        self.came: list[tuple[str, bytes, bool]] = []
        self.client = paho.Client(CallbackAPIVersion.VERSION2, "peer")
        self.client.on_message = lambda _, __, m: self.came.append((m.topic, bytes(m.payload), bool(m.retain)))
        subscribed: list[int] = []
        self.client.on_subscribe = lambda *_: subscribed.append(1)
        self.client.connect("127.0.0.1", port)
        self.client.loop_start()
        give_up = time.monotonic() + 30
        while not self.client.is_connected():
            assert time.monotonic() < give_up
            time.sleep(0.01)
        if topics:
            self.client.subscribe([(topic, 1) for topic in topics])
            while not subscribed:
                assert time.monotonic() < give_up
                time.sleep(0.01)

    def say(self, topic: str, payload: bytes, *, retain: bool = False) -> None:
        self.client.publish(topic, payload, qos=1, retain=retain).wait_for_publish(30)

    def __enter__(self) -> Peer:
        return self

    def __exit__(self, *_: object) -> None:
        self.client.disconnect()
        self.client.loop_stop()


def rows_of(collector: Collector, kind: type | None = None) -> list[object]:
    with sqlite3.connect(collector.path) as db:
        found = db.execute("select sequence, kind, body, replaces from rows order by epoch, sequence").fetchall()
    bodies = [body_of(Row(n, k, Raw(b), r)) for n, k, b, r in found]
    return [body for body in bodies if kind is None or isinstance(body, kind)]


@pytest.mark.parametrize("version", ["auto", "5", "3.1.1"])
def test_every_row_reaches_the_collector_and_leaves_the_outbox(
    tmp_path: Path, broker: Broker, collector: Collector, version: str
) -> None:
    board = Board(tmp_path / "board", broker.port, version=version)
    board.outbox.put_many([(METRICS, window(n)) for n in range(500)])
    board.outbox.put_many([(EVENTS, event()), (SAMPLES, result(40_000)), (SAMPLES, result(10))])
    board.until(board.delivered)
    assert [body.inferences for body in rows_of(collector, Window)] == list(range(500))
    assert len(rows_of(collector)) == 503
    status = board.uplink.status()
    assert status["mqtt"] == ("3.1.1" if version == "3.1.1" else "5")
    assert status["bytes_total"] > 40_000
    assert status["bytes_total"] < 160_000 or status["resent_rows"]  # a busy collector may be late
    link = board.uplink.link_status()
    assert (link.state, link.broker) == ("connected", f"127.0.0.1:{broker.port}")
    assert link.bytes_today == status["bytes_total"]
    assert link.since_s is not None
    assert link.acknowledged_s is not None
    assert link.since_s >= link.acknowledged_s >= 0
    board.close()


def test_a_broker_that_takes_few_at_once_is_not_overrun(tmp_path: Path) -> None:
    with (
        Broker(tmp_path / "broker", lines=("max_inflight_messages 20",)) as broker,
        Collector(broker.port, tmp_path / "rows.db", lazy=0.0) as collector,
    ):
        board = Board(tmp_path / "board", broker.port, version="5")
        board.outbox.put_many([(SAMPLES, result(6_000)) for _ in range(300)])
        board.until(board.delivered)
        assert len(rows_of(collector)) == 300
        assert board.uplink.counts["connections"] == 1
        board.close()


def test_the_birth_is_retained_changes_are_told_and_the_will_is_left_when_it_vanishes(
    tmp_path: Path, broker: Broker
) -> None:
    with Peer(broker.port, TOPICS.state) as peer:
        board = Board(tmp_path / "board", broker.port)
        board.until(lambda: len(peer.came) == 1)
        board.uplink.announce()  # nothing has changed
        board.state = msgspec.structs.replace(board.state, window_s=77)
        board.uplink.announce()
        board.until(lambda: len(peer.came) >= 2)
        board.vanish()
        give_up = time.monotonic() + 30
        while len(peer.came) < 3:
            assert time.monotonic() < give_up
            time.sleep(0.02)
        born, changed, gone = (decode_state(payload) for _, payload, _ in peer.came)
        assert (born.online, changed.online, gone.online) == (True, True, False)
        assert (born.window_s, changed.window_s) == (1, 77)
        assert gone.session == born.session == board.state.session
        assert gone.boot_id == "boot-1"
    with Peer(broker.port, TOPICS.state) as late:
        while not late.came:
            assert time.monotonic() < give_up
            time.sleep(0.02)
        assert late.came[0][2], "the state is retained"


def test_a_connection_that_comes_back_at_once_is_not_told_as_one_that_went(tmp_path: Path, broker: Broker) -> None:
    with Peer(broker.port, TOPICS.state) as peer, Relay(broker.port) as relay:
        board = Board(tmp_path / "board", relay.port, version="5")
        board.until(lambda: peer.came)
        for births in (2, 3):
            relay.cut()
            board.until(lambda n=births: len(peer.came) == n)
        until = time.monotonic() + 3.5  # the will's delay, and a little
        while time.monotonic() < until:
            board.turn(0.1)
        assert [decode_state(payload).online for _, payload, _ in peer.came] == [True, True, True]
        board.close()


def test_a_board_that_stops_says_so(tmp_path: Path, broker: Broker) -> None:
    with Peer(broker.port, TOPICS.state, TOPICS.events) as peer:
        board = Board(tmp_path / "board", broker.port)
        board.until(lambda: peer.came)
        board.outbox.put(EVENTS, event("shutdown"))  # what it says last leaves before it goes
        board.close()
        give_up = time.monotonic() + 30
        while len(peer.came) < 3:
            assert time.monotonic() < give_up
            time.sleep(0.02)
        time.sleep(0.2)
        assert [topic for topic, _, _ in peer.came] == [TOPICS.state, TOPICS.events, TOPICS.state]
        assert [decode_state(peer.came[place][1]).online for place in (0, 2)] == [True, False]


def test_a_broker_answer_is_not_enough_and_an_overdue_row_goes_again(
    tmp_path: Path, broker: Broker, collector: Collector
) -> None:
    collector.deaf = True
    board = Board(tmp_path / "board", broker.port)
    board.outbox.put(EVENTS, event())
    board.until(lambda: board.uplink.status()["resent_rows"] >= 2)
    assert board.outbox.waiting == {"Event": 1}
    collector.deaf = False
    board.until(board.delivered)
    assert len(rows_of(collector)) == 1
    board.close()


def test_a_killed_broker_costs_nothing(tmp_path: Path, broker: Broker, collector: Collector) -> None:
    board = Board(tmp_path / "board", broker.port)
    for round_ in range(3):
        board.outbox.put_many([(METRICS, window(round_ * 50 + n)) for n in range(50)])
        board.until(lambda: board.connected)
        broker.kill()
        board.until(lambda: not board.connected)
        board.outbox.put(EVENTS, event())
        broker.start()
    board.until(board.delivered)
    assert [body.inferences for body in rows_of(collector, Window)] == list(range(150))
    assert len(rows_of(collector)) == 153
    assert board.uplink.counts["connections"] >= 4
    board.close()


def test_a_restarted_agent_sends_what_an_earlier_one_left(tmp_path: Path, broker: Broker, collector: Collector) -> None:
    collector.deaf = True
    board = Board(tmp_path / "board", broker.port)
    board.outbox.put_many([(METRICS, window(n)) for n in range(20)])
    board.until(lambda: board.uplink.status()["unacknowledged_batches"])
    board.vanish()
    collector.deaf = False
    again = Board(tmp_path / "board", broker.port)
    assert again.outbox.epoch == board.outbox.epoch
    again.until(again.delivered)
    assert len(rows_of(collector)) == 20
    again.close()


def test_a_broker_that_knows_no_version_5_is_spoken_to_in_3_1_1(
    tmp_path: Path, broker: Broker, collector: Collector
) -> None:
    with Relay(broker.port, first=only_version_311) as relay:
        board = Board(tmp_path / "board", relay.port)
        board.outbox.put(EVENTS, event())
        board.until(board.delivered)
        assert board.uplink.status()["mqtt"] == "3.1.1"
        board.close()


def test_a_message_that_the_broker_refuses_is_given_up_once_and_told(tmp_path: Path) -> None:
    acl = tmp_path / "acl"
    acl.write_text("topic readwrite edgeglm/v1/#\ntopic deny edgeglm/v1/default/+/board-1/results\n")
    with (
        Broker(tmp_path / "broker", lines=(f"acl_file {acl}",)) as broker,
        Collector(broker.port, tmp_path / "rows.db") as collector,
    ):
        board = Board(tmp_path / "board", broker.port, version="5")
        board.outbox.put_many([(SAMPLES, result()), (SAMPLES, result()), (METRICS, window())])
        board.until(board.delivered)
        assert [gap.reason for gap in rows_of(collector, Gap)] == ["rejected"]
        assert unpack_ranges(rows_of(collector, Gap)[0].ranges) == [(1, 2)]
        assert board.uplink.status()["rejected_rows"] == 2
        assert board.uplink.counts["connections"] <= 2  # mosquitto 2.0 closes on it as well
        board.close()


def test_a_row_larger_than_the_broker_takes_is_given_up_and_the_rest_goes_on(tmp_path: Path) -> None:
    with (
        Broker(tmp_path / "broker", lines=("max_packet_size 20000",)) as broker,
        Collector(broker.port, tmp_path / "rows.db") as collector,
    ):
        board = Board(tmp_path / "board", broker.port, version="5")
        board.outbox.put_many([(SAMPLES, result(1_000)), (SAMPLES, result(50_000)), (SAMPLES, result(1_000))])
        board.until(board.delivered)
        assert [len(body.answer) for body in rows_of(collector) if not isinstance(body, Gap)] == [1_000, 1_000]
        assert unpack_ranges(rows_of(collector, Gap)[0].ranges) == [(2, 2)]
        board.close()


def test_a_dead_connection_is_noticed_by_the_missing_answer(
    tmp_path: Path, broker: Broker, collector: Collector
) -> None:
    with Relay(broker.port) as relay:
        board = Board(tmp_path / "board", relay.port, timing=msgspec.structs.replace(QUICK, taken_s=0.5))
        board.until(lambda: board.connected)
        relay.hold = True  # as a router that has forgotten: nothing passes, nothing is closed
        board.outbox.put(EVENTS, event())
        board.until(lambda: board.uplink.counts.get("dead-connections"))
        relay.hold = False
        board.until(board.delivered)
        board.close()


def test_a_lossy_and_slow_way_loses_nothing(tmp_path: Path, broker: Broker, collector: Collector) -> None:
    with Relay(broker.port, delay_s=0.3, cut_after=4_000) as relay:  # 600 ms there and back; cut again and again
        board = Board(tmp_path / "board", relay.port)
        for n in range(60):
            board.outbox.put(METRICS, window(n))
            board.turn()
        board.until(board.delivered)
        assert [body.inferences for body in rows_of(collector, Window)] == list(range(60))
        board.close()


@pytest.mark.parametrize("version", ["5", "3.1.1"])
def test_of_two_agents_of_one_name_one_gives_way_and_one_goes_on(
    tmp_path: Path, broker: Broker, collector: Collector, version: str
) -> None:
    """mosquitto ends the connection that another takes without a word, over either version."""
    timing = msgspec.structs.replace(QUICK, conflict_s=3600.0)
    boards = [
        Board(tmp_path / session, broker.port, version=version, timing=timing, session=session)
        for session in ("stays" * 2, "leaves" * 2)
    ]
    stays, leaves = boards

    def until(holds: Callable[[], bool]) -> None:
        give_up = time.monotonic() + 60
        while not holds():
            assert time.monotonic() < give_up, [board.uplink.status() for board in boards]
            for board in boards:
                board.turn(0.01)

    until(lambda: leaves.uplink.link_status().state == "waiting" and "another agent" in leaves.uplink.status()["why"])
    for name, severity, detail in leaves.told:
        assert (name, severity, detail["device"]) == ("device-id-taken", "error", "board-1")
        assert detail["takeovers"] >= 3
    assert len(leaves.told) == 1
    assert leaves.uplink.status()["device_id_taken"]
    assert "name of its own" in leaves.uplink.status()["why"]
    until(lambda: stays.connected)
    attempts = [board.uplink.counts["connections"] for board in boards]
    for number in range(100):
        stays.outbox.put(METRICS, window(number))
        until(stays.delivered)
    assert [body.inferences for body in rows_of(collector, Window)] == list(range(100))
    assert [board.uplink.counts["connections"] for board in boards] == attempts, "they fight on"
    for board in boards:
        board.close()


def test_what_this_board_said_before_a_restart_is_not_another_agents(tmp_path: Path, broker: Broker) -> None:
    before = Board(tmp_path / "board", broker.port, version="3.1.1")
    before.until(lambda: before.connected)
    before.close()
    short: list[int] = []

    def taken_and_ended(_: bytes) -> bytes | None:
        short.append(1)
        return b"\x20\x02\x00\x00" if len(short) <= 3 else None  # before the birth can be said

    with Relay(broker.port, first=taken_and_ended) as relay, Peer(broker.port, TOPICS.state) as peer:
        board = Board(tmp_path / "board", relay.port, version="3.1.1")
        board.until(lambda: len(peer.came) == 2)
        assert [decode_state(payload).session for _, payload, _ in peer.came] == [
            before.state.session,
            board.state.session,
        ]
        for _ in range(25):
            board.turn()
        assert board.told == []
        assert board.connected
        assert board.uplink.counts["connections"] == 4
        board.close()


def test_what_two_agents_of_one_name_say_is_kept_apart_and_arrives(tmp_path: Path, broker: Broker) -> None:
    timing = msgspec.structs.replace(QUICK, conflict_s=0.5, longest_conflict_s=2.0)
    with Collector(broker.port, tmp_path / "rows.db", lazy=0.0) as collector:
        boards = [Board(tmp_path / f"board-{n}", broker.port, timing=timing) for n in range(2)]
        written = told = 0
        give_up = time.monotonic() + 60
        while not (told and all(board.delivered() for board in boards)):
            assert time.monotonic() < give_up, [board.uplink.status() for board in boards]
            for number, board in enumerate(boards):
                if written < 60:
                    board.outbox.put(METRICS, window(1000 * number + written))
                told += len(board.told)
                while board.told:
                    board.outbox.put(EVENTS, event(board.told.pop()[0]))
                board.turn(0.01)
            written += written < 60
        with sqlite3.connect(collector.path) as db:
            epochs = dict(db.execute("select epoch, group_concat(sequence) from rows where kind = 0 group by epoch"))
        assert {epoch: len(numbers.split(",")) for epoch, numbers in epochs.items()} == {
            board.outbox.epoch: 60 for board in boards
        }
        heard = [body.inferences for body in rows_of(collector, Window)]
        assert sorted(heard) == [*range(60), *range(1000, 1060)], "each board's rows, once"
        assert "device-id-taken" in [body.name for body in rows_of(collector, Event)]
        sessions = {decode_state(birth).session for birth in collector.states["board-1"]}
        assert sessions == {board.state.session for board in boards}, "whoever looks at the births sees two"
        for board in boards:
            board.close()


def test_a_month_without_a_broker_arrives_once_when_it_is_there(tmp_path: Path) -> None:
    months = 30 * 288
    broker = Broker(tmp_path / "broker")
    board = Board(tmp_path / "board", broker.port)
    for day in range(30):
        board.outbox.put_many([(METRICS, window(day * 288 + n)) for n in range(288)])
        board.outbox.put(EVENTS, event())
        board.turn(0.0)
        if day == 15:  # the board is switched off and on
            board.vanish()
            board = Board(tmp_path / "board", broker.port)
    board.until(lambda: board.uplink._attempts.failures > 2)
    assert board.outbox.lost == {}
    with broker, Collector(broker.port, tmp_path / "rows.db", lazy=0.0) as collector:
        board.until(board.delivered)
        assert [body.inferences for body in rows_of(collector, Window)] == list(range(months))
        assert len(rows_of(collector)) == months + 30
        board.close()


def command(op: str = "ping", **changes: object) -> bytes:
    fields: dict[str, object] = {
        "schema": 1,
        "id": f"{op}-{time.monotonic_ns()}",
        "device": "board-1",
        "deadline_ms": int(time.time() * 1000) + 60_000,
    }
    return encode(Command(**(fields | changes)))  # type: ignore[arg-type]


@pytest.mark.parametrize("version", ["5", "3.1.1"])
def test_a_subscription_that_the_broker_refuses_is_told_once(tmp_path: Path, version: str) -> None:
    lines = refusing(tmp_path / "broker", TOPICS.ack, "plant/pump", "plant/late")
    with Broker(tmp_path / "broker", lines=lines) as broker:
        board = Board(tmp_path / "board", broker.port, version=version)
        board.uplink.subscribe_inputs(["plant/pump", "plant/fan"])
        board.until(lambda: len(board.told) == 2)
        board.uplink.subscribe_inputs(["plant/pump", "plant/fan", "plant/late"])
        board.until(lambda: len(board.told) == 3)
        assert {name for name, _, _ in board.told} == {"subscription-refused"}
        assert [detail["topic"] for _, _, detail in board.told] == [TOPICS.ack, "plant/pump", "plant/late"]
        assert {detail["reason"] for _, _, detail in board.told} == {135 if version == "5" else 128}
        assert board.uplink.link_status().refused == ("acknowledgements", "plant/pump", "plant/late")
        broker.kill()
        board.until(lambda: not board.connected)
        broker.start()
        board.until(lambda: board.connected)
        with Peer(broker.port) as peer:
            while not board.uplink.messages():  # it has subscribed anew
                peer.say("plant/fan", b"[1]")
                board.turn(0.1)
        assert len(board.told) == 3
        board.close()


def test_a_subscription_that_is_allowed_again_is_refused_no_more(tmp_path: Path) -> None:
    with Broker(tmp_path / "broker", lines=refusing(tmp_path / "broker", "plant/pump")) as broker:
        board = Board(tmp_path / "board", broker.port)
        board.uplink.subscribe_inputs(["plant/pump"])
        board.until(lambda: board.uplink.refused)
        broker.kill()
        refusing(tmp_path / "broker")
        broker.start()
        board.until(lambda: not board.uplink.refused)
        assert board.uplink.link_status().refused == ()
        board.close()


def test_a_command_is_obeyed_once_and_answered(tmp_path: Path, broker: Broker) -> None:
    with Peer(broker.port, f"{TOPICS.prefix}/res/+") as peer:
        board = Board(tmp_path / "board", broker.port)
        board.until(lambda: board.connected)
        asked = command("set", id="s-1", args={"window_s": 60})
        give_up = time.monotonic() + 30
        while not board.orders:  # until it has subscribed
            assert time.monotonic() < give_up
            peer.say(TOPICS.command("set"), asked)
            board.turn(0.1)
        (order,) = board.orders
        assert (order.op, order.command.args) == ("set", {"window_s": 60})
        board.uplink.reply(order, values={"window_s": 60})
        board.until(lambda: peer.came)
        assert peer.came[0][0] == TOPICS.reply("s-1")
        assert msgspec.json.decode(peer.came[0][1], type=Reply) == Reply(1, "s-1", "set", True, "", {"window_s": 60})
        peer.say(TOPICS.command("set"), asked)
        board.until(lambda: board.uplink.counts.get("refused-replayed"))
        board.vanish()
        again = Board(tmp_path / "board", broker.port)
        again.until(lambda: again.connected)
        while not again.uplink.counts.get("refused-replayed"):  # across a restart
            assert time.monotonic() < give_up
            peer.say(TOPICS.command("set"), asked)
            again.turn(0.1)
        assert again.orders == []
        again.close()


def test_what_is_retained_late_foreign_or_nonsense_is_counted_and_not_obeyed(tmp_path: Path, broker: Broker) -> None:
    with Peer(broker.port) as peer:
        peer.say(TOPICS.command("ping"), command(), retain=True)
        board = Board(tmp_path / "board", broker.port)
        board.until(lambda: board.uplink.counts.get("refused-retained"))
        peer.say(TOPICS.command("ping"), command(deadline_ms=int(time.time() * 1000) - 1))
        peer.say(TOPICS.command("ping"), command(device="board-2"))
        peer.say(TOPICS.command("ping"), b"{}")
        peer.say(TOPICS.command("reboot"), command("reboot"))
        peer.say(TOPICS.command("set"), command("set", args={"model": "other"}))
        peer.say(TOPICS.ack, b"nonsense")
        peer.say(TOPICS.ack, encode_ack(b"01234567", 5))
        peer.say(TOPICS.ack, encode_ack(board.outbox.epoch, 5))
        board.until(lambda: board.uplink.counts.get("malformed-acks", 0) == 2)
        counts = board.uplink.counts
        for reason in ("retained", "expired", "foreign", "malformed", "unknown-op", "bad-args"):
            assert counts[f"refused-{reason}"] == 1, reason
        assert counts["foreign-acks"] == 1
        assert board.orders == []
        assert board.connected
        board.close()


def test_a_command_that_is_retained_while_the_board_is_connected_is_ignored_too(tmp_path: Path, broker: Broker) -> None:
    with Peer(broker.port) as peer:
        board = Board(tmp_path / "board", broker.port, version="5")
        board.until(lambda: board.connected)
        give_up = time.monotonic() + 30
        while not board.uplink.counts.get("refused-retained"):  # until it has subscribed
            assert time.monotonic() < give_up, board.uplink.counts
            peer.say(TOPICS.command("ping"), command(), retain=True)
            board.turn(0.1)
        assert board.orders == []
        board.close()


def test_messages_for_inputs_come_through(tmp_path: Path, broker: Broker) -> None:
    with Peer(broker.port) as peer:
        board = Board(tmp_path / "board", broker.port)
        board.uplink.subscribe_inputs(["plant/+/vibration"])
        board.until(lambda: board.connected)
        board.uplink.subscribe_inputs(["plant/+/vibration", "plant/late"])
        came: list[str] = []
        give_up = time.monotonic() + 30
        while {"plant/7/vibration", "plant/late"} - set(came):
            assert time.monotonic() < give_up
            peer.say("plant/7/vibration", b"\x00" * 1000)
            peer.say("plant/late", b"x")
            board.turn(0.1)
            came += [message.topic for message in board.uplink.messages()]
        board.close()


@pytest.mark.parametrize("version", ["5", "3.1.1"])
def test_a_retained_message_is_handed_to_inputs_once_whatever_the_connection_does(
    tmp_path: Path, broker: Broker, version: str
) -> None:
    with Peer(broker.port) as peer:
        peer.say("plant/7/level", b"20", retain=True)
        with Relay(broker.port) as relay:
            board = Board(tmp_path / "board", relay.port, version=version)
            board.uplink.subscribe_inputs(["plant/+/level"])
            came: list[bytes] = []

            def heard(count: int, what: str = "inputs") -> bool:
                came.extend(message.payload for message in board.uplink.messages())
                return board.uplink.counts.get(what, 0) >= count

            board.until(lambda: heard(1))
            for payload in (b"21", b"21"):  # the second is another reading, though of the same value
                peer.say("plant/7/level", payload, retain=True)
            board.until(lambda: heard(3))
            settled = time.monotonic() + 1  # the broker knows that they came, and sends none of them again
            board.until(lambda: heard(3) and time.monotonic() > settled)
            relay.cut()
            board.until(lambda: heard(1, "inputs-repeated"))
            peer.say("plant/7/level", b"22", retain=True)
            board.until(lambda: heard(4))
            board.close()
        assert came == [b"20", b"21", b"21", b"22"]


def test_over_the_budget_windows_are_merged_and_events_go_at_once(
    tmp_path: Path, broker: Broker, collector: Collector
) -> None:
    board = Board(tmp_path / "board", broker.port, daily_bytes=40_000)  # a bucket of 5,000
    board.until(lambda: board.connected)
    for _ in range(400):
        board.outbox.put(METRICS, window(1))
        board.turn(0.0)
    board.outbox.put(EVENTS, event())
    board.until(lambda: board.outbox.waiting["Event"] == 0)
    board.until(lambda: board.uplink.status()["merged_windows"] > 100)
    windows = rows_of(collector, Window)
    rest = [body_of(row) for row in board.outbox.pending(METRICS, limit_bytes=10**6)]
    assert board.outbox.lost == {}
    held = {body.start_ms for body in windows}
    assert held
    assert sum(body.inferences for body in windows) + sum(body.inferences for body in rest) >= 400
    assert board.uplink.status()["bytes_total"] < 12_000
    board.close()
