"""Child processes for models: started when asked for, or kept ready beside work that goes on.

Starting a process and importing a runtime takes longer than most models take to load. A run needs a dozen of them, one
after the other; with ``spare_children`` the next one starts while its parent is at work, and waits for a file. A
process still gets one model and no other.
"""

from __future__ import annotations

import contextlib
import errno
import os
import subprocess
import sys
import tempfile
from contextvars import ContextVar
from dataclasses import dataclass
from typing import TYPE_CHECKING, BinaryIO, cast

import msgspec
from edgeglm_agent.offline import go_offline

from edgeglm.errors import WorkerError
from edgeglm.measure import frames

if TYPE_CHECKING:
    from collections.abc import Iterator

_EXIT_WAIT_S = 10.0  # after its stdin has closed, before it is killed
_NO_MORE = (errno.EAGAIN, errno.ENOMEM)  # of processes, or of memory for one
_MOST = 2  # spares at a time: each holds numpy and a runtime, some 50 MB


@dataclass
class Child:
    """One process, whose runtime is imported before it reads the first request: which file to load."""

    process: subprocess.Popen[bytes]
    requests: BinaryIO
    replies: BinaryIO
    stderr: BinaryIO
    is_idle: bool = False  # it has said that its runtime is imported

    def await_idle(self) -> None:
        """Wait until the runtime is imported, or the child is dead: what then reads from it finds out."""
        if not self.is_idle:
            with contextlib.suppress(EOFError, msgspec.DecodeError):
                frames.reply_decoder.decode(frames.read_message(self.replies))
            self.is_idle = True

    def close(self, *, kill: bool = False) -> None:
        """End the process and wait for it; with ``kill`` at once, otherwise when it has read to the end."""
        if kill:
            self.process.kill()
        for stream in (self.requests, self.replies):
            with contextlib.suppress(BrokenPipeError):  # it died with something unread
                stream.close()
        try:
            self.process.wait(_EXIT_WAIT_S)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self.stderr.close()


class _Spares:
    """At most ``_MOST`` children that wait, one for each format and number of threads."""

    def __init__(self) -> None:
        self._waiting: dict[tuple[str, int], Child] = {}

    def add(self, format: str, threads: int) -> None:  # noqa: A002 - the manifest's word
        """Start one, unless one waits already; the one that was started first makes room."""
        if (format, threads) not in self._waiting:
            while len(self._waiting) >= _MOST:
                self._waiting.pop(next(iter(self._waiting))).close(kill=True)
            self._waiting[format, threads] = _start(format, threads)

    def take(self, format: str, threads: int) -> Child | None:  # noqa: A002
        """Return one that waits; None: there is none, or it died."""
        child = self._waiting.pop((format, threads), None)
        if child is not None and child.process.poll() is not None:
            child.close()
            child = None
        return child

    def await_idle(self) -> None:
        for child in self._waiting.values():
            child.await_idle()

    def close(self) -> None:
        while self._waiting:
            self._waiting.popitem()[1].close(kill=True)


# the thread's own: a child dies with the thread that started it
_spares: ContextVar[_Spares | None] = ContextVar("spares", default=None)


@contextlib.contextmanager
def spare_children(*first: tuple[str, int]) -> Iterator[None]:
    """Keep a child ready inside, of each of the formats and numbers of threads that were last asked for.

    Args:
        first: Formats and numbers of threads of those that are started at once.
    """
    spares = _Spares()
    token = _spares.set(spares)
    try:
        for kind in first:
            spares.add(*kind)
        yield
    finally:
        _spares.reset(token)
        spares.close()


def await_spares() -> None:
    """Wait until no spare is being started: beside a timing, nothing else may use the processor."""
    if (spares := _spares.get()) is not None:
        spares.await_idle()


def take_child(format: str, threads: int) -> Child:  # noqa: A002
    """Return a child that has no model yet, and have another one started where spares are kept.

    Args:
        format: Of the file that it will load.
        threads: Of the runtime, at least 1.
    """
    spares = _spares.get()
    if spares is None:
        return _start(format, threads)
    child = spares.take(format, threads) or _start(format, threads)
    spares.add(format, threads)
    return child


def _start(format: str, threads: int) -> Child:  # noqa: A002
    stderr = tempfile.TemporaryFile()  # noqa: SIM115 - closed by close(); a pipe could fill up
    try:
        process = subprocess.Popen(
            [sys.executable, "-P", "-m", "edgeglm.measure.child", format, str(threads), str(os.getpid())],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=stderr,
            env=_environment(threads),
            start_new_session=True,  # Ctrl-C in the terminal is the parent's to handle
        )
    except OSError as error:
        stderr.close()
        if error.errno not in _NO_MORE:
            raise
        raise WorkerError(
            f"a process that measures a model cannot be started: {error.strerror}",
            hint="end other programs: the machine has no memory for one more process, or allows none (`ulimit -u`)",
            code="worker-died",
        ) from error
    return Child(process, cast("BinaryIO", process.stdin), cast("BinaryIO", process.stdout), cast("BinaryIO", stderr))


def _environment(threads: int) -> dict[str, str]:
    """Return the child's environment: no library makes more threads than the runtime was given."""
    count = str(threads)
    pools = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
    environment = {**os.environ, **dict.fromkeys(pools, count), "TMPDIR": tempfile.gettempdir()}
    go_offline(environment)
    return environment
