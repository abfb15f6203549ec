"""SHA-256, without OpenSSL where there is little to hash: its library alone is 4 MB in memory."""

from __future__ import annotations

import sys
from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pathlib import Path

_SMALL = 4_000_000  # bytes: 30 ms on a desktop; above, OpenSSL is worth its memory: it is four times as fast
_BLOCK = 1 << 20


def sha256(data: bytes) -> str:
    """Return the digest of bytes in hex."""
    hashed = _new(len(data))
    hashed.update(data)
    return str(hashed.hexdigest())


def sha256_file(path: Path) -> str:
    """Return the digest of a file in hex. Raises: OSError."""
    with path.open("rb") as file:
        hashed = _new(path.stat().st_size)
        while block := file.read(_BLOCK):
            hashed.update(block)
    return str(hashed.hexdigest())


def _new(size: int) -> Any:
    if size <= _SMALL:
        try:  # as the standard library's `random` does
            return import_module("_sha2" if sys.version_info >= (3, 12) else "_sha256").sha256()
        except ImportError:  # a Python that was built without
            pass
    import hashlib

    return hashlib.sha256()
