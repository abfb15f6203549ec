"""The uplink's decisions, without a network: the budget, commands, and what is sent again."""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING, Literal

import pytest
from edgeglm_agent.outbox import EVENTS, METRICS, SAMPLES, Outbox
from edgeglm_agent.settings.types import Mqtt
from edgeglm_agent.uplink.attempts import TAKEN_OVER, Attempts
from edgeglm_agent.uplink.budget import DAY_S, Budget, group_for
from edgeglm_agent.uplink.commands import Clock, Order, Refusal, judge
from edgeglm_agent.uplink.reports import Closed, Opened, Outgoing, Taken
from edgeglm_agent.uplink.sending import Sender
from edgeglm_agent.uplink.timing import Timing
from edgeglm_agent.wire import WireError
from edgeglm_agent.wire.commands import ARGUMENTS, Command, SetArguments, check_args, encode
from edgeglm_agent.wire.telemetry import (
    Ack,
    Event,
    Result,
    Window,
    decode_batch,
    pack_ranges,
)
from edgeglm_agent.wire.topics import OPS, Topics
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.support.uncovered import uncovered

if TYPE_CHECKING:
    from pathlib import Path

OPENED = Opened(1, "5", 10, 0, 65_535)


def window(number: int = 0) -> Window:
    return Window("main", 1, "00" * 8, number, 5_000, 300_000, True, 1)


def event() -> Event:
    return Event("throttled", "", "00" * 8, 0, 0, True, "info")


class Desk:
    """A sender in a test's hand, at a time of the test's choosing."""

    def __init__(self, folder: Path, *, daily_bytes: int = 10**8, windows_at_once: int = 1, **timing: float) -> None:
        self.outbox = Outbox(folder / "outbox.db", quota_bytes=10**7)
        self.budget = Budget(daily_bytes)
        timing.setdefault("linger_s", 0.0)
        self.sender = Sender(
            self.outbox,
            Topics("default", "board-1"),
            self.budget,
            Timing(**timing),
            window_s=300,
            windows_at_once=windows_at_once,
        )
        self.sender.opened(OPENED, 0.0)

    def step(self, now: float, *, answered: bool = True) -> list[Outgoing]:
        self.budget.refill(now)
        out = self.sender.step(now)
        for one in out if answered else []:
            self.sender.taken(Taken(1, one.tag, 0), now)
        return out

    def ack(self, through: int, now: float, beyond: bytes = b"") -> int:
        return self.sender.acknowledged(Ack(1, self.outbox.epoch, through, beyond), now)


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    return Desk(tmp_path)


def sequences(out: list[Outgoing]) -> list[list[int]]:
    return [[row.sequence for row in decode_batch(one.payload).rows] for one in out]


def test_events_go_first_and_ask_for_an_answer_soon_while_windows_can_wait(desk: Desk) -> None:
    desk.outbox.put_many([(METRICS, window()), (SAMPLES, Result("main", 1, "", 0, b"")), (EVENTS, event())])
    out = desk.step(1.0)
    assert sequences(out) == [[3], [1], [2]]
    assert [decode_batch(one.payload).ack_within_s for one in out] == [2, 8 * 300, 2]


def test_a_topic_is_said_once_and_stands_for_its_alias_afterwards(desk: Desk) -> None:
    said = []
    for _ in range(2):
        desk.outbox.put(EVENTS, event())
        said += [(one.topic.rsplit("/", 1)[-1], one.alias) for one in desk.step(1.0)]
    assert said == [("events", 1), ("", 1)]
    desk.sender.opened(Opened(2, "3.1.1", 0, 0, 65_535), 2.0)
    assert [(one.topic[-6:], one.alias) for one in desk.step(2.0)] == [("events", 0)]


def test_windows_of_several_slots_go_together(tmp_path: Path) -> None:
    desk = Desk(tmp_path, linger_s=1.5)
    out = []
    for now in (0.0, 0.3, 0.6):  # as the workers answer
        desk.outbox.put(METRICS, window())
        out += desk.step(now)
    desk.outbox.put(EVENTS, event())
    assert sequences(desk.step(1.0)) == [[4]]
    assert out == []
    assert sequences(desk.step(1.6)) == [[1, 2, 3]]
    desk.outbox.put(METRICS, window())
    assert desk.step(2.0) == []
    assert sequences(desk.sender.step(2.1, last=True)) == [[5]]


def test_windows_wait_for_so_many_as_the_settings_say_and_no_longer(tmp_path: Path) -> None:
    desk = Desk(tmp_path, windows_at_once=3, linger_s=1.5)
    out = []
    for now in range(0, 2101, 5):
        if now % 300 == 0:
            desk.outbox.put(METRICS, window())
        out += sequences(desk.step(float(now)))
    assert out == [[1, 2, 3], [4, 5, 6]]


def test_nothing_goes_twice_while_its_acknowledgement_is_not_due(desk: Desk) -> None:
    desk.outbox.put(EVENTS, event())
    assert sequences(desk.step(1.0)) == [[1]]
    assert desk.step(30.0) == []
    assert sequences(desk.step(34.0)) == [[1]]  # 2 s for the collector, 30 s of grace


def test_overdue_batches_go_one_by_one_and_ever_later_until_something_is_acknowledged(desk: Desk) -> None:
    for _ in range(3):
        desk.outbox.put(EVENTS, event())
        desk.step(0.0)
    assert sequences(desk.step(100.0)) == [[1], [2], [3]]
    times = [now for now in range(101, 4000) if desk.step(float(now))]
    gaps = [b - a for a, b in zip([100, *times], times, strict=False)]
    assert gaps[0] >= 30
    assert gaps == sorted(gaps)
    assert gaps[-1] <= 900 + 1
    assert desk.ack(1, 4000.0) == 1
    assert len(sequences(desk.step(4001.0))) <= 2
    assert desk.ack(3, 4002.0) == 2
    assert desk.step(9000.0) == []


@pytest.mark.parametrize("count", [2, 10, 60])
def test_an_overdue_batch_goes_again_as_a_whole(desk: Desk, count: int) -> None:
    desk.outbox.put_many([(METRICS, window(number)) for number in range(count)])
    desk.outbox.put(EVENTS, event())
    events, windows = sequences(desk.step(1.0))
    assert windows == [*range(1, count + 1)]
    desk.ack(0, 2.0, beyond=pack_ranges(events))
    again = sequences(desk.step(10_000.0))
    assert again == [windows]
    desk.ack(count + 1, 10_001.0)
    assert not any(desk.outbox.waiting.values())


def test_all_that_is_not_acknowledged_goes_again_on_a_new_connection(desk: Desk) -> None:
    desk.outbox.put_many([(METRICS, window()) for _ in range(4)])
    desk.step(0.0)
    desk.ack(1, 1.0, pack_ranges([3]))
    desk.sender.closed(0, 20.0)
    assert desk.step(21.0) == []
    desk.sender.opened(OPENED, 22.0)
    assert sequences(desk.step(22.0)) == [[2, 4]]


def test_a_backlog_asks_for_answers_soon_so_that_it_flows(desk: Desk) -> None:
    desk.outbox.put_many([(METRICS, window(n)) for n in range(2_000)])
    asked = [decode_batch(one.payload).ack_within_s for one in desk.step(0.0)]
    assert len(asked) > 3
    assert set(asked[:-1]) == {2}


def test_a_refused_topic_pauses_and_the_pause_grows(desk: Desk) -> None:
    tries = []
    for now in range(0, 2000, 8):
        desk.outbox.put(SAMPLES, Result("main", 1, "", 0, b""))
        for one in desk.step(float(now), answered=False):
            refused = one.alias == SAMPLES + 1
            tries += [now] if refused else []
            desk.sender.taken(Taken(1, one.tag, 0x87 if refused else 0), float(now))
    assert 5 < len(tries) < 12  # of 250
    assert desk.outbox.lost["rejected"] > 5


def test_a_refused_gap_is_kept_and_does_not_loop(desk: Desk) -> None:
    desk.outbox.put(EVENTS, event())
    sent = 0
    for now in range(600):
        for one in desk.step(float(now), answered=False):
            sent += 1
            desk.sender.taken(Taken(1, one.tag, 0x87), float(now))
    assert 3 < sent < 10
    assert desk.outbox.waiting == {"Event": 0, "Gap": 1}


def test_a_quota_of_the_broker_keeps_the_rows(desk: Desk) -> None:
    desk.outbox.put(EVENTS, event())
    (one,) = desk.step(0.0, answered=False)
    desk.sender.taken(Taken(1, one.tag, 0x97), 0.0)
    assert desk.step(1.0) == []
    assert sequences(desk.step(20.0)) == [[1]]
    assert desk.outbox.lost == {}


def test_a_row_that_ends_every_connection_is_found_alone_and_given_up(desk: Desk) -> None:
    desk.outbox.put_many([(SAMPLES, Result("main", 1, "", n, b"")) for n in range(5)])
    poison, now = 3, 0.0
    for _ in range(60):
        now += 10.0
        desk.sender.opened(OPENED, now)
        for one in desk.step(now, answered=False):
            if any(row.sequence == poison for row in decode_batch(one.payload).rows):
                desk.sender.closed(0x95, now)
                break
            desk.sender.taken(Taken(1, one.tag, 0), now)
            desk.ack(0, now, pack_ranges([row.sequence for row in decode_batch(one.payload).rows]))
    assert desk.outbox.lost == {"rejected": 1}
    assert desk.outbox.waiting["Result"] == 0


def test_what_was_suspected_of_an_outbox_is_not_held_against_the_rows_of_the_next(desk: Desk) -> None:
    desk.outbox.put_many([(METRICS, window(n)) for n in range(5)])
    for now in (10.0, 20.0):
        desk.sender.opened(OPENED, now)
        assert sequences(desk.step(now, answered=False)) == [[1, 2, 3, 4, 5]]
        desk.sender.closed(0x95, now)
    desk.sender.opened(OPENED, 30.0)
    desk.outbox._changes.epoch = b"a newer1"  # as when the file was damaged: other rows bear these numbers now
    assert sequences(desk.step(30.0)) == [[1, 2, 3, 4, 5]]


def test_over_the_budget_windows_wait_then_merge_and_events_never_wait(tmp_path: Path) -> None:
    desk = Desk(tmp_path, daily_bytes=20_000)
    sent = events = 0
    for number in range(24 * 12):
        now = number * 300.0
        desk.outbox.put(METRICS, window(number))
        if number % 12 == 7:
            desk.outbox.put(EVENTS, event())
        for one in desk.step(now):
            desk.budget.spend(len(one.payload) + 250)
            sent += len(one.payload) + 250
            rows = decode_batch(one.payload).rows
            events += one.alias == EVENTS + 1
            desk.ack(0, now, pack_ranges([row.sequence for row in rows]))
    assert events == 24
    assert sent <= 20_000
    assert desk.sender.merged > 100
    assert desk.outbox.lost == {}
    assert desk.outbox.unsent_windows()[0] < 60


def test_a_collector_that_is_silent_for_a_day_costs_no_more_than_the_budget(tmp_path: Path) -> None:
    desk = Desk(tmp_path, daily_bytes=200_000)
    desk.outbox.put_many([(METRICS, window(number)) for number in range(3_000)])
    sent = news = 0
    for now in range(0, 86_400, 20):
        if now % 300 == 0:
            desk.outbox.put(METRICS, window(now))
        if now % 3600 == 0:
            desk.outbox.put(EVENTS, event())
        if now % 1200 == 600:  # the way to the broker is bad as well: all goes again on the next connection
            desk.sender.closed(0, float(now))
            desk.sender.opened(OPENED, float(now))
        for one in desk.step(float(now)):
            desk.budget.spend(len(one.payload) + 250)
            sent += len(one.payload) + 250
            news += one.alias == EVENTS + 1 or one.topic.endswith("events")
    assert sent <= 200_000
    assert news >= 24, "events went at once, and again where there was room"
    assert desk.outbox.lost == {}
    desk.sender.opened(OPENED, 90_000.0)
    for now in range(90_000, 90_000 + 3 * 86_400, 60):  # it is back
        for one in desk.step(float(now)):
            desk.budget.spend(len(one.payload) + 250)
            desk.ack(0, float(now), pack_ranges([row.sequence for row in decode_batch(one.payload).rows]))
    assert not any(desk.outbox.waiting.values())


def test_events_are_news_until_they_were_sent_once_after_a_restart_too(tmp_path: Path) -> None:
    first = Desk(tmp_path)
    first.outbox.put_many([(EVENTS, event()), (METRICS, window())])
    first.outbox.close()
    desk = Desk(tmp_path)
    assert desk.sender.news
    desk.step(0.0)
    assert not desk.sender.news
    desk.outbox.put(METRICS, window())
    assert not desk.sender.news
    desk.outbox.put(EVENTS, event())
    assert desk.sender.news


def test_events_that_were_sent_wait_for_the_budget_and_new_ones_do_not(tmp_path: Path) -> None:
    desk = Desk(tmp_path, daily_bytes=20_000)
    desk.outbox.put_many([(EVENTS, event()) for _ in range(3)])
    assert sequences(desk.step(0.0)) == [[1, 2, 3]]
    desk.budget.level = -5_000.0
    desk.sender.opened(OPENED, 1.0)
    assert desk.step(1.0) == []
    desk.outbox.put(EVENTS, event())
    assert sequences(desk.step(2.0)) == [[4]]
    desk.budget.level = 2_000.0
    assert sequences(desk.step(3.0)) == [[1, 2, 3]]
    desk.ack(4, 4.0)
    assert desk.outbox.waiting["Event"] == 0


@settings(suppress_health_check=[HealthCheck.too_slow], deadline=None)
@given(st.lists(st.tuples(st.floats(0, 7200), st.integers(0, 9_000)), min_size=1, max_size=200))
def test_no_day_takes_more_than_its_budget(wishes: list[tuple[float, int]]) -> None:
    budget, now, spent = Budget(100_000), 0.0, []
    for wait, size in wishes:
        now += wait
        budget.refill(now)
        if budget.allows(size):
            budget.spend(size)
            spent.append((now, size))
    for start, _ in spent:
        assert sum(size for at, size in spent if start <= at <= start + DAY_S) <= 100_001


def test_a_restart_fills_no_bucket() -> None:
    assert Budget(80_000).level == 10_000
    assert Budget(80_000, level=-3_000).level == -3_000
    assert Budget(80_000, level=10**9).level == 10_000


def test_windows_are_merged_as_far_as_the_horizon_demands() -> None:
    budget = Budget(86_400)
    assert group_for(10, 2_000, budget, horizon_s=3600) == 1
    budget.level = 0
    assert group_for(100, 20_000, budget, horizon_s=3600) == 9
    assert group_for(1, 20_000, budget, horizon_s=3600) == 1
    assert group_for(5, 90_000, budget, horizon_s=1) == 5


def test_a_broker_that_takes_few_at_once_is_not_overrun(desk: Desk) -> None:
    desk.sender.opened(Opened(1, "5", 10, 0, 6), 0.0)
    desk.outbox.put_many([(SAMPLES, Result("main", 1, "", n, b"x" * 9_000)) for n in range(40)])
    first = desk.step(0.0, answered=False)
    assert len(first) <= 2
    for _ in range(60):
        for one in first:
            desk.sender.taken(Taken(1, one.tag, 0), 1.0)
            desk.ack(0, 1.0, pack_ranges([row.sequence for row in decode_batch(one.payload).rows]))
        first = desk.step(1.0, answered=False)
    assert desk.outbox.waiting["Result"] == 0


def test_the_supervisors_part_imports_nothing_heavy() -> None:
    said = subprocess.run(
        [
            sys.executable,
            "-c",
            "import sys, edgeglm_agent.uplink, edgeglm_agent.outbox\n"
            "print(*sorted({'numpy', 'asyncio', 'multiprocessing', 'importlib.metadata'} & set(sys.modules)))",
        ],
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
        env=uncovered(),
    )
    assert said.stdout.strip() == ""


def test_the_wait_for_another_attempt_doubles_to_five_minutes_and_differs_from_board_to_board() -> None:
    for failures, longest in ((0, 2.0), (1, 4.0), (3, 16.0), (20, 300.0)):
        waits = []
        for _ in range(200):
            attempts = Attempts(Mqtt(host="broker"), Timing(), "5" * 8)
            attempts.failures = failures
            attempts.again(1000.0)
            assert attempts.at is not None
            waits.append(attempts.at - 1000.0)
        assert 0.5 * longest <= min(waits) < 0.6 * longest
        assert 1.4 * longest < max(waits) <= 1.5 * longest


# commands

NOW = 1_800_000_000_000


def judged(op: str = "ping", *, retained: bool = False, now_ms: int | None = NOW, **changes: object) -> Order | Refusal:
    seen = set[str]()

    def remember(request: str, until: int, now: int) -> bool | None:
        return None if request == "unkept" else request not in seen and not seen.add(request) and request != "again"

    fields: dict[str, object] = {"schema": 1, "id": "a-1", "device": "board-1", "deadline_ms": NOW + 1000}
    payload = encode(Command(**(fields | changes)))  # type: ignore[arg-type]
    return judge(op, payload, device="board-1", retained=retained, now_ms=now_ms, remember=remember)


@pytest.mark.parametrize(
    ("reason", "changes"),
    [
        ("retained", {"retained": True}),
        ("expired", {"deadline_ms": NOW - 1}),
        ("too-far", {"deadline_ms": NOW + 8 * 86_400_000}),
        ("foreign", {"device": "board-2"}),
        ("malformed", {"id": ""}),
        ("malformed", {"id": "a/b"}),
        ("malformed", {"id": "a" * 64}),
        ("malformed", {"deadline_ms": 1 << 60}),
        ("malformed", {"schema": 2}),
        ("unknown-op", {"op": "reboot"}),
        ("unknown-op", {"op": ""}),
        ("no-clock", {"now_ms": None}),
        ("replayed", {"id": "again"}),
        ("full", {"id": "unkept"}),
        ("bad-args", {"args": {"now": 1}}),
        ("bad-args", {"op": "set"}),
    ],
)
def test_a_command_that_must_not_be_obeyed_is_refused(reason: str, changes: dict[str, object]) -> None:
    refusal = judged(**changes)  # type: ignore[arg-type]
    assert isinstance(refusal, Refusal)
    assert refusal.reason == reason


def test_a_good_command_is_an_order() -> None:
    order = judged("set", args={"window_s": 60, "sample_share": 0.25})
    assert isinstance(order, Order)
    assert order.command.args["window_s"] == 60


@pytest.mark.parametrize(
    ("op", "arguments"),
    [
        ("set", {"window_s": 0}),
        ("set", {"window_s": True}),
        ("set", {"window_s": 1.5}),
        ("set", {"sample_share": 1.1}),
        ("set", {"sample_share": "all"}),
        ("set", {"log_level": "debug"}),
        ("set", {"model": "/srv/models/other"}),
        ("set", {"daily_bytes": 10**9}),
        ("sample", {"count": 1000}),
        ("restart", {"slot": "../main"}),
        ("restart", {"slot": {}}),
        ("logs", {"lines": -1}),
    ],
)
def test_arguments_are_checked_and_the_reason_names_the_key(op: str, arguments: dict[str, object]) -> None:
    with pytest.raises(WireError, match=f"`{next(iter(arguments))}`"):
        check_args(op, arguments)


@pytest.mark.parametrize(
    ("op", "arguments", "said"),
    [
        ("set", {"window_s": 0}, "`window_s` is 0: a whole number from 1 to 86400"),
        ("set", {"sample_share": float("nan")}, "`sample_share` is nan: a share from 0 to 1"),
        ("set", {"window_s": None}, "`window_s` is None: a whole number from 1 to 86400"),
        ("set", {}, "nothing to set: `window_s`, `sample_share`"),
        ("set", {"model": "m"}, "unknown argument `model`: `set` takes `window_s`, `sample_share`"),
        ("ping", {"slot": "main"}, "unknown argument `slot`: `ping` takes no arguments"),
        ("restart", {"slot": ""}, "`slot` is '': the name of a slot"),
        ("sample", {"count": 101}, "`count` is 101: a whole number from 1 to 100"),
        ("logs", {"lines": "all"}, "`lines` is 'all': a whole number from 1 to 200"),
        ("halt", {}, "there is no operation `halt`; there are ping, status, sample, set, restart, logs"),
    ],
)
def test_what_an_operation_does_not_take_is_said_with_what_it_takes(
    op: str, arguments: dict[str, object], said: str
) -> None:
    with pytest.raises(WireError) as refused:
        check_args(op, arguments)
    assert str(refused.value) == said


def test_arguments_that_are_right_come_typed_and_every_operation_has_its_own() -> None:
    assert check_args("set", {"sample_share": 1}) == SetArguments(sample_share=1.0)
    assert tuple(ARGUMENTS) == OPS


def test_the_clock_is_the_boards_where_it_is_right_else_the_collectors() -> None:
    right = Clock(synchronised=lambda: True, wall=lambda: 1000.0)
    assert right.now_ms(5.0) == 1_000_000
    lost = Clock(synchronised=lambda: False, wall=lambda: 0.0)
    assert lost.now_ms(5.0) is None
    lost.learn(0, 5.0)  # an acknowledgement that tells no time
    assert lost.now_ms(5.0) is None
    lost.learn(NOW, 10.0)
    lost.learn(NOW, 14.0)  # the same moment, four seconds on its way
    assert lost.now_ms(20.0) == NOW + 10_000


class TestAttempts:
    timing = Timing(first_retry_s=1.0, longest_retry_s=60.0, stable_s=30.0, conflict_s=100.0, longest_conflict_s=300.0)

    def attempts(self, version: Literal["auto", "5", "3.1.1"] = "auto") -> Attempts:
        return Attempts(Mqtt(host="b", version=version), self.timing, "5" * 8)

    def wait(self, attempts: Attempts, now: float) -> float:
        assert attempts.at is not None
        return attempts.at - now

    def test_the_wait_doubles_up_to_a_longest_and_begins_anew_after_a_connection_that_held(self) -> None:
        attempts = self.attempts()
        for usual in (1, 2, 4, 8, 16, 32, 60, 60):
            attempts.again(1000.0)
            assert usual / 2 <= self.wait(attempts, 1000.0) <= usual * 1.5
        attempts.opened(2000.0)
        attempts.again(2010.0)  # cut short: it proves nothing
        assert self.wait(attempts, 2010.0) >= 30
        attempts.opened(3000.0)
        attempts.again(3031.0)
        assert self.wait(attempts, 3031.0) <= 1.5
        assert attempts.failures == 1

    def test_the_older_version_is_tried_where_the_newer_is_refused_or_gets_no_word(self) -> None:
        attempts = self.attempts()
        attempts.closed(Closed(1, "no", 132, accepted=False, wrong_version=True), 0.0)
        assert attempts.version == "3.1.1"
        attempts = self.attempts()
        tried = []
        for _ in range(7):
            tried.append(attempts.version)
            attempts.closed(Closed(1, "the connection ended", 0, accepted=False), 0.0)
        assert tried == ["5"] * 3 + ["3.1.1"] * 3 + ["5"]
        attempts = self.attempts("5")
        for _ in range(9):
            attempts.closed(Closed(1, "the connection ended", 0, accepted=False), 0.0)
        assert attempts.version == "5"

    def test_the_third_takeover_within_an_hour_is_another_agent_of_this_name(self) -> None:
        attempts = self.attempts()
        taken = Closed(1, "session taken over", TAKEN_OVER, accepted=True)
        assert [attempts.closed(taken, now) for now in (0.0, 1000.0, 4000.0, 4100.0)] == [False, False, False, True]
        assert attempts.takeovers(4100.0) == 3
        assert attempts.yields, "nobody knows the other"
        attempts.give_way(4100.0)
        assert (attempts.conflicts, attempts.takeovers(4100.0)) == (1, 0)
        assert 50 <= self.wait(attempts, 4100.0) <= 150
        attempts.opened(4300.0)
        assert attempts.closed(taken, 4302.0), "the other has stayed: once is enough"

    def test_of_two_agents_the_one_with_the_lesser_session_gives_way(self) -> None:
        """The broker says nothing: it ends connections, and the other's birth tells why."""
        for rival, yields in (("4" * 8, False), ("6" * 8, True)):
            attempts = self.attempts("3.1.1")
            ended = []
            for now in (0.0, 10.0, 20.0, 30.0):
                attempts.opened(now)
                if attempts.suspects:
                    attempts.rival = rival
                ended.append(attempts.closed(Closed(1, "ended", 0, accepted=True), now + 5))
                attempts.again(now + 5)
            assert ended == [False, False, False, True]
            assert attempts.takeovers(35.0) == 4
            assert attempts.disputed(35.0)
            assert attempts.yields == yields

    def test_who_goes_on_does_so_whenever_the_other_comes_back(self) -> None:
        attempts = self.attempts()
        attempts.rival = "4" * 8
        for now in range(0, 100_000, 600):
            attempts.opened(now + 2.0)
            attempts.closed(Closed(1, "ended", TAKEN_OVER, accepted=True), now + 600.0)
            assert not attempts.yields
            attempts.again(now + 600.0)
            assert self.wait(attempts, now + 600.0) <= 1.5

    def test_an_agent_that_has_gone_is_not_given_way(self) -> None:
        attempts = self.attempts()
        attempts.rival = "6" * 8
        attempts.give_way(0.0)
        attempts.opened(100.0)
        assert attempts.suspects
        attempts.rival = ""  # as its own birth is still the newest
        assert not attempts.closed(Closed(1, "ended", 0, accepted=True), 105.0)
        attempts.again(105.0)
        attempts.opened(106.0)
        attempts.closed(Closed(1, "ended", 0, accepted=True), 200.0)
        attempts.again(200.0)
        assert not attempts.disputed(200.0)
        assert not attempts.suspects

    def test_connections_that_end_soon_are_suspect_until_one_holds(self) -> None:
        attempts = self.attempts("3.1.1")
        for now in (0.0, 10.0, 20.0):
            attempts.opened(now)
            attempts.closed(Closed(1, "ended", 0, accepted=True), now + 5)
        assert attempts.suspects
        attempts.opened(100.0)
        attempts.closed(Closed(1, "ended", 0, accepted=True), 200.0)
        assert not attempts.suspects
