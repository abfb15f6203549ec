"""A watched folder: which files are next, and what becomes of each."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import stat
import time
from collections import deque
from typing import TYPE_CHECKING, Any

from edgeglm_agent.inputs import decode
from edgeglm_agent.inputs._base import Arrival, EndOfInput, InputContext, InputError, InputLostError
from edgeglm_agent.inputs.answered_files import Answered, Identity, InHand
from edgeglm_agent.inputs.file_samples import ARRAYS, IMAGES, TEXTS, decoded, divided, ending
from edgeglm_agent.inputs.put_away import PutAway, identity_of
from edgeglm_agent.inputs.watch import Watch

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from edgeglm_agent.inputs.directory import DirectoryInput

_SETTLED_S = 2.0  # a file that was found by looking, not by an event, is whole when it has not changed for so long
_LOOK_S = 2.0  # between looks where the kernel cannot tell
_MOST_TRIES = 3  # workers that may end with the same file in hand
_OPEN = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC


class Folder:
    """Files of one folder as samples, in the order in which they came."""

    def __init__(self, config: DirectoryInput, folder: Path, context: InputContext) -> None:
        """Watch, then look at what is there already. Raises: InputError, InputLostError."""
        self._config = config
        self._path = folder
        self._context = context
        self._mode: Any = context.image_mode if config.mode == "auto" else config.mode
        self._suffixes = TEXTS if context.takes_texts else IMAGES | ARRAYS
        self._stopped = False
        self._pending: deque[tuple[str, int]] = deque()  # name, when it came
        self._waiting: set[str] = set()  # the names in it
        self._unsettled: dict[str, tuple[int, int, float]] = {}  # name -> size, mtime_ns, when it was looked at
        self._rest: Iterator[Arrival] = iter(())  # of a file with several samples
        self._current: Identity | None = None
        self._failure = ""
        self._settle: bool = False  # the file in hand was answered; its result is written by the next ``read``
        try:
            self._fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        except OSError as error:
            raise InputLostError(f"{folder} cannot be opened: {error.strerror}") from error
        try:
            self._away = PutAway(config, self._fd)
            self._answered = Answered(context.state_dir / "answered-files")
            self._hand = InHand(context.state_dir / "file-in-hand")
        except OSError as error:
            os.close(self._fd)
            name = error.filename or "a folder"
            hint = "let the agent's user write there; under systemd with ReadWritePaths= (docs/agent/install.md)"
            raise InputError(f"{folder}: {name} cannot be used: {error.strerror}", key="path", hint=hint) from error
        self._watch: Watch | None = None
        with contextlib.suppress(OSError):  # too many watches, or a file system without them: it is looked at instead
            self._watch = Watch(folder)
        self._next_look = 0.0

    def read(self, timeout_s: float) -> list[Arrival]:
        """Return the next sample. Raises: InputLostError, EndOfInput."""
        end = time.monotonic() + timeout_s
        while True:
            arrival = self._next()
            if arrival is not None:
                return [arrival]
            if self._stopped:
                raise EndOfInput("told to stop")
            now = time.monotonic()
            if now >= self._next_look:
                self._look()
                continue
            if now >= end:
                return []
            self._wait(min(end, self._next_look) - now)

    def stop(self) -> None:
        """Begin no further file; one with several samples is left where it is, and goes on with the next worker."""
        self._stopped = True
        if self._watch is not None:
            self._watch.wake()

    def close(self) -> None:
        """Finish what was answered, and let go."""
        self._finish_answered()
        if self._watch is not None:
            self._watch.close()
        self._answered.close()
        self._hand.close()
        self._away.close()
        os.close(self._fd)

    def _next(self) -> Arrival | None:
        self._finish_answered()
        if self._stopped:
            return None
        arrival = next(self._rest, None)
        while arrival is None and self._pending:
            name, at_ns = self._pending.popleft()
            self._waiting.discard(name)
            arrival = self._begun(name, at_ns)
        return arrival

    # which files

    def _wait(self, timeout_s: float) -> None:
        if self._watch is None:
            time.sleep(min(timeout_s, 0.2))
            return
        try:
            names, missed = self._watch.wait(timeout_s)
        except FileNotFoundError as error:
            raise InputLostError(f"{self._path} has gone") from error
        if not names and not os.fstat(self._fd).st_nlink:  # the kernel tells it once nobody has the folder open
            raise InputLostError(f"{self._path} has gone")
        at_ns = time.monotonic_ns()
        for name in names:
            self._unsettled.pop(name, None)
            if self._is_wanted(name):
                self._add(name, at_ns)
        if missed:
            self._next_look = 0.0

    def _look(self) -> None:
        """Look at the whole folder: at what was there before, and what the kernel did not tell."""
        now, wall_ns, at_ns = time.monotonic(), time.time_ns(), time.monotonic_ns()
        found: list[tuple[int, str]] = []
        there: set[str] = set()
        unsettled: dict[str, tuple[int, int, float]] = {}
        try:
            with os.scandir(self._fd) as entries:
                for entry in entries:
                    there.add(entry.name)
                    if not self._is_wanted(entry.name) or entry.name in self._waiting:
                        continue
                    about = self._about(entry)
                    if about is None:
                        continue
                    if self._config.after == "keep" and identity_of(entry.name, about) in self._answered:
                        continue
                    size, mtime, since = self._unsettled.get(entry.name, (-1, -1, now))
                    if (about.st_size, about.st_mtime_ns) != (size, mtime):
                        since = now
                    old = wall_ns - about.st_mtime_ns > _SETTLED_S * 1e9  # the clock may be wrong: then it waits
                    if old or now - since >= _SETTLED_S:
                        found.append((about.st_mtime_ns, entry.name))
                    else:
                        unsettled[entry.name] = (about.st_size, about.st_mtime_ns, since)
        except OSError as error:
            raise InputLostError(f"{self._path} cannot be read: {error.strerror}") from error
        if self._current is not None:
            there.add(self._current.name)
        self._answered.keep(there)
        self._unsettled = unsettled
        for _, name in sorted(found):
            self._add(name, at_ns)
        period = _LOOK_S if unsettled or self._watch is None else self._config.rescan_s
        self._next_look = now + min(period, self._config.rescan_s)

    def _add(self, name: str, at_ns: int) -> None:
        if name not in self._waiting:
            self._waiting.add(name)
            self._pending.append((name, at_ns))

    def _is_wanted(self, name: str) -> bool:
        return not name.startswith(".") and ending(name) in self._suffixes

    def _about(self, entry: os.DirEntry[str]) -> os.stat_result | None:
        try:
            return None if entry.is_dir(follow_symlinks=False) else entry.stat(follow_symlinks=False)
        except OSError:
            return None  # it has gone

    # one file

    def _begun(self, name: str, at_ns: int) -> Arrival | None:
        """Read a file; None: it has gone, is no file, is not whole, or was answered before."""
        try:
            file = os.open(name, _OPEN, dir_fd=self._fd)
        except FileNotFoundError:
            return None
        except OSError as error:
            reason = "it is a link, and those are not followed" if error.errno == errno.ELOOP else str(error.strerror)
            try:
                about = os.stat(name, dir_fd=self._fd, follow_symlinks=False)
            except FileNotFoundError:  # meanwhile
                return None
            return self._one(identity_of(name, about), at_ns, None, reason)
        try:
            about = os.fstat(file)
            identity = identity_of(name, about)
            if not stat.S_ISREG(about.st_mode):
                return None
            if identity in self._answered:
                self._put_away(identity, self._answered.failure(identity))  # it could not be done before
                return None
            if about.st_size > self._config.most_mb * 1e6:
                told = f"it has {about.st_size / 1e6:.1f} MB; at most {self._config.most_mb:g} are read (`most_mb`)"
                return self._one(identity, at_ns, None, told)
            times, rows = self._hand.begin(identity)
            if times > _MOST_TRIES:
                return self._one(identity, at_ns, None, f"{_MOST_TRIES} workers have ended while they had it in hand")
            with open(file, "rb", closefd=False) as reader:
                data = reader.read(about.st_size + 1)
            if identity_of(name, os.fstat(file)) != identity or len(data) != about.st_size:
                self._later(name)
                return None
        except OSError as error:
            return self._one(identity, at_ns, None, f"it cannot be read: {error.strerror}")
        finally:
            os.close(file)
        try:
            sample = decoded(
                name,
                data,
                mode=self._mode,
                delimiter=self._config.delimiter,
                input_names=self._context.input_names,
                most_mb=self._config.most_mb,
            )
            samples = divided(sample) if self._config.split else None
        except decode.DamagedError as error:
            if 0 <= time.time_ns() - identity.mtime_ns < _SETTLED_S * 1e9:
                self._later(name)  # someone may be writing it anew
                return None
            return self._one(identity, at_ns, None, str(error))
        if samples is None or len(samples) < 2:
            return self._one(identity, at_ns, sample if samples is None else samples[0], "")
        self._current = identity
        self._rest = self._rows(identity, at_ns, samples, rows)
        return next(self._rest)

    def _later(self, name: str) -> None:
        """Look at a file again once it has not changed for a while."""
        self._hand.end()
        self._unsettled[name] = (-1, -1, time.monotonic())
        self._next_look = min(self._next_look, time.monotonic() + _SETTLED_S)

    def _one(self, identity: Identity, at_ns: int, sample: Any, fault: str) -> Arrival:
        self._current = identity

        def answered(answer: Any, error: Exception | None) -> None:
            del answer
            self._settle, self._failure = True, "" if error is None else str(error) or type(error).__name__

        return Arrival(
            sample=sample,
            trace_id=_trace_id(identity, 0),
            name=identity.name,
            at_ns=at_ns,
            answered=answered,
            fault=fault,
        )

    def _rows(self, identity: Identity, at_ns: int, samples: list[Any], start: int) -> Iterator[Arrival]:
        """Yield the samples of one file, from the first that was not answered; the last one answers the file."""
        failed: list[str] = []
        for row in range(min(start, len(samples) - 1), len(samples)):

            def answered(answer: Any, error: Exception | None, row: int = row) -> None:
                del answer
                if error is not None:
                    failed.append(f"sample {row + 1}: {error}")
                self._hand.answered(row + 1)
                if row + 1 == len(samples):
                    self._settle, self._failure = True, "\n".join(failed[:100])

            yield Arrival(
                sample=samples[row],
                trace_id=_trace_id(identity, row),
                name=f"{identity.name}:{row + 1}",
                at_ns=at_ns,
                answered=answered,
            )

    # what becomes of it

    def _put_away(self, identity: Identity, failure: str) -> None:
        if self._away.put_away(identity, failure):  # else it stays in the list of those that were answered
            self._answered.forget(identity)

    def _finish_answered(self) -> None:
        """Put away the file that was answered; by now its result is written."""
        if not self._settle or self._current is None:
            return
        identity, failure = self._current, self._failure
        self._settle, self._current, self._failure = False, None, ""
        self._answered.add(identity, failure)
        self._hand.end()
        self._put_away(identity, failure)


def _trace_id(identity: Identity, row: int) -> str:
    """Return the same id for the same sample, so that one that a power cut made answer twice is known."""
    return hashlib.blake2b(repr((identity, row)).encode("utf-8", "surrogateescape"), digest_size=8).hexdigest()
