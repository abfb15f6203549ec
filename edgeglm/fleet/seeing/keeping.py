"""Signals and pieces of inputs as files, for other programs to open."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING

from edgeglm.errors import UserError
from edgeglm.files import storage_errors, write_bytes

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from edgeglm.fleet.seeing.signals import Signal
    from edgeglm.fleet.seeing.twin import Twin

_SUFFIXES = {"jpeg": "jpg", "png": "png", "npy": "npy", "other": "bin"}


def keep(twin: Twin, folder: Path) -> list[Path]:
    """Write every signal (npy) and every piece of an input; return the files. Their names hold no board's words.

    Raises:
        UserError: The folder is a file.
        StorageError: It cannot be written.
    """
    if folder.exists() and not folder.is_dir():
        raise UserError("is no folder", where=str(folder), hint="name another: -o FOLDER", code="twin-folder")
    files = dict(_files(twin))
    with storage_errors(folder):
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    for name, data in files.items():
        write_bytes(folder / name, data, mode=0o600)  # what a board saw may be somebody's face
    return [folder / name for name in files]


def _files(twin: Twin) -> Iterator[tuple[str, bytes]]:
    for event in twin.events:
        if event.signal is not None and not event.signal.trouble:
            yield f"{event.at_ms}-{event.sequence}-signal.npy", _npy(event.signal)
    for saw in twin.results:
        if saw.piece:
            yield f"{saw.at_ms}-{saw.sequence}-input.{_SUFFIXES[saw.piece]}", saw.data


def _npy(signal: Signal) -> bytes:
    import numpy as np

    kind = np.dtype(signal.dtype).newbyteorder("<")
    file = io.BytesIO()
    np.save(file, np.frombuffer(signal.data, kind).reshape(signal.shape), allow_pickle=False)
    return file.getvalue()
