"""The way of samples from the server's thread to the inference thread, and of answers back."""

from __future__ import annotations

import contextlib
import functools
import math
import queue
import time
from collections import deque
from typing import TYPE_CHECKING, Any

from edgeglm_agent.inputs._base import Arrival

if TYPE_CHECKING:
    import asyncio

_RECENT = 0.1  # weight of the newest in the mean time of a sample
_LONGEST_RETRY_S = 60


class Asked:
    """One request's samples on their way; all but ``over`` is the server's thread's."""

    __slots__ = ("answers", "done", "failed", "left", "over")

    def __init__(self, count: int, done: asyncio.Future[Exception | None]) -> None:
        self.answers: list[Any] = [None] * count
        self.left = count
        self.failed = 0  # the sample that got no answer
        self.over = False  # nobody waits any more: what the model has not seen yet need not be run
        self.done = done

    def take(self, row: int, answer: Any, error: Exception | None) -> None:
        """Take the answer to one sample."""
        self.left -= 1
        self.answers[row] = answer
        if error is not None:
            self.end(row, error)
        elif not self.left and not self.done.done():
            self.done.set_result(None)

    def end(self, row: int, error: Exception) -> None:
        """Wait no longer."""
        self.over = True
        if not self.done.done():
            self.failed = row
            self.done.set_result(error)


class Handover:
    """A queue of bounded length, and what comes back.

    Attributes:
        skipped: Samples that nobody waited for any more when their turn came.
    """

    def __init__(self, *, max_waiting: int, max_batch: int, max_wait_s: float) -> None:
        self._max_waiting = max_waiting
        self._max_batch = max_batch
        self._max_wait_s = max_wait_s
        self._queue: queue.SimpleQueue[tuple[Arrival, Asked] | None] = queue.SimpleQueue()
        self._held_back: Arrival | None = None  # the next one: its shape did not fit into a batch
        self._answers: deque[tuple[Asked, int, Any, Exception | None]] = deque()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._waking = False  # the server's thread has been told, and has not looked yet
        self._each_s = 0.0  # that a sample takes, of late
        self._handed_out = (0.0, 0)  # when, and how many
        self.skipped = 0

    # the inference thread's side

    def read(self, timeout_s: float) -> list[Arrival]:
        """Return the next sample, or a batch; nothing where none came, or ``wake`` was called."""
        handed_out, count = self._handed_out
        taken = self._next(0.0) if count else None
        if count and taken is not None:  # the model had no rest: so this long takes a sample
            self._each_s += _RECENT * ((time.monotonic() - handed_out) / count - self._each_s)
        if taken is None:
            taken = self._next(timeout_s)
        if taken is None:
            self._handed_out = (0.0, 0)
            return []
        arrivals = [taken]
        if self._max_batch > 1:
            self._fill(arrivals)
        self._handed_out = (time.monotonic(), len(arrivals))
        return arrivals

    @property
    def empty(self) -> bool:
        """Whether no sample waits."""
        return self._held_back is None and self._queue.empty()

    def _next(self, timeout_s: float) -> Arrival | None:
        if self._held_back is not None:
            held_back, self._held_back = self._held_back, None
            return held_back
        while True:
            try:
                item = self._queue.get(timeout_s > 0, timeout_s) if timeout_s > 0 else self._queue.get_nowait()
            except queue.Empty:
                return None
            if item is None:
                return None
            if not item[1].over:
                return item[0]
            self.skipped += 1

    def _fill(self, arrivals: list[Arrival]) -> None:
        """Add what is there, and what comes until the first has waited its time; of one shape, to fit together."""
        shape = _shape(arrivals[0].sample)
        until = arrivals[0].at_ns / 1e9 + self._max_wait_s
        while len(arrivals) < self._max_batch:
            left = until - time.monotonic() if self._max_wait_s and self._queue.empty() else 0.0
            more = self._next(max(0.0, left))
            if more is None:
                return
            if _shape(more.sample) != shape:
                self._held_back = more
                return
            arrivals.append(more)

    def _hand_back(self, asked: Asked, row: int, answer: Any, error: Exception | None) -> None:
        """Take an answer; of a batch, the server's thread is woken once."""
        self._answers.append((asked, row, answer, error))
        if not self._waking and self._loop is not None:
            self._waking = True
            with contextlib.suppress(RuntimeError):  # the server was closed, and nobody waits
                self._loop.call_soon_threadsafe(self.deliver)

    # the server's side

    def begin(self, loop: asyncio.AbstractEventLoop) -> None:
        """Let answers come back to this loop."""
        self._loop = loop

    @property
    def waiting(self) -> int:
        """How many samples wait for the model."""
        return self._queue.qsize()

    def has_room(self, count: int) -> bool:
        """Tell whether so many more may wait."""
        return self._queue.qsize() + count <= self._max_waiting

    def retry_after_s(self) -> int:
        """Return how long what waits will take, from 1 s to a minute."""
        return min(_LONGEST_RETRY_S, max(1, math.ceil(self._queue.qsize() * self._each_s)))

    def put(self, asked: Asked, samples: list[Any], trace_id: str, *, several: bool) -> None:
        """Let samples wait for the model."""
        now = time.monotonic_ns()
        for row, sample in enumerate(samples):
            answered = functools.partial(self._hand_back, asked, row)
            name = str(row) if several else ""
            self._queue.put((Arrival(sample=sample, trace_id=trace_id, name=name, at_ns=now, answered=answered), asked))

    def deliver(self) -> None:
        """Hand answers to those who wait."""
        self._waking = False  # first: what is handed back from now on wakes again
        while self._answers:
            asked, row, answer, error = self._answers.popleft()
            asked.take(row, answer, error)

    def wake(self) -> None:
        """Let ``read`` return."""
        self._queue.put(None)


def _shape(sample: Any) -> Any:
    """Return what samples must have in common to be one batch."""
    if isinstance(sample, dict):
        return {name: _shape(values) for name, values in sample.items()}
    return getattr(sample, "shape", None)
