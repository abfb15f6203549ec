"""Arrays out of bytes that a stranger sent: npy and npz, checked before a byte is allocated, and never unpickled."""

from __future__ import annotations

import io
import math
import re
import zipfile
from functools import lru_cache
from typing import Any

import numpy as np

__all__ = ["NPY_MAGIC", "DamagedError", "npy", "npz"]

NPY_MAGIC = b"\x93NUMPY"
_MOST_HEADER = 10_000  # bytes; numpy writes 118
_MOST_DIMENSIONS = 16
_MOST_DIGITS = 18  # of one length
_MOST_MEMBERS = 64
_MEMBER = b"PK\x01\x02"  # what an entry of a zip file's directory begins with
# the header is a Python literal, read by its three parts: thirty times as fast as a parser, and no code runs
_DESCR = re.compile(r"'descr'\s*:\s*'([^']{1,16})'")
_NUMBER = re.compile(r"[<>|=]?[biuf][1248]\Z|\?\Z")
_ORDER = re.compile(r"'fortran_order'\s*:\s*(True|False)")
_SHAPE = re.compile(r"'shape'\s*:\s*\(([^()]*)\)")
_HEADER = re.compile(r"\{[^{}]*\}\s*\Z")


class DamagedError(ValueError):
    """These bytes are no sample, and this is why; the next ones may be."""


def npy(data: bytes | bytearray | memoryview) -> np.ndarray:
    """Return the array of numbers that the bytes of a .npy file hold; where the byte order is ours, a view of them.

    Source: the npy format, versions 1.0 to 3.0, NEP 1.

    Raises:
        DamagedError: It is cut short, claims another size than it has, or holds something else than real numbers.
    """
    view = memoryview(data).cast("B")
    if len(view) < 12 or view[:6] != NPY_MAGIC:
        raise DamagedError("it is no .npy file")
    if view[6] not in (1, 2, 3):
        raise DamagedError(f"it is .npy of version {view[6]}; versions 1 to 3 are read")
    start = 10 if view[6] == 1 else 12
    length = int.from_bytes(view[8:start], "little")
    if length > min(_MOST_HEADER, len(view) - start):
        raise DamagedError("its .npy header is cut short or far too long")
    kind, fortran, shape = _header(bytes(view[start : start + length]))
    content = view[start + length :]
    count = math.prod(shape)  # Python's integers: no overflow
    if count * kind.itemsize != len(content):
        raise DamagedError(
            f"its .npy header says {count} values of {kind.itemsize} bytes, and {len(content)} bytes follow"
        )
    values = np.frombuffer(content, kind).reshape(shape, order="F" if fortran else "C")
    return values if kind.isnative else values.astype(kind.newbyteorder("="))


def npz(data: bytes, *, most_bytes: int) -> dict[str, np.ndarray]:
    """Return the arrays of a .npz file by name.

    Args:
        data: The file.
        most_bytes: Unpacked, all arrays together; more is refused before it is unpacked.

    Raises:
        DamagedError: It is no archive, is damaged or too large, or holds something else than arrays of numbers.
    """
    if data.count(_MEMBER) > _MOST_MEMBERS:  # before zipfile makes an object of each
        raise DamagedError(f"it holds more than {_MOST_MEMBERS} arrays")
    arrays: dict[str, np.ndarray] = {}
    left = most_bytes
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            for member in archive.infolist():
                with archive.open(member) as file:
                    content = file.read(left + 1)  # what the directory says of its size may be a lie
                left -= len(content)
                if left < 0:
                    raise DamagedError(f"unpacked it has more than {most_bytes} bytes")
                name = member.filename.removesuffix(".npy")
                if name in arrays:
                    raise DamagedError(f"it holds `{name[:80]}` twice")
                arrays[name] = _member(name, content)
    except DamagedError:
        raise
    except Exception as error:  # zipfile, zlib, struct: each has its own, and none says what else may come
        said = str(error)[:200] or type(error).__name__
        raise DamagedError(f"it cannot be read as .npz: {said}") from error
    if not arrays:
        raise DamagedError("it holds no arrays")
    return arrays


def _member(name: str, content: bytes) -> np.ndarray:
    try:
        return npy(content)
    except DamagedError as error:
        raise DamagedError(f"`{name[:80]}`: {error}") from error


@lru_cache(maxsize=64)  # those who ask often ask alike
def _header(text: bytes) -> tuple[np.dtype[Any], bool, tuple[int, ...]]:
    """Return type, order and shape as a .npy header says them."""
    header = text.decode("latin-1")
    descr, order, shape = _DESCR.search(header), _ORDER.search(header), _SHAPE.search(header)
    if not (_HEADER.match(header) and descr and order and shape):
        raise DamagedError("its .npy header cannot be read, or says something else than numbers")
    if not _NUMBER.match(descr[1]):
        raise DamagedError(f"it holds {descr[1]}, not numbers; objects are never unpickled")
    try:
        kind = np.dtype(descr[1])
    except TypeError as error:
        raise DamagedError(f"it holds numbers of type {descr[1]}") from error
    parts = [part.strip() for part in shape[1].split(",") if part.strip()]
    impossible = any(not part.isdecimal() or len(part) > _MOST_DIGITS for part in parts)
    if impossible or len(parts) > _MOST_DIMENSIONS:
        raise DamagedError("its .npy header says an impossible shape")
    return kind, order[1] == "True", tuple(int(part) for part in parts)
