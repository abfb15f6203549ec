"""Writing files so that a kill, or a full disk, leaves the old one or the new one, never a piece."""

from __future__ import annotations

import errno
import fcntl
import hashlib
import os
import tempfile
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

from edgeglm.errors import BusyError, StorageError

if TYPE_CHECKING:
    from collections.abc import Iterator


@contextmanager
def storage_errors(path: Path) -> Iterator[None]:
    """Turn what the disk refuses into a StorageError that names the path.

    Raises:
        StorageError: The disk is full, read-only or broken, or the folder may not be written.
    """
    try:
        yield
    except OSError as error:
        storage = as_storage_error(error, path)
        if storage is None:
            raise
        raise storage from error


def as_storage_error(error: OSError, path: Path | None = None) -> StorageError | None:
    """Return what the disk refuses as a StorageError; None when the error is about something else."""
    full = error.errno in {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
    if not full and error.errno not in {errno.EROFS, errno.EIO, errno.EACCES, errno.EPERM, errno.ENOTDIR}:
        return None
    return StorageError(
        f"cannot write: {error.strerror}",
        where=str(path or error.filename or ""),
        hint="make room on this disk, or choose another folder with -o or EDGEGLM_CACHE"
        if full
        else "choose a folder that you may write to, on a disk that is sound",
        code="disk-full" if full else "disk-refuses",
    )


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Yield a temporary path beside ``path``; on success it is synced and renamed into place.

    Raises:
        StorageError: The disk is full or refuses; ``path`` is then as it was before.
    """
    with storage_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(prefix=f".{path.name}.", suffix=path.suffix, dir=path.parent)
        os.close(handle)
        temporary = Path(name)
        try:
            yield temporary
            with temporary.open("rb") as file:
                os.fsync(file.fileno())
            temporary.chmod(0o644)
            temporary.replace(path)
            sync_folder(path.parent)
        finally:
            temporary.unlink(missing_ok=True)


def write_bytes(path: Path, data: bytes) -> None:
    """Write a file whole or not at all. Raises: StorageError."""
    with replacing(path) as temporary:
        temporary.write_bytes(data)


def copy_file(source: Path, path: Path) -> None:
    """Copy a file whole or not at all. Raises: StorageError."""
    with replacing(path) as temporary, source.open("rb") as reader, temporary.open("wb") as writer:
        while chunk := reader.read(1 << 20):
            writer.write(chunk)


def sha256_file(path: Path) -> str:
    """Return the lower-case hex SHA-256 of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@contextmanager
def locked(path: Path, *, wait: bool, what: str) -> Iterator[None]:
    """Hold an exclusive lock on ``path`` (made when missing); it goes when the process does, however it ends.

    Raises:
        BusyError: Another process holds it and ``wait`` is false.
        StorageError: The file cannot be made.
    """
    with storage_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        file = path.open("a+b")
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX if wait else fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise BusyError(
                f"another run is writing {what}",
                where=str(path.parent),
                hint="wait until it has ended, or choose another folder with -o",
            ) from None
        yield


def sync_folder(folder: Path) -> None:
    """Make renames in a folder last through a power cut, where the file system can."""
    with suppress(OSError):  # some file systems cannot sync a folder; the rename is still atomic
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
