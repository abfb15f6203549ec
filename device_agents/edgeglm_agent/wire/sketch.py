"""Log-bucket histograms: percentiles that can be added up over windows, slots and boards.

Source: Masson, Rim, Lee: DDSketch, VLDB 2019, arXiv:1908.10693, section 2 (the logarithmic mapping).
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from edgeglm_agent.wire.manifest import WireError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

GAMMA = 1.02  # bucket i holds (GAMMA**(i-1), GAMMA**i]: the middle of a bucket is off by less than 1 %
PER_LOG = 1.0 / math.log(GAMMA)
SMALLEST = GAMMA**-1400.5  # 1e-12: what is smaller, zero included, counts to the lowest bucket
_LOWEST = -1400
_HIGHEST = 2000  # GAMMA**2000 is 1.6e17
_MOST_BYTES = 65_536


class Sketch:
    """Counts of positive values by logarithmic bucket, with a relative error below 1 %."""

    __slots__ = ("counts",)

    def __init__(self, counts: Mapping[int, int] | None = None) -> None:
        self.counts: dict[int, int] = dict(counts or {})

    @property
    def n(self) -> int:
        """How many values were added."""
        return sum(self.counts.values())

    @property
    def sum(self) -> float:
        """What the values come to, within 1 %."""
        return sum(count * middle(index) for index, count in self.counts.items())

    def add(self, value: float) -> None:
        """Count one value, in whatever unit the sketch is kept in; zero, and below, is its lowest bucket."""
        index = math.ceil(math.log(value) * PER_LOG) if value > 1e-12 else _LOWEST
        self.counts[index] = self.counts.get(index, 0) + 1

    def merge(self, other: Sketch) -> None:
        """Add another sketch's counts to this one's."""
        for index, count in other.counts.items():
            self.counts[index] = self.counts.get(index, 0) + count

    def quantile(self, share: float) -> float | None:
        """Return the value below which this share (0 to 1) lies, within 1 %; None without values."""
        n = self.n
        if not n:
            return None
        rank = max(1, math.ceil(share * n))
        for index in sorted(self.counts):
            rank -= self.counts[index]
            if rank <= 0:
                break
        return middle(index)

    def pack(self) -> bytes:
        """Return the counts as bytes: variable-length integers, a run of empty buckets as 0 and its length."""
        if not self.counts:
            return b""
        first, last = min(self.counts), max(self.counts)
        numbers = [first * 2 if first >= 0 else -first * 2 - 1]
        empty = 0
        for index in range(first, last + 1):
            count = self.counts.get(index, 0)
            if count:
                if empty:
                    numbers += [0, empty]
                    empty = 0
                numbers.append(count)
            else:
                empty += 1
        return pack_numbers(numbers)

    @classmethod
    def unpack(cls, data: bytes) -> Sketch:
        """Return the sketch that these bytes hold. Raises: WireError."""
        if not data:
            return cls()
        if len(data) > _MOST_BYTES:
            raise WireError(f"a sketch of {len(data)} bytes; no edgeglm writes more than {_MOST_BYTES}")
        numbers = iter(unpack_numbers(data))
        first = next(numbers)
        index = first // 2 if first % 2 == 0 else -(first + 1) // 2
        counts: dict[int, int] = {}
        for number in numbers:
            if number:
                counts[index] = number
                index += 1
            else:
                index += next(numbers, 0)
            if not _LOWEST <= index <= _HIGHEST + 1:
                raise WireError(f"a sketch with bucket {index}; there are {_LOWEST} to {_HIGHEST}")
        return cls(counts)


def middle(index: int) -> float:
    """Return the value that stands for all of a bucket, off by less than 1 %; zero for the lowest."""
    return 0.0 if index <= _LOWEST else float(2.0 * GAMMA**index / (GAMMA + 1.0))


def pack_numbers(numbers: Iterable[int]) -> bytes:
    """Return numbers of at least 0 as LEB128: seven bits a byte, the lowest first."""
    out = bytearray()
    for number in numbers:
        while number > 127:
            out.append(number & 127 | 128)
            number >>= 7
        out.append(number)
    return bytes(out)


def unpack_numbers(data: bytes) -> list[int]:
    """Return the numbers that ``pack_numbers`` packed. Raises: WireError."""
    numbers: list[int] = []
    number = shift = 0
    for byte in data:
        number |= (byte & 127) << shift
        shift += 7
        if byte < 128:
            numbers.append(number)
            number = shift = 0
        elif shift > 63:
            raise WireError("a number of more than 64 bits")
    if shift:
        raise WireError("the last number is cut off")
    return numbers
