"""Many packed sketches added up at once: what ``Sketch`` does one by one, in a few steps of numpy."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple, TypeAlias

import numpy as np
from edgeglm_agent.wire import WireError
from edgeglm_agent.wire.sketch import Sketch, middle

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    Ints: TypeAlias = NDArray[np.int64]
    Floats: TypeAlias = NDArray[np.float64]
    Flags: TypeAlias = NDArray[np.bool_]

_LOWEST, _HIGHEST = -1400, 2000  # buckets, as ``Sketch`` has them
_LONGEST_BYTES = 5  # of a number that is read here: 20,000 windows of such counts are exact in a float
_MOST_BYTES = 65_536  # of a sketch
_BIG = 2**62  # a count that stays readable once more is added to it
_UNPACKED_AT_ONCE = 1000  # sketches, each of which may have every bucket that there is
_AT_ONCE = 256  # sketches, so that all of a step is in the processor's cache: twice as fast


class Counts(NamedTuple):
    """What many sketches hold, a line for each bucket of each that is not empty."""

    owner: Ints  # the sketch's place among those given
    bucket: Ints
    n: Floats  # how many values


class Table(NamedTuple):
    """Counts by stretch and bucket."""

    lowest: int  # the bucket of the first column
    counts: Floats  # a row for each stretch


def unpacked(packed: Sequence[bytes]) -> tuple[Counts, set[int]]:
    """Return what sketches hold, and the places of those that are damaged, of which nothing is counted."""
    usual, odd, damaged = list[int](), set[int](), set[int]()
    for place, one in enumerate(packed):
        if one and one[-1] < 128 and len(one) <= _MOST_BYTES:
            usual.append(place)
        elif one:
            odd.add(place)
    parts = [Counts(np.zeros(0, np.int64), np.zeros(0, np.int64), np.zeros(0))]
    for start in range(0, len(usual), _AT_ONCE):
        places = usual[start : start + _AT_ONCE]
        counts, those = _at_once([packed[place] for place in places], np.array(places, np.int64))
        parts.append(counts)
        odd |= those
    for place in sorted(odd):
        try:
            held = Sketch.unpack(packed[place]).counts
        except WireError:
            damaged.add(place)
        else:
            buckets = np.array([*held], np.int64)
            parts.append(Counts(np.full(len(held), place), buckets, np.array([*held.values()], np.float64)))
    return Counts(*(np.concatenate(columns) for columns in zip(*parts, strict=True))), damaged


def _at_once(packed: Sequence[bytes], places: Ints) -> tuple[Counts, set[int]]:
    """Return what sketches hold; those with anything that no edgeglm packs are left out, and their places returned.

    Each has a byte at least, and ends where a number ends.
    """
    data = np.frombuffer(b"".join(packed), np.uint8)
    ends = np.flatnonzero(data < 128)
    starts = np.concatenate(([0], ends[:-1] + 1))
    values = (data[starts] & 127).astype(np.int64)
    more = np.flatnonzero(ends > starts)  # numbers that go on
    for at in range(1, _LONGEST_BYTES):
        values[more] |= (data[starts[more] + at] & 127).astype(np.int64) << (7 * at)
        more = more[ends[more] - starts[more] > at]
    sizes = np.fromiter(map(len, packed), np.int64, len(packed))
    first = np.searchsorted(starts, np.cumsum(sizes) - sizes)  # of each sketch: the number that says its first bucket
    numbers = np.diff(first, append=values.size)
    empty = values == 0  # a run of empty buckets: the next number is its length
    empty[first] = False
    run = np.zeros_like(empty)
    run[1:] = empty[:-1]
    run[first] = False  # a run whose length is missing, at a sketch's end
    counted = ~(empty | run)
    counted[first] = False
    through = np.cumsum(counted + values * run)
    head = values[first]
    base = np.where(head % 2 == 0, head // 2, -(head + 1) // 2)
    after = through + np.repeat(base - through[first], numbers)  # the bucket that comes next
    odd = empty & run
    odd[more] = True
    if after.max() > _HIGHEST + 1 or after.min() < _LOWEST:
        odd |= (after > _HIGHEST + 1) | (after < _LOWEST)
    owner = np.repeat(places, numbers)
    bad = np.unique(owner[odd])
    if bad.size:
        counted &= ~np.isin(owner, bad)
    return Counts(owner[counted], after[counted] - 1, values[counted].astype(np.float64)), {*bad.tolist()}


def table(counts: Counts, rows: Ints, height: int, chosen: Flags) -> Table:
    """Add sketches up.

    Args:
        counts: What they hold.
        rows: Of each sketch, the row that it belongs to.
        height: How many rows there are.
        chosen: Of each sketch, whether it counts.
    """
    if not chosen.all():
        taken = chosen[counts.owner]
        counts = Counts(counts.owner[taken], counts.bucket[taken], counts.n[taken])
    bucket, row, count = counts.bucket, rows[counts.owner], counts.n
    if not bucket.size:
        return Table(0, np.zeros((height, 0)))
    lowest = int(bucket.min())
    width = int(bucket.max()) - lowest + 1
    sums = np.bincount(row * width + bucket - lowest, count, height * width).astype(np.float64, copy=False)
    return Table(lowest, sums.reshape(height, width))


def joined(tables: Sequence[tuple[Table, Ints]], height: int) -> Table:
    """Add tables up, each with the rows that its own belong to."""
    some = [(one, rows) for one, rows in tables if one.counts.size]
    lowest = min((one.lowest for one, _ in some), default=0)
    width = max((one.lowest + one.counts.shape[1] for one, _ in some), default=lowest) - lowest
    sums = np.zeros((height, width))
    for one, rows in some:
        at = one.lowest - lowest
        np.add.at(sums[:, at : at + one.counts.shape[1]], rows, one.counts)
    return Table(lowest, sums)


def quantiles(of: Table, *shares: float) -> list[list[float | None]]:
    """Return the values below which these shares lie, of each row, as ``Sketch.quantile`` does."""
    if not of.counts.size:
        return [[None] * len(of.counts) for _ in shares]
    through = np.cumsum(of.counts, axis=1)
    n = through[:, -1]
    found = []
    for share in shares:
        rank = np.maximum(1, np.ceil(share * n))
        columns = np.argmax(through >= rank[:, None], axis=1)
        found.append([middle(of.lowest + int(at)) if some else None for at, some in zip(columns, n > 0, strict=True)])
    return found


def added_up(of: Table) -> Table:
    """Return all rows as one."""
    return Table(of.lowest, of.counts.sum(axis=0, keepdims=True))


def latencies(model: Sequence[bytes], whole: Sequence[bytes], rows: Ints, height: int) -> tuple[Table, Table, Flags]:
    """Add up what windows tell of the time from input to result, and of what the model took of it.

    Args:
        model: Of each window, the sketch of what the model took.
        whole: Likewise, from input to result; empty where that is what the model took.
        rows: Of each window, the row that it belongs to.
        height: How many rows there are.

    Returns:
        Tables from input to result and of the model, the same one where no window tells them apart; and of each window
        whether its sketches could be read: where not, neither counts.
    """
    sound = np.ones(len(model), bool)
    wholes: list[tuple[Table, Ints]] = []
    models: list[tuple[Table, Ints]] = []
    apart = any(whole)
    for start in range(0, len(model), _UNPACKED_AT_ONCE):
        part = slice(start, start + _UNPACKED_AT_ONCE)
        at, held = np.unique(rows[part], return_inverse=True)
        counts, damaged = unpacked(model[part])
        counts_of_whole, damaged_wholes = unpacked(whole[part])
        sound[[start + place for place in damaged | damaged_wholes]] = False
        models.append((table(counts, held, len(at), sound[part]), at))
        if apart:
            own = np.array([bool(one) for one in whole[part]], bool)
            wholes.append((table(counts_of_whole, held, len(at), sound[part]), at))
            wholes.append((table(counts, held, len(at), sound[part] & ~own), at))
    of_model = joined(models, height)
    return joined(wholes, height) if apart else of_model, of_model, sound


def packed_rows(of: Table) -> list[bytes]:
    """Return each row as ``Sketch.pack`` does."""
    packed = [b""] * len(of.counts)
    rows, columns = np.nonzero(of.counts)
    if not rows.size:
        return packed
    first = np.ones(rows.size, bool)  # of its row
    first[1:] = rows[1:] != rows[:-1]
    gaps = np.diff(columns, prepend=0) - 1
    gaps[first] = 0
    apart = gaps > 0
    # a row's first bucket stands before its count; before others a zero and a gap's length, where there is a gap
    places = np.cumsum(np.where(first, 2, np.where(apart, 3, 1))) - 1
    numbers = np.zeros(places[-1] + 1, np.int64)
    numbers[places] = np.minimum(of.counts[rows, columns], _BIG).astype(np.int64)
    numbers[places[apart] - 1] = gaps[apart]
    buckets = columns[first] + of.lowest
    numbers[places[first] - 1] = np.where(buckets >= 0, 2 * buckets, -2 * buckets - 1)
    sizes = np.ones(numbers.size, np.int64)
    rest = numbers >> 7
    while rest.any():
        sizes += rest > 0
        rest >>= 7
    starts = np.cumsum(sizes) - sizes
    data = np.zeros(int(sizes.sum()), np.uint8)
    for at in range(int(sizes.max())):
        some = sizes > at
        data[starts[some] + at] = (numbers[some] >> 7 * at & 127) | np.where(sizes[some] > at + 1, 128, 0)
    cuts = [*starts[places[first] - 1].tolist(), data.size]
    whole = data.tobytes()
    for row, start, end in zip(rows[first].tolist(), cuts, cuts[1:], strict=False):
        packed[row] = whole[start:end]
    return packed
