"""Artifacts that took the process down while they were loaded: they are tried after all others."""

from __future__ import annotations

import threading
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

import msgspec

from edgeglm_agent.board.clock import boot_id

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

LIMIT = 2  # deaths of one artifact: a single one may have been anything
_FILE = "loading.json"


class _Noted(msgspec.Struct):
    boot: str
    manifest: str  # sha256
    loading: str = ""  # what is being loaded now; still there at the next start: the process died of it
    died: dict[str, int] = {}  # what was being loaded -> how many times


class Deaths:
    """What is remembered of the starts before this one: of this boot (a power cut proves nothing) and this manifest."""

    def __init__(self, state_dir: Path, manifest_sha256: str) -> None:
        """Read what is noted; what cannot be read is forgotten."""
        self._file = state_dir / _FILE
        self._noted = _Noted(boot_id(), manifest_sha256)
        with suppress(OSError, msgspec.MsgspecError, RecursionError):
            noted = msgspec.json.decode(self._file.read_bytes(), type=_Noted)
            if (noted.boot, noted.manifest) == (self._noted.boot, manifest_sha256):
                self._noted = noted
        if self._noted.loading:
            self._noted.died[self._noted.loading] = self.of(self._noted.loading) + 1
            self._noted.loading = ""

    def of(self, name: str) -> int:
        """Return how many times the process died while this was loaded."""
        return self._noted.died.get(name, 0)

    @contextmanager
    def watching(self, name: str) -> Iterator[None]:
        """Note what is loaded, until that is over one way or the other."""
        self._noted.loading = name
        self._write()
        try:
            yield
        finally:
            self._noted.loading = ""
            self._write()

    def _write(self) -> None:
        _write(self._file, self._noted)


def spare(state_dir: Path) -> None:
    """Forget what is being loaded now: the process is ended from outside, and did not die of it."""
    with suppress(OSError, msgspec.MsgspecError, RecursionError):
        noted = msgspec.json.decode((state_dir / _FILE).read_bytes(), type=_Noted)
        noted.loading = ""
        _write(state_dir / _FILE, noted)


def _write(file: Path, noted: _Noted) -> None:
    """Write what is noted; a disk that refuses costs the memory of it."""
    with suppress(OSError):
        file.parent.mkdir(parents=True, exist_ok=True)
        draft = file.with_suffix(f".draft-{threading.get_native_id()}")
        draft.write_bytes(msgspec.json.encode(noted))
        draft.replace(file)
