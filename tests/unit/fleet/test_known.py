"""Runs of sequence numbers, against a plain set of them."""

from __future__ import annotations

import pytest
from edgeglm_agent.wire import WireError
from hypothesis import given
from hypothesis import strategies as st

from edgeglm.fleet.store.known import Ranges

RUNS = st.lists(
    st.tuples(st.integers(1, 60), st.integers(0, 8)).map(lambda one: (one[0], one[0] + one[1])), max_size=30
)


@given(RUNS)
def test_runs_hold_what_a_set_holds_and_come_back_from_their_packed_form(runs: list[tuple[int, int]]) -> None:
    ranges, plain = Ranges(), set[int]()
    for first, last in runs:
        ranges.add(first, last)
        plain.update(range(first, last + 1))
    assert {number for number in range(1, 80) if number in ranges} == plain
    assert all(number in plain for number in range(1, ranges.through + 1))
    assert ranges.through + 1 not in plain
    assert ranges.highest == max(plain, default=0)
    gaps = [(left[1], right[0]) for left, right in zip(ranges.beyond, ranges.beyond[1:], strict=False)]
    assert all(right > left + 1 for left, right in gaps), "apart, and in order"
    again = Ranges.unpacked(ranges.through, ranges.packed())
    assert (again.through, again.beyond) == (ranges.through, ranges.beyond)


def test_only_the_highest_runs_are_kept_where_a_list_must_stay_short() -> None:
    ranges = Ranges(0, [(2, 2), (4, 5), (9, 9)])
    ranges.keep_highest(2)
    assert ranges.beyond == [(4, 5), (9, 9)]


def test_damaged_runs_are_refused() -> None:
    with pytest.raises(WireError):
        Ranges.unpacked(3, b"\x80")
