"""Arrays out of JSON that a stranger sent: numbers alone are read, counted before anything is made of them.

NumPy would make room for every text of a list as if it were the longest: texts never come so far.
"""

from __future__ import annotations

import re
from typing import Any

import msgspec
import numpy as np

from edgeglm_agent.inputs.npy import DamagedError

DEEPEST = 6  # lists within lists, of one sample
MOST_LISTS = 500_000  # of one document: each takes twenty times its bytes in memory
_OPENING = re.compile(rb"[\s\[]*")
_AT = re.compile(r"(.*) - at `\$(.*)`\Z", re.DOTALL)


class PlacedError(DamagedError):
    """A document that cannot be read.

    Attributes:
        said: What is wrong.
        where: The place in it: ``instances[3].image[0]``; empty for the document as a whole.
    """

    def __init__(self, said: str, *, where: str = "") -> None:
        self.said = said
        self.where = where
        super().__init__(f"{where}: {said}" if where else said)


def _numbers(depth: int) -> Any:
    kind: Any = int | float
    for _ in range(depth):
        kind = list[kind]
    return kind


_of_depth = [msgspec.json.Decoder(_numbers(depth)) for depth in range(DEEPEST + 2)]
_by_name = msgspec.json.Decoder(dict[str, msgspec.Raw])


def opening(raw: bytes) -> tuple[int, bytes]:
    """Return how many lists a value opens with, and the first byte within them."""
    match = _OPENING.match(raw)
    assert match is not None  # it matches nothing, too
    return match[0].count(b"["), raw[match.end() : match.end() + 1]


def lists(raw: bytes, depth: int, where: str) -> Any:
    """Return numbers in lists, so many deep, at most ``DEEPEST`` + 1. Raises: PlacedError."""
    return decoded(_of_depth[depth], raw, where)


def named(raw: bytes, where: str) -> dict[str, msgspec.Raw]:
    """Return values by name, not read yet. Raises: PlacedError."""
    found: dict[str, msgspec.Raw] = decoded(_by_name, raw, where)
    return found


def decoded(decoder: msgspec.json.Decoder[Any], data: bytes, where: str) -> Any:
    """Return what a decoder makes of the bytes. Raises: PlacedError."""
    try:
        return decoder.decode(data)
    except (ValueError, RecursionError) as error:  # msgspec's own are ValueErrors, and so is bad UTF-8
        said = _AT.match(str(error))
        message, place = (said[1], said[2]) if said else (str(error), "")
        raise PlacedError(message[:300], where=(where + place).lstrip(".")) from error


def check_lists(data: bytes, instead: str) -> None:
    """Refuse a document of so many lists that they alone fill the memory. Raises: PlacedError."""
    if data.count(b"[") + data.count(b"{") > MOST_LISTS:
        raise PlacedError(f"more than {MOST_LISTS} lists: send such arrays as {instead}")


def read_array(raw: bytes, where: str) -> np.ndarray:
    """Return numbers in nested lists as an array, int64 or float32, finite and not empty. Raises: PlacedError."""
    depth, _ = opening(raw)
    if depth > DEEPEST:
        raise PlacedError(f"lists within lists, {depth} deep; at most {DEEPEST} are read", where=where)
    return as_array(lists(raw, depth, where), where)


def as_array(values: Any, where: str) -> np.ndarray:
    """Return nested lists of numbers as an array, int64 or float32, finite and not empty. Raises: PlacedError."""
    try:
        array = np.array(values)
    except ValueError as error:  # a list of lists of different lengths
        raise PlacedError(_uneven(values, where) or "lists of different lengths", where=where) from error
    if array.dtype.kind not in "if":
        raise PlacedError("a number of more than 64 bits", where=where)
    if array.dtype == np.float64:
        with np.errstate(over="ignore"):  # becomes infinite, and is refused
            array = array.astype(np.float32)
    return checked(array, where)


def checked(array: np.ndarray, where: str) -> np.ndarray:
    """Return an array that holds numbers a model can take. Raises: PlacedError."""
    if not array.size:
        raise PlacedError(f"an array of shape {array.shape} holds nothing", where=where)
    if array.dtype.kind == "f" and not np.isfinite(array).all():  # the model would answer with no number either
        raise PlacedError("holds NaN, infinity, or more than float32 can", where=where)
    return array


def _uneven(values: Any, where: str) -> str:
    """Return which two lists beside each other have different lengths; empty where it is none."""
    if not (isinstance(values, list) and values and isinstance(values[0], list)):
        return ""
    for row, one in enumerate(values):
        if isinstance(one, list) and len(one) != len(values[0]):
            return f"{where}[{row}] has {len(one)} entries, {where}[0] has {len(values[0])}"
    return next((found for row, one in enumerate(values) if (found := _uneven(one, f"{where}[{row}]"))), "")
