"""Bytes that were right once: for tests of what reads them."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import random


def mangle(data: bytes, chance: random.Random) -> bytes:
    """Return the bytes with a few flipped, cut, doubled or put in."""
    out = bytearray(data)
    for _ in range(chance.randint(1, 4)):
        place = chance.randrange(len(out) + 1)
        match chance.randrange(4):
            case 0 if place < len(out):
                out[place] ^= 1 << chance.randrange(8)
            case 1:
                del out[place:]
            case 2:
                out[place:place] = out[: chance.randrange(40)]
            case _:
                out[place:place] = chance.randbytes(chance.randrange(9))
    return bytes(out)
