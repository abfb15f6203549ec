"""What writing needs of a store's tables: the same for every store. Everything goes by the many: the way is long."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping, Sequence

    from edgeglm.fleet.store.types import Device

STREAM_COLUMNS = (
    "id, device, epoch, through, beyond, lost, last_ms, rows, duplicates, taken_back, lost_rows, lost_at_ms,"
    " taken_back_at_ms, clock_off_ms"
)
ROW_TABLES = ("windows", "events", "results", "gaps", "others")


class NewDevice(NamedTuple):
    """A board that came for the first time."""

    device: Device
    shard: str
    first_seen_ms: int
    heard_ms: int


class Place(NamedTuple):
    """Where a row lies: its key."""

    at_ms: int
    device: int
    stream: int
    sequence: int


class Tables(Protocol):
    """The tables, within one transaction."""

    alone: bool  # nobody else writes: what was read once stays true

    def devices(self, devices: Collection[Device]) -> dict[Device, int]:
        """Return the numbers of those boards that are known."""

    def forgotten(self, devices: Collection[Device]) -> set[Device]:
        """Return those boards that were forgotten, and have not said anything since."""

    def add_devices(self, devices: Sequence[NewDevice]) -> dict[Device, int]:
        """Add boards, and return their numbers; they are forgotten no more."""

    def states(self, devices: Collection[int]) -> dict[int, bytes | None]:
        """Return boards' newest states, as they came."""

    def save_states(self, states: Mapping[int, tuple[bytes, int]]) -> None:
        """Write boards' states, and when they came."""

    def save_heard(self, heard: Mapping[int, int]) -> None:
        """Write when boards said something that is no row; never back in time."""

    def add_replies(self, replies: Iterable[tuple[int, str, int, bytes]]) -> None:
        """Add answers, each of (board, request, when it came, body), where the request has none yet."""

    def streams(self, keys: Collection[tuple[int, bytes]]) -> list[tuple[Any, ...]]:
        """Return those streams of (board, epoch) that are known, as ``STREAM_COLUMNS``.

        Where others write too, each waits here until those that have it have committed.
        """

    def count_streams(self, device: int) -> int:
        """Return how many streams a board has."""

    def add_streams(self, streams: Sequence[tuple[int, bytes, int | None]]) -> None:
        """Add streams, each of (board, epoch, the stream that it is a copy of); those that are there stay."""

    def save_streams(self, streams: Sequence[tuple[Any, ...]]) -> None:
        """Write (id, through, beyond, last_ms, rows, duplicates, clock_off_ms) of each."""

    def save_streams_rarely(self, streams: Sequence[tuple[Any, ...]]) -> None:
        """Write (id, lost, taken_back, taken_back_at_ms, lost_rows, lost_at_ms) of each."""

    def bodies(self, table: str, places: Collection[Place]) -> dict[Place, bytes]:
        """Return the bodies of rows that are there."""

    def placed(self, keys: Collection[tuple[int, int]]) -> dict[tuple[int, int], int]:
        """Return where rows of (stream, sequence) were put in time, where that is not what their board said."""

    def add_placed(self, placed: Sequence[tuple[int, int, int]]) -> None:
        """Add (stream, sequence, time); the first stays."""

    def add_rows(self, table: str, rows: Sequence[tuple[Any, ...]]) -> None:
        """Add rows, as ``rows.columns`` gives them: all of them, or it raises."""

    def add_alarm_events(self, events: Sequence[tuple[Any, ...]]) -> None:
        """Add (board, slot, at_ms, stream, sequence, body) of events that tell of drift: they outlive their rows."""

    def removed(self) -> dict[str, int]:
        """Return of each table before when its rows were removed or merged, where any were."""

    def slots(self, devices: Collection[int]) -> dict[int, set[str]]:
        """Return the slots of boards whose newest windows are known at once."""

    def save_latest(self, latest: Sequence[tuple[Any, ...]]) -> None:
        """Write (board, slot, at_ms, received_ms, body) of slots' newest windows; an older one does not count."""

    def add_poison(self, poison: Sequence[tuple[str, str, bytes, int]], *, counted: int, kept: int) -> None:
        """Add (topic, reason, payload, when it came), keep so many of them in all, and count them."""
