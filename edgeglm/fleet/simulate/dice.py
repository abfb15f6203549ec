"""Numbers that look random and are the same for the same seed, at 40 bytes a board."""

from __future__ import annotations

import hashlib

_MASK = (1 << 64) - 1


class Dice:
    """A generator of 64 bits of state. Source: Steele, Lea, Flood: SplitMix, OOPSLA 2014."""

    __slots__ = ("_state",)

    def __init__(self, *seed: object) -> None:
        """Take what makes this one differ from others."""
        self._state = int.from_bytes(digest(*seed)[:8], "big")

    def bits(self) -> int:
        """Return a number of 64 bits."""
        self._state = z = (self._state + 0x9E3779B97F4A7C15) & _MASK
        z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9 & _MASK
        z = (z ^ (z >> 27)) * 0x94D049BB133111EB & _MASK
        return z ^ (z >> 31)

    def unit(self) -> float:
        """Return a number from 0, which may be, to 1, which may not."""
        return self.bits() / 2**64

    def below(self, limit: int) -> int:
        """Return a whole number from 0 up to, but not including, the limit."""
        return self.bits() % limit

    def pick(self, weights: list[float]) -> int:
        """Return a place in the list, each as often as its weight says."""
        left = self.unit() * sum(weights)
        for at, weight in enumerate(weights):
            left -= weight
            if left < 0:
                return at
        return len(weights) - 1

    def shuffled(self, count: int) -> list[int]:
        """Return the numbers below the count in some order."""
        numbers = list(range(count))
        for at in range(count - 1, 0, -1):
            other = self.below(at + 1)
            numbers[at], numbers[other] = numbers[other], numbers[at]
        return numbers


def digest(*parts: object) -> bytes:
    """Return 32 bytes that these parts, and no others, make."""
    return hashlib.sha256("\0".join(map(str, parts)).encode()).digest()
