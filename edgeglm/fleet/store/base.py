"""What every store can do. One process writes (or several, where the store says so); any number read."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    import threading
    from collections.abc import Iterator

    from edgeglm.fleet.store.keeping import Keeping, Tended
    from edgeglm.fleet.store.types import (
        Arrivals,
        Committed,
        Device,
        DeviceSummary,
        Hours,
        IncomingReply,
        PackedWindow,
        Poison,
        Span,
        StoredEvent,
        StoredGap,
        StoredResult,
        StoredWindow,
    )


class StoreReader(Protocol):
    """What is known of the boards. Never blocks the writer; sees only what is committed.

    Every verb raises StoreError or StorageError where the store is damaged, locked, gone, or of another version by now;
    open another reader then. Not for several threads at once.
    """

    def fleets(self) -> list[str]:
        """Return the names of the fleets that any board is of, in their order."""

    def devices(self, fleet: str | None = None) -> list[DeviceSummary]:
        """Return every board, by fleet and name."""

    def device(self, device: Device) -> DeviceSummary | None:
        """Return one board; None: nothing of it ever came."""

    def windows(
        self, span: Span, device: Device | None = None, fleet: str | None = None, newest: int | None = None
    ) -> Iterator[StoredWindow]:
        """Return windows that began within the span, the oldest first: one pass, of however many boards.

        ``newest``: at most so many, the newest ones.
        """

    def packed_windows(self, device: Device, span: Span, newest: int) -> list[PackedWindow]:
        """Return the newest of a board's windows that began within the span, the oldest first."""

    def hours(self, device: Device, slot: str, span: Span, newest: int) -> Hours:
        """Return what a board's slot did within a span of whole hours, by the hour.

        ``newest``: of the windows that are in no sum as yet, at most so many of all slots, the newest ones.
        """

    def events(
        self, span: Span, device: Device | None = None, fleet: str | None = None, newest: int | None = None
    ) -> Iterator[StoredEvent]:
        """Return events within the span, the oldest first; ``newest``: at most so many, the newest ones."""

    def events_received(
        self, since_ms: int, device: Device | None = None, fleet: str | None = None
    ) -> Iterator[StoredEvent]:
        """Return events that came in at that moment or later, in the order in which they came in."""

    def results(
        self, device: Device | None, span: Span, newest: int | None = None, fleet: str | None = None
    ) -> Iterator[StoredResult]:
        """Return answers of the models within the span, the oldest first; ``newest``: at most so many, the newest."""

    def gaps(self, span: Span, device: Device | None = None) -> Iterator[StoredGap]:
        """Return what boards have told to be lost, within the span."""

    def replies(self, device: Device, span: Span) -> Iterator[IncomingReply]:
        """Return a board's answers to commands within the span, the oldest first."""

    def poison(self, newest: int) -> list[Poison]:
        """Return the newest of what could not be read."""

    def poison_count(self) -> int:
        """Return how many messages and rows could not be read, ever: more than are kept."""

    def identity(self) -> str:
        """Return what tells this store from all others, as ``StoreWriter`` has it; empty where it has none yet."""

    def close(self) -> None:
        """Let it go."""


class StoreWriter(Protocol):
    """What the collector needs."""

    def write(self, arrivals: Arrivals) -> Committed:
        """Do the first half of ``commit``, in any one thread at a time: nothing is kept yet.

        Raises:
            StoreError, StorageError: As ``commit``.
        """

    def flush(self) -> None:
        """Do the second half, likewise: when this returns, it survives a power cut.

        Raises:
            StoreError, StorageError: As ``commit``: what was written is to be written again.
        """

    def discard(self) -> None:
        """Take back what was written and not flushed."""

    def commit(self, arrivals: Arrivals) -> Committed:
        """Keep it all, or nothing: when this returns, it survives a power cut.

        Rows are known by (device, epoch, sequence): what the store has already is counted and dropped. A row whose body
        cannot be read is put aside as poison, and its number is accounted for, since sending it again mends nothing.

        Raises:
            StorageError: The disk is full, or refuses: nothing was kept, and it may be tried again.
            StoreError: The store is locked, damaged or gone: likewise.
        """

    def forget(self, device: Device) -> int:
        """Remove everything known of a board; return how many rows that were. It may come again, as a new one."""

    def identity(self) -> str:
        """Return what tells this store from all others: twelve hex digits, the same as long as it stays where it is.

        A copy in another place has another one, and what is restored into the place of the first has that one's.
        """

    def abandon(self) -> None:
        """Let the thread that writes or flushes come back soon, with an error; called from another one."""

    def tend(self, keeping: Keeping, stop: threading.Event | None = None, *, paced: bool = False) -> Tended:
        """Do what is due of compaction, merging and removal, in any thread beside the one that writes.

        Args:
            keeping: What is kept, and how long.
            stop: Ends it between two steps.
            paced: Whether it goes at half the speed, since somebody else is at work.

        Raises:
            StoreError, StorageError: As ``commit``: what was done until then is done, and nothing is lost.
            MissingExtraError: duckdb is not installed.
        """

    def close(self) -> None:
        """Let it go; what was committed is there."""
