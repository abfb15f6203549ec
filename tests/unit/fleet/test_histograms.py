"""Many histograms at once say what one ``Sketch`` says, whatever a board has packed."""

from __future__ import annotations

import msgspec
import numpy as np
import pytest
from edgeglm_agent.wire import WireError
from edgeglm_agent.wire.sketch import Sketch, pack_numbers
from edgeglm_agent.wire.telemetry import Window

from edgeglm.fleet.histograms import added_up, joined, packed_rows, quantiles, table, unpacked
from edgeglm.fleet.store.hour_sums import Seen, seen
from tests.support.fleet.boards import window

ODD = {
    "empty": b"",
    "no count": pack_numbers([7]),
    "far first bucket without a count": pack_numbers([9_000]),
    "far first bucket": pack_numbers([9_000, 1]),
    "below the lowest": pack_numbers([2 * 1401 - 1, 1]),
    "lowest and highest": Sketch({-1400: 3, 2000: 4}).pack(),
    "beyond the highest": pack_numbers([4000, 1, 1]),
    "a run of none": pack_numbers([8, 5, 0, 0, 6]),
    "a run of none, twice": pack_numbers([8, 0, 0, 0, 0, 6]),
    "a run without its length": pack_numbers([8, 5, 0]),
    "a run to the end": pack_numbers([8, 5, 0, 9]),
    "a large count": Sketch({4: 2**34, 5: 2**35 - 1}).pack(),
    "a very large count": Sketch({4: 2**35, 9: 1}).pack(),
    "a count of 63 bits": Sketch({4: 2**62}).pack(),
    "padded": bytes([8, 0x85, 0x80, 0x80, 0x80, 0x80, 0x80, 0]),
    "a number of too many bits": bytes([8, *[0xFF] * 12, 1]),
    "cut off": b"\xff\xff",
    "its last number cut off": bytes([8, 5, 0xFF]),
    "too long": bytes([8]) + bytes([1]) * 70_000,
}


def usual(count: int) -> list[bytes]:
    numbers, made = np.random.default_rng(5), []
    for _ in range(count):
        one = Sketch()
        for value in numbers.lognormal(numbers.uniform(-3, 6), 0.6, int(numbers.integers(1, 400))):
            one.add(float(value))
        made.append(one.pack())
    return made


def one_by_one(packed: list[bytes], rows: list[int], height: int) -> tuple[list[Sketch], set[int]]:
    sums, damaged = [Sketch() for _ in range(height)], set()
    for place, (one, row) in enumerate(zip(packed, rows, strict=True)):
        try:
            sums[row].merge(Sketch.unpack(one))
        except WireError:
            damaged.add(place)
    return sums, damaged


@pytest.mark.parametrize("odd", ODD.values(), ids=ODD)
def test_an_odd_histogram_counts_as_by_itself_and_leaves_those_beside_it_alone(odd: bytes) -> None:
    packed = [*usual(3), odd, *usual(2)]
    counts, damaged = unpacked(packed)
    for place, one in enumerate(packed):
        own = counts.owner == place
        found = dict(zip(counts.bucket[own].tolist(), counts.n[own].tolist(), strict=True))
        try:
            assert found == Sketch.unpack(one).counts
        except WireError:
            assert (place, found) == (3, {})
            assert damaged == {3}
    assert damaged <= {3}


def test_rows_have_the_percentiles_of_all_their_samples() -> None:
    packed = [*usual(200), *ODD.values()]
    rows = [place * 7 % 12 for place in range(len(packed))]  # of 13: the last one has none
    sums, damaged = one_by_one(packed, rows, 13)
    counts, found_damaged = unpacked(packed)
    assert found_damaged == damaged != set()
    one = table(counts, np.array(rows), 13, np.ones(len(packed), bool))
    shares = (0.5, 0.95, 0.99)
    assert quantiles(one, *shares) == [[row.quantile(share) for row in sums] for share in shares]
    everything = Sketch()
    for row in sums:
        everything.merge(row)
    assert quantiles(added_up(one), *shares) == [[everything.quantile(share)] for share in shares]


def test_tables_of_parts_come_to_the_table_of_all() -> None:
    packed = usual(60)
    rows = np.arange(60) // 4
    counts, _ = unpacked(packed)
    early = np.arange(60) < 22
    parts = [table(counts, rows, 15, chosen) for chosen in (early, ~early, np.zeros(60, bool))]
    at = np.arange(15)
    assert quantiles(joined([(one, at) for one in parts], 15), 0.5, 0.99) == quantiles(
        table(counts, rows, 15, early | True), 0.5, 0.99
    )
    halves = joined([(one, at // 2) for one in parts], 8)
    sums, _ = one_by_one(packed, [place // 8 for place in range(60)], 8)
    assert quantiles(halves, 0.95) == [[row.quantile(0.95) for row in sums]]


def test_sums_are_packed_as_each_would_be_by_itself() -> None:
    packed = [*usual(60), *ODD.values()]
    rows = [place * 7 % 12 for place in range(len(packed))]  # of 13: the last one has none
    sums, _ = one_by_one(packed, rows, 13)
    counts, _ = unpacked(packed)
    made = packed_rows(table(counts, np.array(rows), 13, np.ones(len(packed), bool)))
    assert made == [row.pack() for row in sums]
    assert made[-1] == b""
    assert packed_rows(table(counts, np.array(rows), 13, np.zeros(len(packed), bool))) == [b""] * 13


def test_nothing_has_no_percentiles() -> None:
    counts, damaged = unpacked([])
    assert damaged == set()
    nothing = table(counts, np.zeros(0, np.int64), 2, np.zeros(0, bool))
    assert quantiles(nothing, 0.5) == [[None, None]]
    assert quantiles(added_up(joined([], 0)), 0.5, 0.9) == [[None], [None]]


def test_what_curves_need_of_a_window_is_read_from_its_place() -> None:
    names = [one.name for one in msgspec.structs.fields(Window)]
    assert [one.name for one in msgspec.structs.fields(Seen)] == names[: len(msgspec.structs.fields(Seen))]
    full = window(errors={"run": 2}, classes={1: 2}, confidence=b"\x01", merged=3)
    found = seen(msgspec.msgpack.encode(full))
    for name in ("slot", "duration_ms", "inferences", "errors", "latency_ms", "total_ms", "drift", "board", "merged"):
        assert getattr(found, name) == getattr(full, name)
