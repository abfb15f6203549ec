"""What simulated devices say: every message decodes by the wire's types, and says what the profile does."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import Any

import msgspec
import pytest
from edgeglm_agent import drift as agent_drift
from edgeglm_agent.wire import WireError
from edgeglm_agent.wire.commands import Command, Reply, decode_state, encode
from edgeglm_agent.wire.sketch import Sketch, unpack_numbers
from edgeglm_agent.wire.telemetry import (
    Body,
    Event,
    Gap,
    Result,
    Window,
    body_of,
    decode_batch,
    encode_ack,
    unpack_ranges,
)
from edgeglm_agent.wire.topics import parse_topic

from edgeglm.fleet.simulate import board
from edgeglm.fleet.simulate.device import Device, Message
from edgeglm.fleet.simulate.dice import Dice
from edgeglm.fleet.simulate.figures import lognormal
from edgeglm.fleet.simulate.fleet import Fleet
from edgeglm.fleet.simulate.reading import load_profile, parse_profile
from edgeglm.fleet.simulate.wrong import unreadable

START_MS = 1_800_000_000_000
BASE = "version: 1\nfleet: north\ndevices: 1\nwindow_s: 10\nresend_after_s: 5\n"


def made(text: str = "", **values: Any) -> Device:
    """Return the one device of a profile."""
    profile = parse_profile(BASE + text, "fleet.yaml")
    return Device(Fleet(msgspec.structs.replace(profile, **values), run="r", start_ms=START_MS), 0)


def bodies(messages: list[Message]) -> list[Body]:
    return [body for _, body in numbered(messages)]


def numbered(messages: list[Message]) -> list[tuple[int, Body]]:
    found: list[tuple[int, Body]] = []
    for message in messages:
        if not message.topic.endswith("/state"):
            for row in decode_batch(message.payload).rows:
                body = body_of(row)
                assert body is not None
                found.append((row.sequence, body))
    return found


def lived(device: Device, until: float, *, acknowledged: bool = True, step: float = 1.0) -> list[Message]:
    """Return what a device says up to a time; a collector acknowledges it at once."""
    messages = device.opened(0.0)
    at = 0.0
    while at <= until:
        messages += device.step(at)
        if acknowledged and device.flying:
            device.acknowledged(encode_ack(device.board.epoch, max(device.flying)), at)
        at += step
    return messages


def windows(messages: list[Message]) -> Iterator[Window]:
    return (body for body in bodies(messages) if isinstance(body, Window))


def events(messages: list[Message], name: str) -> list[Event]:
    return [body for body in bodies(messages) if isinstance(body, Event) and body.name == name]


def test_every_message_of_every_fault_is_of_the_wire_but_those_that_are_to_be_wrong() -> None:
    profile = load_profile("trouble")
    fleet = Fleet(profile, run="r", start_ms=START_MS)
    kinds: set[type[Body]] = set()
    wrong = 0
    for index in range(profile.devices):
        for message in lived(Device(fleet, index), 60.0):
            place = parse_topic(message.topic)
            assert place.fleet == "simulated"
            try:
                if place.leaf == "state":
                    decode_state(message.payload)
                else:
                    kinds |= {type(body) for body in bodies([message])}
                    for body in bodies([message]):
                        check(body)
            except WireError:
                wrong += 1
    assert kinds == {Window, Event, Result, Gap}
    assert wrong == fleet.tally.malformed > 0
    assert fleet.tally.impostures > 0


def check(body: Body) -> None:
    if isinstance(body, Window):
        for packed in (body.latency_ms, body.total_ms):
            assert Sketch.unpack(packed).n == body.inferences
        assert sum(unpack_numbers(body.confidence)) == body.inferences == sum(body.classes.values())
        assert body.board is not None
        assert [drift.psi_milli for drift in body.drift] == sorted((d.psi_milli for d in body.drift), reverse=True)
    elif isinstance(body, Result):
        assert msgspec.json.decode(body.answer)["score"] > 0
    elif isinstance(body, Gap):
        assert sum(last - first + 1 for first, last in unpack_ranges(body.ranges)) == sum(body.counts.values())


def test_numbers_rise_by_one_and_gaps_name_those_that_are_left_out() -> None:
    rows = numbered(lived(made("faults: [{losing: {share: 1, every_s: 30, rows: 7}}]"), 200))
    told = {number for number, _ in rows}
    for _, body in rows:
        if isinstance(body, Gap):
            told |= {n for first, last in unpack_ranges(body.ranges) for n in range(first, last + 1)}
    assert told == set(range(1, max(told) + 1))
    assert len(told) > len(rows)


def test_a_sketch_has_the_percentiles_of_the_profile() -> None:
    for n in (50, 3000, 100_000):
        sketch = lognormal(8.0, 20.0, n)
        assert sketch.n == n
        assert sketch.quantile(0.5) == pytest.approx(8.0, rel=0.03)
        assert sketch.quantile(0.95) == pytest.approx(20.0, rel=0.06)


def test_windows_say_what_their_model_and_board_do() -> None:
    text = """
models: [{name: kws, version: 1.2.0, per_second: 30, latency_ms: {p50: 8, p95: 20}, confidence: 0.8, classes: 4}]
boards: [{board: rpi4, temperature_c: 60, slowness: 2}]
"""
    device = made(text)
    merged, confidence = Sketch(), [0] * 10
    for window in windows(lived(device, 100)):
        assert window.inferences == 300
        assert set(window.classes) == {0, 1, 2, 3}
        assert window.board is not None
        assert window.board.temperature_decic is not None
        assert 560 <= window.board.temperature_decic <= 640
        assert window.board.throttled == 0
        merged.merge(Sketch.unpack(window.latency_ms))
        confidence = [a + b for a, b in zip(confidence, unpack_numbers(window.confidence), strict=True)]
    assert merged.quantile(0.5) == pytest.approx(16.0, rel=0.05)
    assert merged.quantile(0.95) == pytest.approx(40.0, rel=0.08)
    mean = sum((at + 0.5) / 10 * count for at, count in enumerate(confidence)) / sum(confidence)
    assert mean == pytest.approx(0.8, abs=0.02)
    state = decode_state(device.birth().payload)
    assert state.slots["main"].model == "kws 1.2.0"
    assert state.board["kind"] == "raspberry-pi"
    assert state.epoch == device.board.epoch.hex()
    assert not decode_state(device.will().payload).online


def test_each_slot_has_its_windows_and_they_go_together() -> None:
    messages = [message for message in lived(made("slots: [door, belt]"), 35) if message.topic.endswith("telemetry")]
    for message in messages:
        told = [body for body in bodies([message]) if isinstance(body, Window)]
        assert [window.slot for window in told] == ["door", "belt"]
        assert len({window.start_ms for window in told}) == 1
    assert len(messages) in (3, 4)


def test_windows_follow_each_other_without_holes() -> None:
    told = list(windows(lived(made(), 200)))
    assert len(told) >= 19
    for before, after in itertools.pairwise(told):
        assert after.start_ms - before.start_ms == before.duration_ms == 10_000
        assert after.uptime_ms - before.uptime_ms == 10_000


def test_drift_appears_when_it_is_due_and_is_told_as_the_agent_tells_it() -> None:
    assert agent_drift.LIMIT == board.LIMIT
    fault = "faults: [{drifting: {share: 1, after_s: 50, for_s: 60, feature: input.x, psi: 0.6}}]"
    messages = lived(made(fault), 200)
    for window in windows(messages):
        ended_s = (window.start_ms + window.duration_ms - START_MS) / 1000
        worst = window.drift[0]
        if 50 <= ended_s < 110:
            assert (worst.feature, worst.psi_milli > 590) == ("input.x", True)
            assert worst.js_milli == pytest.approx(329, abs=10)
        else:
            assert worst.psi_milli < 100
    (raised,) = events(messages, "drift-raised")
    (cleared,) = events(messages, "drift-cleared")
    assert (raised.detail["feature"], raised.slot) == ("input.x", "main")
    assert 60_000 <= raised.at_ms - START_MS < 70_000  # in the second window that is beyond the limit
    assert cleared.at_ms - START_MS >= 110_000


def test_a_drift_that_comes_slowly_is_raised_once_it_is_beyond_the_limit() -> None:
    messages = lived(made("faults: [{drifting: {share: 1, psi: 0.5, over_s: 200}}]"), 300)
    values = [next(d.psi_milli for d in window.drift if d.feature == "input.x") for window in windows(messages)]
    assert values[0] < 100 < values[8] < values[-1]
    (raised,) = events(messages, "drift-raised")
    assert 100_000 < raised.at_ms - START_MS < 130_000


def test_errors_heat_and_throttling_are_in_the_windows() -> None:
    (window, *_) = windows(lived(made("faults: [{erroring: {share: 1, error: input, rate: 0.25}}]"), 15))
    assert window.errors == {"input": 5}
    (window, *_) = windows(lived(made("faults: [{hot: {share: 1, temperature_c: 84}}]"), 15))
    assert window.board is not None
    assert window.board.temperature_decic is not None
    assert 840 <= window.board.temperature_decic < 850
    messages = lived(made("faults: [{throttled: {share: 1, after_s: 20, for_s: 30, slowness: 2}}]"), 100)
    told = [
        (w.board.throttled if w.board else None, Sketch.unpack(w.latency_ms).quantile(0.5)) for w in windows(messages)
    ]
    assert [bits for bits, _ in told[:2]] == [0, 0]
    assert 0x40004 in {bits for bits, _ in told}
    assert told[-1][0] == 0x40000  # it has happened since boot
    assert max(p50 for _, p50 in told if p50) == pytest.approx(24, rel=0.06)
    assert len(events(messages, "throttled")) == 1


def test_a_crash_loop_ends_in_quarantine() -> None:
    device = made("faults: [{crash-looping: {share: 1, after_s: 5, every_s: 10, failures: 3}}]")
    messages = lived(device, 100)
    assert [event.detail["failures"] for event in events(messages, "worker-crashed")] == [1, 2, 3]
    assert len(events(messages, "worker-quarantined")) == 1
    births = [decode_state(message.payload) for message in messages if message.retain]
    assert [birth.slots["main"].status for birth in births] == ["serving", "serving", "serving", "quarantined"]
    assert [birth.slots["main"].load for birth in births] == [1, 2, 3, 3]
    assert [window.inferences for window in windows(messages)][-1] == 0


def test_a_clock_that_was_never_set_shows_1970() -> None:
    device = made("faults: [{unset-clock: {share: 1}}]")
    for window in windows(lived(device, 50)):
        assert window.start_ms == window.uptime_ms < 40 * 86_400_000
        assert not window.clock_synchronised
    assert not decode_state(device.birth().payload).clock_synchronised


def test_a_device_that_hangs_says_afterwards_what_it_kept() -> None:
    device = made("faults: [{silent: {share: 1, after_s: 20, for_s: 50, connected: true}}]")
    before = len(list(windows(lived(device, 65))))
    assert before == 2
    assert device.withholds(65)
    assert len(list(windows(device.step(75)))) == 6


def test_a_device_that_is_cut_off_comes_back_when_the_profile_says_so() -> None:
    cut, *more = made("faults: [{silent: {share: 1, after_s: 20, for_s: 50}}]").cuts
    assert (cut.at, cut.back_at, more) == (20, 70, [])
    storms = made("faults: [{reconnect-storm: {share: 1, after_s: 5, every_s: 10, for_s: 30, within_s: 2}}]").cuts
    assert [cut.at for cut in reversed(storms)] == [5, 15, 25]
    assert all(0 <= cut.back_at - cut.at < 2 for cut in storms)


def test_what_is_not_acknowledged_goes_again_later_and_later_and_is_counted_once() -> None:
    device = made()
    first = lived(device, 15, acknowledged=False)
    kept = dict(numbered(first))
    assert list(kept) == [*device.flying]
    assert {type(body) for body in bodies(device.overdue(50))} == {Event}  # windows may take eight windows
    assert dict(numbered(device.overdue(110))) == kept
    assert device.overdue(118) == []  # twice as long as after the first time
    assert dict(numbered(device.overdue(121))) == kept
    assert device.overdue(138) == []
    assert dict(numbered(device.opened(139))) == kept
    last = max(kept)
    assert device.acknowledged(encode_ack(device.board.epoch, last - 1), 140) == len(kept) - 1
    assert [*device.flying] == [last]
    assert device._fleet.tally.rows == len(kept)


def test_acknowledgements_of_others_and_of_numbers_never_given_let_nothing_go() -> None:
    device = made()
    lived(device, 15, acknowledged=False)
    count = len(device.flying)
    assert device.acknowledged(encode_ack(b"otherone", 3), 16) == 0
    assert device.acknowledged(encode_ack(device.board.epoch, 3000), 16) == 0
    assert device.acknowledged(b"\xc1", 16) == 0
    assert device.acknowledged(encode_ack(device.board.epoch, 0, b"\x02\x01"), 16) == 1  # number 2 alone
    assert len(device.flying) == count - 1
    assert 2 not in device.flying


def test_no_more_than_so_many_rows_are_on_their_way_and_the_rest_follows() -> None:
    device = made()
    assert len(bodies(lived(device, 5000, acknowledged=False, step=10))) <= 140
    for at in range(5000, 5060, 10):
        if device.flying:
            device.acknowledged(encode_ack(device.board.epoch, max(device.flying)), at)
        device.step(at)
    assert device._fleet.tally.windows == 505


def test_a_closed_loop_keeps_so_many_rows_on_their_way_one_a_message() -> None:
    device = made("in_flight: 4")
    messages = device.step(0.0)
    assert len(messages) == len(device.flying) == 4
    device.acknowledged(encode_ack(device.board.epoch, 3), 0.5)
    assert [number for number, _ in numbered(device.step(0.5))] == [5, 6, 7]


def test_a_card_that_is_put_back_gives_its_numbers_again() -> None:
    device = made("faults: [{restored-card: {share: 1, after_s: 55, rows: 4}}]")
    numbers = [number for number, _ in numbered(lived(device, 200))]
    again = [number for number in numbers if numbers.count(number) == 2]
    assert len(set(again)) == 4
    assert device._fleet.tally.dropped >= 0


def test_messages_are_doubled_and_wrong_ones_sent_as_often_as_said() -> None:
    device = made("faults: [{duplicating: {share: 1, rate: 1}}]")
    messages = [message for message in lived(device, 100) if not message.retain]
    assert messages[::2] == messages[1::2]
    assert device._fleet.tally.duplicated == len(messages) / 2
    acks = made("faults: [{lost-acks: {share: 1, rate: 1}}]")
    lived(acks, 50)
    assert acks._fleet.tally.acks_lost > 0 == acks._fleet.tally.acknowledged


@pytest.mark.parametrize("number", range(9))
def test_a_message_that_is_to_be_unreadable_is(number: int) -> None:
    topic, payload = unreadable(made().topics, Dice("x"), number)
    with pytest.raises(WireError):
        read(topic, payload)


def read(topic: str, payload: bytes) -> None:
    if topic.endswith("/state"):
        decode_state(payload)
    for body in bodies([Message(topic, payload)]):
        if isinstance(body, Gap):
            unpack_ranges(body.ranges)


def test_the_same_seed_says_the_same_and_another_run_only_has_other_epochs() -> None:
    profile = load_profile("trouble")

    def said(run: str, seed: int = 0) -> list[tuple[int, Body]]:
        fleet = Fleet(msgspec.structs.replace(profile, seed=seed), run=run, start_ms=START_MS)
        return [row for index in range(12) for row in numbered(readable(lived(Device(fleet, index), 40)))]

    assert said("a") == said("a")
    assert said("a") == said("b")
    assert said("a") != said("a", seed=1)
    one, other = (Device(Fleet(profile, run=run, start_ms=0), 0).board for run in ("a", "b"))
    assert one.epoch != other.epoch
    assert one.session != other.session


def readable(messages: list[Message]) -> list[Message]:
    found = []
    for message in messages:
        try:
            numbered([message])
        except WireError:
            continue
        found.append(message)
    return found


@pytest.mark.parametrize(
    ("op", "arguments", "ok"),
    [("ping", {}, True), ("status", {}, True), ("restart", {"slot": "main"}, False), ("sing", {}, False)],
)
def test_commands_are_answered(op: str, arguments: dict[str, object], ok: bool) -> None:
    device = made()
    command = Command(1, f"ask-{op}", device.name, START_MS + 60_000, arguments)
    answer = device.command(device.topics.command(op), encode(command), 5.0, retained=False)
    assert answer is not None
    assert answer.topic == device.topics.reply(f"ask-{op}")
    reply = msgspec.json.decode(answer.payload, type=Reply)
    assert (reply.ok, reply.op) == (ok, op)
    assert device.command(device.topics.command(op), encode(command), 6.0, retained=True) is None


def test_a_command_is_obeyed_once_and_none_of_anothers() -> None:
    device = made()
    command = Command(1, "x", device.name, START_MS + 60_000)
    topic = device.topics.command("ping")
    assert device.command(topic, encode(command), 5.0, retained=False) is not None
    assert device.command(topic, encode(command), 6.0, retained=False) is None
    other = msgspec.structs.replace(command, id="y", device="other")
    assert device.command(topic, encode(other), 6.0, retained=False) is None
