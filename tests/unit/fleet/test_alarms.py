"""Alarms: what rules say, what is raised and cleared, and that a webhook is told of it in the end."""

from __future__ import annotations

import hashlib
import hmac
import re
from pathlib import Path

import msgspec
import pytest
from edgeglm_agent.wire.telemetry import BoardReading, Window
from ruamel.yaml import YAML

from edgeglm.errors import UserError
from edgeglm.fleet.alerts import webhook as webhook_module
from edgeglm.fleet.alerts.judging import Alarms, Change
from edgeglm.fleet.alerts.reading import DEFAULT, load_rules, parse_rules
from edgeglm.fleet.alerts.rules import RULES
from edgeglm.fleet.alerts.webhook import SECRET_VARIABLE, Webhook
from edgeglm.fleet.health import KINDS, problems
from edgeglm.fleet.quiet import quiet
from edgeglm.fleet.store.types import DeviceSummary
from edgeglm.log import SilentLog
from tests.support.fleet.boards import HOSTILE, NOW_MS, sketch, slot, state, summary, window
from tests.support.fleet.receiver import receiving


def rules(text: str) -> Alarms:
    return Alarms(parse_rules(f"version: 1\nrules:\n{text}", "rules.yaml"))


def judged(alarms: Alarms, *boards: DeviceSummary, at_s: float = 0.0) -> list[tuple[str, str, str]]:
    now_ms = NOW_MS + round(at_s * 1000)
    found = {board.device: problems(board, now_ms) for board in boards}
    changes = alarms.judge(boards, found, {}, quiet(boards, now_ms), now_ms)
    return [(one.state, one.problem, one.device) for one in changes]


def hot(name: str = "gate-1", degrees: int = 81) -> DeviceSummary:
    return summary(name, window(board=BoardReading(temperature_decic=degrees * 10)))


def test_the_rules_that_come_along_are_those_of_the_documentation() -> None:
    docs = Path("docs/fleet.md").read_text(encoding="utf-8")
    shown = re.search(r"these hold:\n\n```yaml\n(.*?)```", docs, re.DOTALL)
    assert shown is not None
    assert YAML(typ="safe").load(shown[1]) == YAML(typ="safe").load(DEFAULT.read_text(encoding="utf-8"))
    limits = {rule.kind: rule.limits() for rule in load_rules(None).rules}
    assert limits["slow"] == {"p95_ms": 500}
    assert limits["erroring"] == {"error_share": 0.01, "least_samples": 20}
    assert limits["busy"] == {"cpu_share": 0.8}
    assert limits["silent"] == {"silent_windows": 3}


def test_there_is_a_rule_for_every_problem() -> None:
    assert set(RULES) == {*KINDS, "nothing-comes"}  # which is of no board


def test_a_collector_that_is_down_is_one_alarm_and_no_board_is_silent_for_it() -> None:
    alarms = rules("  - nothing-comes: {severity: error}\n  - silent")
    boards = [
        summary(f"gate-{number}", received_ms=NOW_MS - number * 29_000, state_ms=NOW_MS - 3_600_000)
        for number in range(10)
    ]
    dead = summary("gate-dead", received_ms=NOW_MS - 7_200_000, state_ms=NOW_MS - 7_200_000)
    assert judged(alarms, *boards, dead) == [("raised", "silent", "gate-dead")], "it was silent before"
    told = [(at_s, *change) for at_s in range(0, 3000, 10) for change in judged(alarms, *boards, dead, at_s=at_s)]
    ((at_s, *change),) = told
    assert change == ["raised", "nothing-comes", ""]
    assert 270 <= at_s <= 900, "once a window of nearly all is missing, before the first is silent by itself"
    back = [summary(one.device.name, received_ms=NOW_MS + 3_000_000, state_ms=NOW_MS) for one in boards[:9]]
    after = judged(alarms, *back, boards[9], dead, at_s=3000)
    assert after == [("raised", "silent", "gate-9"), ("cleared", "nothing-comes", "")]


def test_a_few_boards_that_stop_while_others_go_on_are_silent_each() -> None:
    alarms = rules("  - nothing-comes\n  - silent")
    quick = [summary(f"gate-{number}", said=state(window_s=1)) for number in range(3)]
    slow = [summary(f"yard-{number}", received_ms=NOW_MS - number * 30_000) for number in range(10)]
    assert {change[1] for change in judged(alarms, *quick, *slow, at_s=20)} == {"silent"}
    two = [summary(f"gate-{number}") for number in range(2)]
    assert {change[1] for change in judged(rules("  - nothing-comes\n  - silent"), *two, at_s=9000)} == {"silent"}


@pytest.mark.parametrize("part", ["fleet: south", "model: bell"])
def test_nothing_comes_from_a_part_of_the_boards_while_others_go_on(part: str) -> None:
    alarms = rules(f"  - nothing-comes: {{{part}}}\n  - nothing-comes\n  - silent")
    bells = state(slots={"main": slot("bell 2")})
    south = [summary(f"gate-{number}", fleet="south", said=bells) for number in range(3)]
    north = [summary(f"gate-{number}", received_ms=NOW_MS + 600_000) for number in range(9)]
    assert judged(alarms, *south, *north, at_s=610) == [("raised", "nothing-comes", "")]
    assert judged(alarms, *south, *north, at_s=1300) == [("raised", "nothing-comes", "")], "and of all, a while later"


def test_every_fault_of_a_file_is_said_with_its_line() -> None:
    text = """version: 1
rules:
  - slow: {p95: 500}
  - erroring: {share: 2}
  - silence
  - hot: {temperature_c: 80, severity: bad}
  - {}
"""
    with pytest.raises(UserError) as caught:
        parse_rules(text, "rules.yaml")
    said = [(problem.where, problem.code) for problem in caught.value.problems]
    assert [where.partition(" ")[0] for where, _ in said] == [f"rules.yaml:{line}" for line in (3, 4, 5, 6, 7)]
    assert {code for _, code in said} == {"rules-invalid"}
    assert "did you mean `p95_ms`?" in str(caught.value)
    assert "did you mean `silent`?" in str(caught.value)


@pytest.mark.parametrize(("name", "code"), [("none.yaml", "rules-not-found"), (".", "rules-not-found")])
def test_a_file_that_is_none_is_refused(tmp_path: Path, name: str, code: str) -> None:
    with pytest.raises(UserError) as caught:
        load_rules(tmp_path / name)
    assert caught.value.code == code


def test_an_alarm_is_told_once_when_it_is_raised_and_once_when_it_is_over() -> None:
    alarms = rules("  - hot")
    assert judged(alarms, hot(), hot("gate-2", 50)) == [("raised", "hot", "gate-1")]
    assert judged(alarms, hot(), hot("gate-2"), at_s=1) == [("raised", "hot", "gate-2")]
    assert alarms.standing() == {("hot", "warning"): 2}
    assert judged(alarms, hot(degrees=50), at_s=2) == [("cleared", "hot", "gate-1"), ("cleared", "hot", "gate-2")]
    assert judged(alarms, at_s=3) == []


def test_what_does_not_last_is_not_told_nor_what_is_over_for_a_moment() -> None:
    alarms = rules("  - hot: {for_s: 60}")
    assert judged(alarms, hot(), at_s=0) == []
    assert judged(alarms, hot(degrees=50), at_s=30) == []
    assert judged(alarms, hot(), at_s=40) == []
    assert judged(alarms, hot(), at_s=99) == []
    assert judged(alarms, hot(), at_s=100) == [("raised", "hot", "gate-1")]
    assert judged(alarms, hot(degrees=50), at_s=110) == []
    assert judged(alarms, hot(), at_s=150) == []
    assert judged(alarms, hot(degrees=50), at_s=200) == []
    assert judged(alarms, hot(degrees=50), at_s=260) == [("cleared", "hot", "gate-1")]


def test_by_the_rules_that_come_along_one_window_alone_is_no_alarm_of_a_slow_or_busy_board() -> None:
    alarms = Alarms(load_rules(None))
    ill = window(latency_ms=sketch(*[900.0] * 99), board=BoardReading(cpu_permille=990))

    def told(one: Window, came_s: int, at_s: int) -> list[str]:
        board = summary("gate-1", one, received_ms=NOW_MS + came_s * 1000)
        return [problem for _, problem, _ in judged(alarms, board, at_s=at_s)]

    assert [told(ill, 0, at_s) for at_s in (0, 300, 330, 600)] == [[]] * 4, "the next one is late"
    assert told(window(), 620, 620) == []
    assert [told(ill, came_s, came_s) for came_s in (640, 940, 1240)] == [[]] * 3
    assert told(ill, 1240, 1300) == ["slow", "busy"]


def test_rules_of_one_kind_stand_beside_each_other_for_models_and_fleets() -> None:
    alarms = rules("  - slow: {p95_ms: 50, model: kws, severity: error}\n  - slow: {p95_ms: 5, fleet: south}\n  - slow")
    quick = summary("gate-1", window(latency_ms=sketch(60.0)))
    other = summary(
        "gate-2", window(latency_ms=sketch(60.0)), said=state("gate-2", slots={"main": slot("cnn 1")}), fleet="south"
    )
    assert judged(alarms, quick, other) == [("raised", "slow", "gate-1"), ("raised", "slow", "gate-2")]
    assert alarms.standing() == {("slow", "error"): 1, ("slow", "warning"): 1}


class Said(SilentLog):
    def __init__(self) -> None:
        self.lines: list[str] = []

    def note(self, text: str) -> None:
        self.lines.append(text)

    warn = note


def change(device: str = "gate-1") -> Change:
    return Change(
        id="1", state="raised", severity="error", problem="hot", fleet="north", device=device, slot="", reason=HOSTILE,
        since_ms=1, at_ms=2,
    )  # fmt: skip


def test_what_is_refused_for_now_is_told_again_in_its_order_and_signed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(webhook_module, "_FIRST_WAIT_S", 0.01)
    monkeypatch.setenv(SECRET_VARIABLE, "hidden")
    log = Said()
    with receiving() as receiver:
        receiver.answers = [503, 429]
        webhook = Webhook(receiver.url, log)
        webhook.tell([change()])
        webhook.tell([change("gate-2")])
        receiver.until(3)
        webhook.tell([change("gate-3")])
        messages = receiver.until(4)
        webhook.close()
    told = [[one["device"] for one in message["alerts"]] for message in messages]  # type: ignore[attr-defined]
    assert told[2][:1] == ["gate-1"]
    assert [device for part in told[2:] for device in part] == ["gate-1", "gate-2", "gate-3"]
    for body, signature in receiver.got:
        assert signature == f"sha256={hmac.new(b'hidden', body, hashlib.sha256).hexdigest()}"
    assert " answered 503; " in log.lines[0]
    assert "takes alarms again" in log.lines[-1]
    assert "secret-path" not in str(log.lines)


def test_what_is_refused_for_good_holds_nothing_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(webhook_module, "_FIRST_WAIT_S", 0.01)
    log = Said()
    with receiving() as receiver:
        receiver.answers = [400, 413]
        webhook = Webhook(receiver.url, log)
        for number in (1, 2, 3):
            webhook.tell([change(f"gate-{number}")])
            messages = receiver.until(number)
        webhook.close()
    assert [one["device"] for one in messages[2]["alerts"]] == ["gate-3"]  # type: ignore[attr-defined]
    assert [line.partition(" answered ")[2] for line in log.lines] == [
        "400; 1 alarms are not told",
        "413; 1 alarms are not told",
    ]


def test_what_is_refused_until_somebody_mends_it_is_kept_and_no_redirect_followed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(webhook_module, "_LONGEST_WAIT_S", 0.01)
    log = Said()
    with receiving() as receiver:
        receiver.answers = [401, 403, 404, 404, 302]
        webhook = Webhook(receiver.url, log)
        webhook.tell([change()])
        messages = receiver.until(6)
        webhook.close()
    assert [[one["device"] for one in message["alerts"]] for message in messages] == [["gate-1"]] * 6  # type: ignore[attr-defined]
    said = [line.partition(" answered ")[2][:3] for line in log.lines if "answered" in line]
    assert said == ["401", "403", "404", "302"], "each refusal, once"


def test_what_ended_while_nobody_looked_is_seen_by_what_stands() -> None:
    before, after = rules("  - hot: {for_s: 60}\n  - slow"), rules("  - hot: {for_s: 60}\n  - slow")
    assert judged(before, hot(), hot("gate-2")) == []
    first = before.ids()
    assert judged(before, hot(), hot("gate-2"), at_s=60) != []
    assert before.ids() == first, "what is about to be told is no reason to take it for over"
    assert judged(after, hot(), hot("gate-2", 50), at_s=90) == []  # another server, later
    assert after.ids() == first[:1]
    with receiving() as receiver:
        dead = receiver.url
    webhook = Webhook(dead, SilentLog())
    webhook.tell([], after.ids())
    webhook.tell([msgspec.structs.replace(change(), id="new")])
    message = webhook._next()
    assert message is not None
    assert message.standing == [*first[:1], "new"], "with what was raised before it was taken"
    webhook._done(message)
    assert webhook._next() is None
    webhook.tell([change()])
    message = webhook._next()
    assert message is not None
    assert message.standing is msgspec.UNSET
    webhook.close()


def test_telling_waits_for_nobody_and_keeps_a_bounded_number(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(webhook_module, "_FIRST_WAIT_S", 0.01)
    monkeypatch.setattr(webhook_module, "_MOST_WAITING", 3)
    with receiving() as receiver:
        dead = receiver.url
    webhook = Webhook(dead, SilentLog())
    for number in range(10):
        webhook.tell([change(f"b-{number}")])
    message = webhook._next()
    assert message is not None
    assert ([one.device for one in message.alerts], message.left_out) == (["b-7", "b-8", "b-9"], 7)
    webhook.close()


@pytest.mark.parametrize(
    "url",
    [
        "",
        "alarms.example.org",
        "ftp://x/y",
        "http://",
        "http://[x",
        "http://a b/",
        "file:///etc",
        "http://me:hidden@h/x",
    ],
)
def test_what_is_no_address_is_refused(url: str) -> None:
    with pytest.raises(UserError) as caught:
        Webhook(url, SilentLog())
    assert caught.value.code == "webhook-address"
    assert "hidden" not in str(caught.value)
