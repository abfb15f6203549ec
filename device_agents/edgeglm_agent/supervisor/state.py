"""What the supervisor remembers past a power cut, but for the outbox: one small JSON file, renamed into place."""

from __future__ import annotations

import contextlib
import os
import time
from typing import TYPE_CHECKING, Annotated

import msgspec
from msgspec import Meta

if TYPE_CHECKING:
    from pathlib import Path


class SlotMemory(msgspec.Struct):
    """What is known of one slot."""

    load: int = 0  # how many times a model was loaded in it
    failures: int = 0  # in a row
    quarantined: str = ""  # why; empty: it is not
    manifest_sha256: str = ""  # of the model that this is about: another one is given a new chance


class Memory(msgspec.Struct):
    """The file."""

    schema: int = 1
    slots: dict[str, SlotMemory] = {}
    window_s: Annotated[int, Meta(ge=1, le=86400)] | None = None  # set by a command, as what follows
    sample_share: Annotated[float, Meta(ge=0, le=1)] | None = None


class StateFile:
    """The file, and what is in it."""

    def __init__(self, path: Path) -> None:
        """Read it; a damaged one is kept aside, and remembered as ``damaged``."""
        self._path = path
        self.damaged: Path | None = None
        self.unwritten = ""  # why the last write failed; empty: it did not
        self.memory = Memory()
        try:
            data = path.read_bytes()
        except FileNotFoundError:
            return
        except OSError as error:
            self.unwritten = str(error)
            return
        try:
            memory = msgspec.json.decode(data, type=Memory)
            if memory.schema != 1:
                raise ValueError(f"schema {memory.schema}")
            self.memory = memory
        except (msgspec.MsgspecError, ValueError):
            self.damaged = path.with_name(f"{path.stem}.corrupt-{time.time_ns()}{path.suffix}")
            with contextlib.suppress(OSError):
                path.replace(self.damaged)

    def slot(self, name: str) -> SlotMemory:
        """Return what is known of a slot."""
        return self.memory.slots.setdefault(name, SlotMemory())

    def save(self) -> None:
        """Write it, whole or not at all; a full disk is no reason to stop serving."""
        new = self._path.with_name(f".{self._path.name}.new")
        try:
            with new.open("wb") as file:
                file.write(msgspec.json.encode(self.memory))
                file.flush()
                os.fsync(file.fileno())
            new.replace(self._path)
            folder = os.open(self._path.parent, os.O_RDONLY)
            try:
                os.fsync(folder)
            finally:
                os.close(folder)
        except OSError as error:
            self.unwritten = f"{error.strerror}: {self._path}"
        else:
            self.unwritten = ""
