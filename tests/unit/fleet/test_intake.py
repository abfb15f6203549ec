"""What the collector makes of messages, of its shards, and when it tells boards."""

from __future__ import annotations

import random

import pytest
from edgeglm_agent.wire.commands import Reply, State, encode
from edgeglm_agent.wire.telemetry import Event, decode_ack, encode_batch, row_of, unpack_ranges
from edgeglm_agent.wire.topics import Topics, shard_of

from edgeglm.errors import UserError
from edgeglm.fleet.collector.acknowledging import Acknowledging
from edgeglm.fleet.collector.intake import MOST_BYTES, Intake, Owed
from edgeglm.fleet.collector.shards import LEAVES, Part, parse_part
from edgeglm.fleet.packets import acknowledgements, publish
from edgeglm.fleet.store.types import Arrivals, Device, Known, Stream

EPOCH = b"epoch--1"
BOARD = Device("works", "press-1")
TOPICS = Topics(*BOARD)
BATCH = encode_batch(EPOCH, [row_of(1, Event("throttled", "main", "00" * 8, 0, 0, True, "info"))], ack_within_s=7)
BIRTH = encode(State(1, "press-1", "boot", "s1", True))
ANSWER = encode(Reply(1, "ops-1", "ping", True))


@pytest.fixture
def intake() -> Intake:
    return Intake(Part(), clock_ms=lambda: 1_800_000_000_000)


def test_batches_states_and_replies_are_taken_as_what_they_are(intake: Intake) -> None:
    for leaf in (TOPICS.telemetry, TOPICS.events, TOPICS.results):
        intake.take(leaf, BATCH)
    intake.take(TOPICS.state, BIRTH, retained=True)
    intake.take(TOPICS.reply("ops-1"), ANSWER)
    came = intake.arrivals
    assert [one.stream for one in came.batches] == [Stream(BOARD, EPOCH)] * 3
    assert [(one.device, one.retained, one.raw) for one in came.states] == [(BOARD, True, BIRTH)]
    assert [one.reply.id for one in came.replies] == ["ops-1"]
    assert came.poison == []
    assert intake.owed == {Stream(BOARD, EPOCH): Owed(TOPICS.ack, 7.0)}
    assert intake.messages == 5
    assert intake.bytes > 3 * len(BATCH) + len(BIRTH) + len(ANSWER)


@pytest.mark.parametrize(
    ("topic", "payload", "why"),
    [
        pytest.param("edgeglm/v1/works/press-1/telemetry", BATCH, "not of the form", id="short-topic"),
        pytest.param(b"edgeglm/v1/\xff/00/b/state", BIRTH, "no UTF-8", id="topic-no-text"),
        pytest.param("edgeglm/v1/works/zz/press-1/events", BATCH, "names shard zz", id="wrong-shard"),
        pytest.param(TOPICS.ack, BATCH, "none that a board says", id="ack"),
        pytest.param(TOPICS.command("ping"), b"{}", "none that a board says", id="command"),
        pytest.param(TOPICS.telemetry + "/x", BATCH, "none that a board says", id="below"),
        pytest.param(TOPICS.reply("<b>"), ANSWER, "cannot be a request", id="reply-id"),
        pytest.param(TOPICS.reply("ops-2"), ANSWER, "reply to `ops-1`", id="reply-elsewhere"),
        pytest.param(TOPICS.reply("ops-1"), b"{}", "not a reply", id="no-reply"),
        pytest.param(TOPICS.state, encode(State(1, "press-1", "b", "s", True, window_s=-5)), "of -5 s", id="window"),
        pytest.param(TOPICS.telemetry, BIRTH, "not a batch", id="no-batch"),
        pytest.param(TOPICS.telemetry, b"", "not a batch", id="empty-batch"),
        pytest.param(TOPICS.telemetry, b"\x92" * 100_000, "not a batch", id="nested"),
        pytest.param(TOPICS.telemetry, encode_batch(b"short", []), "an epoch of 5 bytes", id="epoch"),
        pytest.param(TOPICS.telemetry, b"x" * (MOST_BYTES + 1), "at most", id="long"),
        pytest.param(TOPICS.state, b"{", "not a state", id="no-state"),
        pytest.param(TOPICS.state, encode(State(1, "press-2", "b", "s", True)), "a state of `press-2`", id="impostor"),
        pytest.param(TOPICS.state, encode(State(9, "press-1", "b", "s", True)), "schema 9", id="newer-state"),
        pytest.param(TOPICS.state, BIRTH[:-1] + b" " * 70_000 + b"}", "at most", id="long-state"),
    ],
)
def test_what_cannot_be_read_is_poison_with_its_reason(
    intake: Intake, topic: str | bytes, payload: bytes, why: str
) -> None:
    intake.take(topic, payload)
    (poison,) = intake.arrivals.poison
    assert why in poison.reason
    assert poison.payload == payload[:4096]
    assert intake.arrivals == Arrivals(poison=[poison])
    assert intake.owed == {}


def test_a_bug_of_ours_puts_a_message_aside_and_the_next_one_is_taken(
    intake: Intake, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stumbling(_: bytes) -> None:
        raise ValueError("what nobody thought of")

    with monkeypatch.context() as patched:
        patched.setattr("edgeglm.fleet.collector.intake.decode_batch", stumbling)
        intake.take(TOPICS.telemetry, BATCH)
    intake.take(TOPICS.telemetry, BATCH)
    (poison,) = intake.arrivals.poison
    assert "what nobody thought of" in poison.reason
    assert (poison.topic, poison.payload) == (TOPICS.telemetry, BATCH)
    assert len(intake.arrivals.batches) == 1


def test_what_is_in_hand_is_counted_with_what_it_takes_in_memory(intake: Intake) -> None:
    rows = encode_batch(EPOCH, [row_of(n, Event("a", "", "", 0, 0, True, "")) for n in range(1000)])
    assert intake.take(TOPICS.telemetry, rows) > len(rows) + 100_000
    topic = "x" * 60_000
    assert all(intake.take(topic, b"") > len(topic) + 500 for _ in range(3))
    assert sum(len(one.topic) + len(one.reason) for one in intake.arrivals.poison) < 5000
    assert intake.bytes > len(rows) + 100_000 + 3 * 60_000


def test_a_state_that_was_taken_away_from_the_broker_is_nothing(intake: Intake) -> None:
    intake.take(TOPICS.state, b"")
    assert (intake.arrivals.states, intake.arrivals.poison) == ([], [])


def test_whatever_comes_is_taken_or_put_aside(intake: Intake) -> None:
    chance = random.Random(3)
    topics = [TOPICS.telemetry, TOPICS.events, TOPICS.results, TOPICS.state, TOPICS.reply("ops-1"), "", "/", "a/b"]
    for number in range(5000):
        whole = bytearray(chance.choice([BATCH, BIRTH, ANSWER, chance.randbytes(chance.randrange(1, 100))]))
        for _ in range(chance.randrange(4)):
            whole[chance.randrange(len(whole))] = chance.randrange(256)
        intake.take(topics[number % len(topics)], bytes(whole))
    came = intake.arrivals
    assert intake.messages == 5000
    assert len(came.batches) + len(came.states) + len(came.replies) + len(came.poison) == 5000


@pytest.mark.parametrize(("within_s", "expected"), [(-5, 0.0), (2**63, 3600.0)])
def test_what_a_board_grants_is_held_within_reason(intake: Intake, within_s: int, expected: float) -> None:
    intake.take(TOPICS.telemetry, encode_batch(EPOCH, [], ack_within_s=within_s))
    assert intake.owed[Stream(BOARD, EPOCH)].within_s == expected


class TestShards:
    """Which part of a fleet is taken."""

    def test_all_of_it_is_one_filter_a_leaf(self) -> None:
        part = parse_part("00-ff", None)
        assert part.filters == [f"edgeglm/v1/+/+/+/{leaf}" for leaf in LEAVES]
        assert part.client_id == "edgeglm-collector-00-ff"

    def test_a_part_names_its_shards_and_its_fleet(self) -> None:
        part = parse_part("7F-80", "works")
        assert part.filters[:2] == ["edgeglm/v1/works/7f/+/state", "edgeglm/v1/works/7f/+/events"]
        assert len(part.filters) == 2 * len(LEAVES)
        assert part.client_id == "edgeglm-collector-works-7f-80"
        assert parse_part("0a", None).shards == range(10, 11)

    @pytest.mark.parametrize("shards", ["", "0-f", "80-7f", "00-100", "x", "00-7f-ff"])
    def test_what_is_no_range_is_refused(self, shards: str) -> None:
        with pytest.raises(UserError) as caught:
            parse_part(shards, None)
        assert caught.value.code == "fleet-shards"

    def test_a_name_that_cannot_be_a_fleet_is_refused(self) -> None:
        with pytest.raises(UserError) as caught:
            parse_part("00-ff", "a/b")
        assert caught.value.code == "fleet-name"

    def test_what_is_not_of_the_part_is_put_aside(self) -> None:
        other = int(shard_of("press-1"), 16) ^ 1
        for part in (Part(range(other, other + 1)), Part(fleet="home")):
            intake = Intake(part)
            intake.take(TOPICS.telemetry, BATCH)
            assert "no shard or fleet" in intake.arrivals.poison[0].reason


class TestAcknowledging:
    """When a board is told."""

    STREAM = Stream(BOARD, EPOCH)

    def told(self, acknowledging: Acknowledging, now: float) -> list[tuple[int, list[tuple[int, int]]]]:
        acks = [decode_ack(payload) for _, payload in acknowledging.due(now, 1234)]
        return [(ack.through, unpack_ranges(ack.beyond)) for ack in acks]

    def test_one_tells_of_all_that_came_until_it_was_due(self) -> None:
        acknowledging = Acknowledging()
        acknowledging.committed({self.STREAM: Owed("t", 100.0)}, {self.STREAM: Known(5)}, 0.0)
        acknowledging.committed({self.STREAM: Owed("t", 100.0)}, {self.STREAM: Known(9, ((11, 12),))}, 50.0)
        assert self.told(acknowledging, 80.0) == []
        assert self.told(acknowledging, 100.0) == [(9, [(11, 12)])]
        assert self.told(acknowledging, 1000.0) == []
        assert acknowledging.due_at() is None

    def test_a_board_in_a_hurry_is_told_of_all_at_once(self) -> None:
        acknowledging = Acknowledging()
        acknowledging.committed({self.STREAM: Owed("t", 100.0)}, {self.STREAM: Known(5)}, 0.0)
        acknowledging.committed({self.STREAM: Owed("t", 0.0)}, {self.STREAM: Known(6)}, 1.0)
        assert self.told(acknowledging, 1.0) == [(6, [])]
        assert self.told(acknowledging, 1000.0) == []
        acknowledging.committed({self.STREAM: Owed("t", 0.0)}, {self.STREAM: Known(7)}, 1001.0)
        assert self.told(acknowledging, 1001.0) == [(7, [])]

    def test_an_earlier_grant_does_not_hasten_a_later_one(self) -> None:
        acknowledging = Acknowledging()
        for now, within_s, known in ((0.0, 100.0, 5), (1.0, 0.0, 6), (50.0, 100.0, 7)):
            acknowledging.committed({self.STREAM: Owed("t", within_s)}, {self.STREAM: Known(known)}, now)
            self.told(acknowledging, now)
        assert self.told(acknowledging, 95.0) == []
        assert self.told(acknowledging, 140.0) == [(7, [])]

    def test_what_was_told_early_does_not_pile_up(self) -> None:
        acknowledging = Acknowledging()
        for turn in range(5000):
            for within_s in (3600.0, 0.0):
                acknowledging.committed(
                    {self.STREAM: Owed("t", within_s)}, {self.STREAM: Known(turn)}, float(turn) / 10
                )
            assert self.told(acknowledging, turn / 10) == [(turn, [])]
        assert len(acknowledging._dues) < 2000

    def test_what_was_put_aside_is_not_told(self) -> None:
        acknowledging = Acknowledging()
        acknowledging.committed({self.STREAM: Owed("t", 0.0)}, {}, 0.0)
        assert acknowledging.due_at() is None

    def test_it_carries_the_epoch_and_our_clock(self) -> None:
        acknowledging = Acknowledging()
        acknowledging.committed({self.STREAM: Owed("a/b", 0.0)}, {self.STREAM: Known(5)}, 0.0)
        ((topic, payload),) = acknowledging.due(float("inf"), 1234)
        assert (topic, decode_ack(payload).epoch, decode_ack(payload).now_ms) == ("a/b", EPOCH, 1234)


@pytest.mark.parametrize("size", [0, 100, 127, 128, 20_000])
def test_packets_are_what_a_broker_reads(size: int) -> None:
    payload, length = b"x" * size, 2 + 3 + size
    assert publish("a/b", payload, is_v5=False) == b"\x30" + varint(length) + b"\x00\x03a/b" + payload
    assert publish("a/b", payload, is_v5=True) == b"\x30" + varint(length + 1) + b"\x00\x03a/b\x00" + payload
    assert acknowledgements([1, 0x1234]) == b"\x40\x02\x00\x01\x40\x02\x12\x34"


def varint(number: int) -> bytes:
    """Return a length as MQTT has it (section 1.5.5)."""
    out = bytearray()
    while True:
        number, digit = divmod(number, 128)
        out.append(digit | (128 if number else 0))
        if not number:
            return bytes(out)
