"""What may be asked of a board, and what its answers look like."""

from __future__ import annotations

import pytest
from edgeglm_agent.uplink.commands import LONGEST_S as AGENTS_LONGEST_S
from edgeglm_agent.wire.commands import Reply

from edgeglm.errors import UserError
from edgeglm.fleet.answers import answer_text
from edgeglm.fleet.commands import LONGEST_S, check_within, parse_arguments, refusal
from edgeglm.fleet.seeing.finding import DEFAULT_FLEET, addressed
from edgeglm.fleet.store.types import Device
from tests.support.fleet.boards import HOSTILE


@pytest.mark.parametrize(
    ("op", "words", "arguments"),
    [
        ("ping", [], {}),
        ("set", ["window_s=60", "sample_share=0.5"], {"window_s": 60, "sample_share": 0.5}),
        ("sample", ["slot=7", "count=3"], {"slot": "7", "count": 3}),
        ("logs", ["lines=200"], {"lines": 200}),
    ],
)
def test_words_become_arguments(op: str, words: list[str], arguments: dict[str, object]) -> None:
    assert parse_arguments(op, words) == arguments


@pytest.mark.parametrize(
    ("op", "words", "said"),
    [
        ("pong", [], "there is no command `pong`"),
        ("set", [], "nothing to set"),
        ("set", ["window_s=0"], "`window_s` is 0: a whole number from 1 to 86400"),
        ("set", ["window_s=1m"], "`window_s` is '1m'"),
        ("set", ["sample_share=1.5"], "a share from 0 to 1"),
        ("set", ["window=60"], "unknown argument `window`"),
        ("ping", ["60"], "`60` is no key=value"),
        ("logs", ["lines=1", "lines=2"], "`lines` stands twice"),
        ("sample", ["slot=../.."], "the name of a slot"),
        ("restart", [f"{HOSTILE}=1"], "unknown argument"),
        ("logs", ["lines=\udcff"], "`lines` is"),
    ],
)
def test_what_no_board_would_take_is_refused_before_anything_is_sent(op: str, words: list[str], said: str) -> None:
    with pytest.raises(UserError) as error:
        parse_arguments(op, words)
    assert error.value.code == "command-invalid"
    assert said in str(error.value)
    assert all(line.isprintable() for line in str(error.value).split("\n"))


def test_no_command_waits_longer_than_a_board_remembers() -> None:
    assert LONGEST_S == AGENTS_LONGEST_S
    assert check_within(LONGEST_S) == LONGEST_S
    with pytest.raises(UserError, match="too long"):
        check_within(LONGEST_S + 1)


def test_answers_are_told_in_words() -> None:
    ping = Reply(1, "a", "ping", True, values={"uptime_ms": 90_000, "session": "s"})
    assert answer_text("gate-1", ping, 0.123) == "gate-1 answered in 0.12 s; up 1 min 30 s"
    assert answer_text("gate-1", Reply(1, "a", "set", True), 1) == "gate-1: done"
    told = Reply(1, "a", "sample", True, "the next answers follow as results")
    assert answer_text("gate-1", told, 1) == "gate-1: done; the next answers follow as results"
    assert answer_text("gate-1", Reply(1, "a", "logs", True, values={"lines": ["one", "two"]}), 1) == "one\ntwo"


@pytest.mark.parametrize("op", ["ping", "logs", "status", "set", HOSTILE])
@pytest.mark.parametrize(
    "values",
    [
        {},
        {"lines": [HOSTILE, 7, None, {"a": HOSTILE}], "uptime_ms": HOSTILE, "device": HOSTILE},
        {"lines": HOSTILE, HOSTILE: HOSTILE},
        {
            "device": "d",
            "fleet": "f",
            "agent": HOSTILE,
            "pid": 1,
            "uptime_s": 1.0,
            "slots": {HOSTILE: {"state": {"status": "refused", "why": HOSTILE}}},
        },
    ],
)
def test_answers_move_no_cursor(op: str, values: dict[str, object]) -> None:
    for ok in (True, False):
        text = answer_text(HOSTILE, Reply(1, HOSTILE, op, ok, HOSTILE, values), 1.0)
        assert all(line.isprintable() for line in text.split("\n"))
    error = str(refusal(Device(HOSTILE, HOSTILE), Reply(1, HOSTILE, op, False, HOSTILE)))
    assert all(line.isprintable() for line in error.split("\n"))


def test_a_command_needs_no_store_where_the_fleet_is_said_or_the_agents_default() -> None:
    assert addressed("gate-1", None, "sqlite:////no/such/fleet.db") == Device(DEFAULT_FLEET, "gate-1")
    assert addressed("gate-1", "north", "nonsense") == addressed("north/gate-1", None, "nonsense")
    with pytest.raises(UserError, match="cannot be a device"):
        addressed("#", "north", "nonsense")
    with pytest.raises(UserError, match="names fleet north"):
        addressed("north/gate-1", "south", "nonsense")
