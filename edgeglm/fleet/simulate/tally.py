"""What a run counts; tallies of several processes are added up."""

from __future__ import annotations

import msgspec
from edgeglm_agent.wire.sketch import Sketch


class Tally(msgspec.Struct, kw_only=True):
    """Counts, all of them rising, but for the first four."""

    devices: int = 0
    connected: int = 0  # now
    never: int = 0  # devices that have had no connection yet, though they were to have one
    outstanding: int = 0  # rows that were sent, and have no acknowledgement yet
    withheld: int = 0  # of devices that are silent, or whose card was put back: nobody can acknowledge them now
    connections: int = 0  # that the broker accepted
    refused: int = 0  # attempts that failed
    messages: int = 0  # published, of every sort
    payload_bytes: int = 0  # of them
    windows: int = 0  # rows, each counted once however often it was sent
    events: int = 0
    results: int = 0
    gaps: int = 0
    acknowledged: int = 0  # rows
    resent: int = 0  # rows that went again, since no acknowledgement came, or the connection had gone
    dropped: int = 0  # rows that a board forgot as its card was put back
    duplicated: int = 0  # messages that were sent twice
    malformed: int = 0  # messages that nobody can read
    impostures: int = 0  # messages on another's topics
    acks: int = 0  # messages
    acks_lost: int = 0  # by the fault of that name
    acks_foreign: int = 0  # of another epoch, or of numbers that were never given
    commands: int = 0  # that were answered
    latency_ms: dict[int, int] = {}  # buckets of a sketch: from a row's sending to its acknowledgement
    cpu_s: float = 0.0
    peak_rss_bytes: int = 0
    last_failure: str = ""  # to connect

    @property
    def rows(self) -> int:
        """How many rows were sent."""
        return self.windows + self.events + self.results + self.gaps

    def quantile_ms(self, share: float) -> float | None:
        """Return how long an acknowledgement took for this share of the rows; None: none came."""
        return Sketch(self.latency_ms).quantile(share)


def added(tallies: list[Tally]) -> Tally:
    """Return all of them as one."""
    total = Tally()
    for tally in tallies:
        for name in Tally.__struct_fields__:
            value = getattr(tally, name)
            if isinstance(value, dict):
                sketch = Sketch(total.latency_ms)
                sketch.merge(Sketch(value))
                total.latency_ms = sketch.counts
            elif isinstance(value, str):
                total.last_failure = value or total.last_failure
            else:
                setattr(total, name, getattr(total, name) + value)
    return total
