"""Batches on their way over one connection: sent, answered by the broker, not yet acknowledged by the collector."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

if TYPE_CHECKING:
    from collections.abc import Sequence

    from edgeglm_agent.uplink.timing import Timing

_MOST_FLIGHTS = 64
_MOST_BYTES = 1 << 20
_UNANSWERED = 20  # publishes that the broker has not answered
_OWN = 4  # of what the broker takes at once is left for births and replies


class Flight(msgspec.Struct):
    """One batch."""

    tag: int
    priority: int
    sequences: tuple[int, ...]
    size: int
    sent_at: float
    within_s: float
    due_at: float
    taken: bool = False  # by the broker


class Flights:
    """All of them.

    Attributes:
        flying: The numbers of their rows.
    """

    def __init__(self, timing: Timing) -> None:
        self.flying: set[int] = set()
        self._timing = timing
        self._flights: dict[int, Flight] = {}
        self._tag = 0

    def __len__(self) -> int:
        """Return how many wait for an acknowledgement."""
        return len(self._flights)

    def begin(self, priority: int, sequences: tuple[int, ...], size: int, within_s: float, now: float) -> Flight:
        """Note a batch that is about to be published."""
        self._tag += 1
        due_at = now + within_s + self._timing.grace_s
        flight = self._flights[self._tag] = Flight(self._tag, priority, sequences, size, now, within_s, due_at)
        self.flying.update(sequences)
        return flight

    def find(self, tag: int) -> Flight | None:
        """Return the batch of a publish."""
        return self._flights.get(tag)

    def land(self, flight: Flight) -> None:
        """Forget one: it has arrived, was refused, or goes again."""
        if self._flights.pop(flight.tag, None) is not None:
            self.flying.difference_update(flight.sequences)

    def forget(self) -> None:
        """Forget all: their connection has ended."""
        self._flights.clear()
        self.flying.clear()

    def has_room(self, at_once: int, spare: int) -> bool:
        """Return whether one more may go, to a broker that takes so many at once; ``spare``: places that stay free."""
        unanswered = sum(not flight.taken for flight in self._flights.values())
        return (
            unanswered < max(1, min(_UNANSWERED, at_once - _OWN) - spare)
            and len(self._flights) < _MOST_FLIGHTS - spare
            and sum(flight.size for flight in self._flights.values()) < _MOST_BYTES
        )

    def arrived(self, runs: Sequence[tuple[int, int]]) -> int:
        """Forget those of which every row is in these runs; return how many."""
        whole = [
            flight
            for flight in self._flights.values()
            if all(any(first <= number <= last for first, last in runs) for number in flight.sequences)
        ]
        for flight in whole:
            self.land(flight)
        return len(whole)

    def all_taken(self) -> bool:
        """Return whether the broker has answered every one."""
        return all(flight.taken for flight in self._flights.values())

    def first_unanswered(self) -> Flight | None:
        """Return the oldest that the broker has not answered."""
        return min((flight for flight in self._flights.values() if not flight.taken), key=_tag, default=None)

    def overdue_answer(self, now: float) -> bool:
        """Return whether the broker has not answered a publish in time."""
        return any(
            not flight.taken and now - flight.sent_at > self._timing.taken_s for flight in self._flights.values()
        )

    def overdue(self, now: float) -> list[Flight]:
        """Return those whose acknowledgement should have come."""
        return [flight for flight in self._flights.values() if flight.taken and flight.due_at <= now]


def _tag(flight: Flight) -> int:
    return flight.tag
