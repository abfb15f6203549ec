"""What a board says of itself survives the wire, merges without loss, and refuses nonsense."""

from __future__ import annotations

import math

import msgspec
import pytest
from edgeglm_agent.ipc import Frames, Hello, IpcError, frame
from edgeglm_agent.wire import WireError
from edgeglm_agent.wire.commands import Command, State, decode_command, decode_state, encode
from edgeglm_agent.wire.merging import merge_windows
from edgeglm_agent.wire.sketch import Sketch, pack_numbers, unpack_numbers
from edgeglm_agent.wire.telemetry import (
    KINDS,
    BoardReading,
    Drift,
    Event,
    Gap,
    Power,
    Result,
    Row,
    Window,
    body_of,
    decode_ack,
    decode_batch,
    encode_ack,
    encode_batch,
    pack_ranges,
    row_of,
    unpack_ranges,
)
from edgeglm_agent.wire.topics import Topics, parse_topic, shard_of
from hypothesis import given
from hypothesis import strategies as st

EPOCH = b"\x01\x02\x03\x04\x05\x06\x07\x08"


def make_window(values: list[float], **changes: object) -> Window:
    sketch = Sketch()
    for value in values:
        sketch.add(value)
    window = Window("main", 1, "00" * 8, 1_000, 5_000, 300_000, True, len(values), latency_ms=sketch.pack())
    return msgspec.structs.replace(window, **changes)


@given(st.lists(st.floats(1e-4, 1e6), min_size=1, max_size=300))
def test_a_sketch_knows_percentiles_within_one_percent_and_survives_packing(values: list[float]) -> None:
    sketch = Sketch()
    for value in values:
        sketch.add(value)
    again = Sketch.unpack(sketch.pack())
    assert again.counts == sketch.counts
    for share in (0.01, 0.5, 0.95, 1.0):
        exact = sorted(values)[max(1, math.ceil(share * len(values))) - 1]
        assert again.quantile(share) == pytest.approx(exact, rel=0.0101)


def test_a_value_of_nothing_is_counted_in_the_lowest_bucket() -> None:
    sketch = Sketch()
    sketch.add(0.0)
    sketch.add(-1.0)
    assert sketch.quantile(0.5) == 0.0
    assert Sketch.unpack(sketch.pack()).n == 2


@given(st.binary(max_size=200))
def test_damaged_bytes_raise_a_wire_error_or_mean_something(data: bytes) -> None:
    for read in (Sketch.unpack, unpack_ranges, decode_batch, decode_ack, decode_command, decode_state):
        try:
            read(data)
        except WireError:
            continue


@given(st.sets(st.integers(0, 2**40), max_size=50))
def test_ranges_hold_exactly_the_numbers_put_in(numbers: set[int]) -> None:
    ranges = unpack_ranges(pack_ranges(sorted(numbers)))
    assert sum(last - first + 1 for first, last in ranges) == len(numbers)
    assert all(any(first <= number <= last for first, last in ranges) for number in numbers)


@given(st.lists(st.integers(0, 2**63), max_size=30))
def test_numbers_survive_packing(numbers: list[int]) -> None:
    assert unpack_numbers(pack_numbers(numbers)) == numbers


def test_every_kind_of_row_survives_a_batch() -> None:
    bodies = [
        make_window(
            [0.1, 0.2], drift=(Drift("input.x", 120, 80, 1000),), board=BoardReading(100, power=(Power("a", 5),))
        ),
        Event("model-loaded", "main", "00" * 8, 1, 2, True, "info", {"artifact": "model.onnx"}),
        Result("main", 1, "00" * 8, 5, b"[1]"),
        Gap("quota", pack_ranges([4, 5]), {"Window": 2}),
    ]
    assert {type(body) for body in bodies} == set(KINDS)
    rows = [row_of(sequence, body) for sequence, body in enumerate(bodies)]
    batch = decode_batch(encode_batch(EPOCH, rows, ack_within_s=30))
    assert [body_of(row) for row in batch.rows] == bodies
    assert (batch.epoch, batch.ack_within_s) == (EPOCH, 30)


def test_a_kind_of_row_from_a_later_version_is_passed_over() -> None:
    row = Row(7, 99, msgspec.Raw(msgspec.msgpack.encode(["new"])))
    assert body_of(decode_batch(encode_batch(EPOCH, [row])).rows[0]) is None


def test_a_field_from_a_later_version_is_passed_over() -> None:
    longer = [*msgspec.msgpack.decode(msgspec.msgpack.encode(make_window([1.0]))), "a later field"]
    row = Row(7, KINDS.index(Window), msgspec.Raw(msgspec.msgpack.encode(longer)))
    assert body_of(row) == make_window([1.0])


def test_a_batch_of_another_schema_is_refused() -> None:
    with pytest.raises(WireError, match="batch of schema 9"):
        decode_batch(msgspec.msgpack.encode([9, EPOCH, 0, []]))


def test_an_acknowledgement_says_what_is_beyond() -> None:
    ack = decode_ack(encode_ack(EPOCH, 41, pack_ranges([50, 51]), now_ms=12))
    assert (ack.through, unpack_ranges(ack.beyond), ack.now_ms) == (41, [(50, 51)], 12)


def test_merged_windows_count_what_their_parts_counted() -> None:
    first = make_window([0.1] * 3, errors={"input": 1}, classes={0: 3}, confidence=pack_numbers([0, 3]), rss_kb=10)
    second = make_window(
        [0.4] * 5, uptime_ms=305_000, errors={"run": 2}, classes={0: 1, 2: 4}, confidence=pack_numbers([5]), rss_kb=30
    )
    merged = merge_windows([first, second])
    assert (merged.inferences, merged.errors, merged.classes) == (8, {"input": 1, "run": 2}, {0: 4, 2: 4})
    assert unpack_numbers(merged.confidence) == [5, 3]
    assert (merged.rss_kb, merged.duration_ms, merged.merged) == (30, 600_000, 2)
    assert Sketch.unpack(merged.latency_ms).n == 8


def test_merged_boards_keep_their_worst() -> None:
    cool = BoardReading(100, 500, 900, 400, 1, False, None, (Power("a", 100),))
    hot = BoardReading(300, 300, 950, 800, 4, True, None, (Power("a", 300),))
    merged = merge_windows([make_window([1.0], board=cool), make_window([1.0], board=hot)]).board
    assert merged == BoardReading(200, 300, 900, 800, 5, True, None, (Power("a", 200),))


def test_windows_of_two_loads_are_not_merged() -> None:
    with pytest.raises(ValueError, match="one slot and one load"):
        merge_windows([make_window([1.0]), make_window([1.0], load=2)])


def test_topics_name_fleet_shard_and_device() -> None:
    topics = Topics("plant", "press-07")
    place = parse_topic(topics.command("ping"))
    assert (place.fleet, place.device, place.leaf) == ("plant", "press-07", "cmd/ping")
    assert place.shard == shard_of("press-07")


@pytest.mark.parametrize(
    "topic",
    ["edgeglm/v1/plant/00", "other/v1/a/b/c/d", "edgeglm/v1/plant/zz/press-07/state", "edgeglm/v1/+/00/press/state"],
)
def test_a_topic_that_is_none_of_ours_is_refused(topic: str) -> None:
    with pytest.raises(WireError):
        parse_topic(topic)


@pytest.mark.parametrize("name", ["", "a/b", "a+b", "#", "ä", "a" * 64, ".a"])
def test_a_name_that_cannot_be_a_level_is_refused(name: str) -> None:
    with pytest.raises(WireError, match="cannot be a device"):
        Topics("plant", name)


def test_commands_and_states_survive_json() -> None:
    command = Command(1, "a1", "press-07", 1_000, {"window_s": 60})
    assert decode_command(encode(command)) == command
    state = State(1, "press-07", "b", "s", online=True)
    assert decode_state(encode(state)) == state


def test_frames_come_whole_however_they_are_cut() -> None:
    data = frame(Hello("main", 2)) + frame(Hello("other", 3))
    frames = Frames(from_worker=True)
    got = [message for byte in data for message in frames.feed(bytes([byte]))]
    assert got == [Hello("main", 2), Hello("other", 3)]


@pytest.mark.parametrize("data", [b"\xff\xff\xff\xff", b"\x00\x00\x00\x01\xc1"])
def test_a_frame_of_nonsense_is_refused(data: bytes) -> None:
    with pytest.raises(IpcError):
        list(Frames(from_worker=True).feed(data))
