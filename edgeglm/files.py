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

from edgeglm.errors import BusyError, EdgeglmError, StorageError, UserError
from edgeglm.leftovers import is_temporary, removed_after, temporary_folder

if TYPE_CHECKING:
    from collections.abc import Iterator


FULL = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})
_BROKEN = frozenset({errno.EROFS, errno.EIO})
# about processes and pipes, or a lock that is held: never about a disk
_NOT_OF_FILES = (ConnectionError, ChildProcessError, ProcessLookupError, BlockingIOError, InterruptedError)


def tidied(path: Path) -> Path:
    """Return a path without ``..`` in it, where that leads to the same place: behind a link it may not."""
    plain = Path(os.path.normpath(path))
    return plain if os.path.realpath(plain) == os.path.realpath(path) else path


@contextmanager
def storage_errors(path: Path) -> Iterator[None]:
    """Turn what keeps `path`, or a file beside or below it, from being written into a StorageError.

    An error that names a file elsewhere (one that is read meanwhile, say) passes through, unless the disk is at fault.

    Raises:
        StorageError: The disk is full, read-only or broken, or the folder cannot be made or written.
    """
    try:
        yield
    except OSError as error:
        if error.errno is None or not (error.errno in FULL | _BROKEN or _hinders(error, path)):
            raise
        raise _storage_error(error, path) from error


def as_system_error(error: OSError) -> EdgeglmError | None:
    """Return an OSError that nothing nearer explained, as an error for users; None when it must be a bug.

    A disk that is full or broken is a StorageError; a named file that cannot be opened is a UserError, for what is
    written is written within :func:`storage_errors`. What names no file may be about a folder that is gone.
    """
    if error.errno in FULL | _BROKEN:
        return _storage_error(error, None)
    if error.errno == errno.ENOENT and error.filename is None:
        return _without_a_folder()
    if error.filename is None or isinstance(error, _NOT_OF_FILES):
        return None
    return UserError(
        f"cannot read: {error.strerror}",
        where=os.fsdecode(error.filename) if isinstance(error.filename, bytes) else str(error.filename),
        hint="check the path, and that you may read what is there",
        code="file-unreadable",
    )


def _without_a_folder() -> EdgeglmError | None:
    """Return the error for a working folder that is gone, or for no folder that takes temporary files; else None."""
    try:
        Path.cwd()
    except OSError:
        return UserError(
            "the folder that this was started in is gone",
            hint="change into one that is there: `cd`",
            code="file-missing",
        )
    try:
        tempfile.gettempdir()
    except OSError:
        return StorageError(
            "no folder takes temporary files",
            hint="set TMPDIR to a folder that you may write to",
            code="disk-refuses",
        )
    return None


def _hinders(error: OSError, path: Path) -> bool:
    """Tell whether an error is about writing `path`: it names no file, or one on the way to it or beside or below."""
    if isinstance(error, _NOT_OF_FILES):
        return False
    folder = path.absolute().parent
    names = [name for name in (error.filename, error.filename2) if isinstance(name, str | bytes | os.PathLike)]
    named = [Path(os.fsdecode(name)).absolute() for name in names]
    return not named or any(folder.is_relative_to(name) or name.is_relative_to(folder) for name in named)


def _storage_error(error: OSError, path: Path | None) -> StorageError:
    full = error.errno in FULL
    if full and is_temporary(error.filename):
        return temporary_folder_is_full()
    named = str(path or error.filename or "")  # without a name it is what stdout leads to
    return StorageError(
        f"cannot {'write' if path or full else 'use the disk'}: {error.strerror}",
        where=named,
        hint="make room on this disk" + (", or choose another folder with -o or EDGEGLM_CACHE" if named else "")
        if full
        else "choose a folder that you may write to, on a disk that is sound",
        code="disk-full" if full else "disk-refuses",
    )


def temporary_folder_is_full() -> StorageError:
    """Return the error for temporary files that found no room."""
    return StorageError(
        "cannot write: no room is left for temporary files",
        where=str(temporary_folder()),
        hint="make room there, or set TMPDIR to a folder on a larger disk",
        code="disk-full",
    )


def check_replaceable(path: Path) -> None:
    """Refuse what is no file: a rename would put one in the place of a device, for every program of this machine.

    Raises:
        UserError: It is a device or a pipe, or lies among them: /dev/stdout may lead to a file, and is none.
    """
    if not os.path.lexists(path):
        return
    folder = Path(os.path.realpath(path.parent))
    # Path's own would raise where they may not look
    is_other = os.path.exists(path) and not (os.path.isfile(path) or os.path.isdir(path))  # noqa: PTH110, PTH112, PTH113
    if is_other or folder == Path("/dev") or (folder.is_relative_to("/proc") and folder.name == "fd"):
        raise UserError(
            "this is a device or a pipe, not a file that can be replaced",
            where=str(path),
            hint="name a file",
            code="not-a-file",
        )


@contextmanager
def replacing(path: Path, *, synced: bool = True, mode: int = 0o644) -> Iterator[Path]:
    """Yield a temporary path beside ``path``; on success it is synced and renamed into place.

    Args:
        path: The file.
        synced: Whether it has to outlast a power cut, too. Without, a kill leaves it whole all the same, and a reader
            has to be able to do without it.
        mode: Who may read it; a secret (0o600) is nobody else's at any moment.

    Raises:
        StorageError: The disk is full or refuses; ``path`` is then as it was before.
        UserError: ``path`` is a device or a pipe.
    """
    check_replaceable(path)
    with storage_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(prefix=f".{path.name}.", suffix=path.suffix, dir=path.parent)
        os.close(handle)
        with removed_after(Path(name)) as temporary:
            yield temporary
            if synced:
                with temporary.open("rb") as file:
                    os.fsync(file.fileno())
            temporary.chmod(mode)
            temporary.replace(path)
            if synced:
                sync_folder(path.parent)


def write_bytes(path: Path, data: bytes, *, synced: bool = True, mode: int = 0o644) -> None:
    """Write a file whole or not at all (``synced``, ``mode``: see ``replacing``). Raises: StorageError."""
    with replacing(path, synced=synced, mode=mode) as temporary:
        temporary.write_bytes(data)


def write_changed(path: Path, data: bytes, *, mode: int = 0o644) -> None:
    """Write a file as ``write_bytes`` does, unless it holds just that: a full disk then keeps nobody from starting."""
    with suppress(OSError):
        if path.read_bytes() == data and path.stat().st_mode & 0o777 == mode:
            return
    write_bytes(path, data, mode=mode)


def private_folder(folder: Path) -> None:
    """Make a folder that its owner alone may enter, and that no repository takes in. One that is there stays as it is.

    Raises:
        StorageError: It cannot be made.
    """
    with storage_errors(folder / ".gitignore"):
        if folder.is_dir():
            return
        folder.parent.mkdir(parents=True, exist_ok=True)
        folder.mkdir(mode=0o700, exist_ok=True)
        write_bytes(folder / ".gitignore", b"*\n", synced=False)


def copy_file(source: Path, path: Path) -> None:
    """Copy a file whole or not at all. Raises: StorageError, and OSError when the source cannot be opened."""
    with source.open("rb") as reader, replacing(path) as temporary, temporary.open("wb") as writer:
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
            with storage_errors(path):
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
