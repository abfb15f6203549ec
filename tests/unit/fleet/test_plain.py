"""Texts of boards, times of users."""

from __future__ import annotations

import json
from datetime import UTC, datetime

import pytest

from edgeglm.errors import UserError
from edgeglm.fleet.plain import json_text, pairs, plain, plain_values
from edgeglm.fleet.seeing.times import age, local_iso, parse_span_s, parse_time, utc_iso
from tests.support.fleet.boards import HOSTILE, NOW_MS


def test_a_hostile_text_becomes_one_printable_line_that_still_says_what_it_was() -> None:
    shown = plain(HOSTILE)
    assert shown.isprintable()
    assert shown.startswith("\\x1b[31mred\\x1b[H\\r\\n\\x9b2J\\u202egpj.exe")
    assert plain("\ud800") == "\\ud800"
    assert plain("Tür 7, grün") == "Tür 7, grün"


def test_a_long_text_is_cut_and_says_so() -> None:
    assert plain("a" * 300) == "a" * 198 + ".."
    assert len(plain("\x00" * 10**6)) == 200
    assert plain("a" * 200) == "a" * 200


def test_a_table_of_a_board_cannot_pass_for_another() -> None:
    assert pairs({"feature": "input.x", "psi": 0.412, "now": True}) == "feature=input.x psi=0.412 now=true"
    assert pairs({"why": 'a" severity=error'}) == 'why="a\\" severity=error"'
    assert pairs({"a": "\x1b[2J", "": ""}) == 'a=\\x1b[2J =""'
    assert len(pairs({str(number): "x" * 100 for number in range(100_000)})) == 200


def test_json_shows_no_character_that_a_terminal_obeys_and_reads_back_the_same() -> None:
    value = {"why": HOSTILE + "\x7f\U000e0001", "name": "Tür"}
    text = json_text(value)
    assert all(line.isprintable() for line in text.splitlines())
    assert "Tür" in text
    assert json.loads(text) == value
    assert plain_values({"a\n": ["\x1b", 3, None]}) == {"a\\n": ["\\x1b", 3, None]}


@pytest.mark.parametrize(
    ("text", "ago_s"),
    [("90s", 90), ("30m", 1800), ("30min", 1800), ("24h", 86_400), ("7d", 604_800), ("2w", 1_209_600), ("1.5 h", 5400)],
)
def test_how_long_ago_is_understood(text: str, ago_s: int) -> None:
    assert parse_time(text, now_ms=NOW_MS, option="--since") == NOW_MS - ago_s * 1000


def test_iso_times_are_understood_the_local_ones_too() -> None:
    when = datetime(2027, 3, 1, 6, tzinfo=UTC)
    for text in ("2027-03-01T06:00Z", "2027-03-01T07:00+01:00", when.astimezone().replace(tzinfo=None).isoformat()):
        assert parse_time(text, now_ms=NOW_MS, option="--since") == when.timestamp() * 1000
    midnight = datetime(2027, 3, 1).astimezone()
    assert parse_time("2027-03-01", now_ms=NOW_MS, option="--since") == midnight.timestamp() * 1000


@pytest.mark.parametrize(
    "text", ["", "yesterday", "24", "3 fortnights", "2027-13-01", "-5h", "9" * 400 + "d", "1960-01-01", "\x1b[2J"]
)
def test_what_is_no_time_is_a_clear_error(text: str) -> None:
    with pytest.raises(UserError, match="is no time") as error:
        parse_time(text, now_ms=NOW_MS, option="--since")
    assert error.value.code == "time-invalid"
    assert str(error.value).startswith("--since: ")


def test_lengths_of_time_are_understood() -> None:
    assert [parse_span_s(text, option="--within") for text in ("30s", "5m", "2h", "10")] == [30, 300, 7200, 10]
    for text in ("", "0s", "-1s", "soon", "nan", "1e9"):
        with pytest.raises(UserError, match="no length of time"):
            parse_span_s(text, option="--within")


def test_moments_that_no_calendar_has_are_shown_as_numbers() -> None:
    assert local_iso(2**62) == f"{2**62} ms"
    assert utc_iso(2**62) is None
    assert utc_iso(NOW_MS) == "2027-01-15T08:00:00.000Z"
    assert datetime.fromisoformat(local_iso(NOW_MS)).timestamp() * 1000 == NOW_MS


@pytest.mark.parametrize(
    ("ago_ms", "shown"),
    [
        (-5000, "0 s"),
        (119_000, "119 s"),
        (120_000, "2 min"),
        (7_200_000, "2 h"),
        (172_800_000, "2 d"),
        (4 * 10**10, "462 d"),
    ],
)
def test_ages_are_in_one_unit(ago_ms: int, shown: str) -> None:
    assert age(NOW_MS - ago_ms, NOW_MS) == shown
