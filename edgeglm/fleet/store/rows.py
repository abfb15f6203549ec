"""A row of a batch as a row of a table: its body is read once, kept as it came, and a few figures of it beside."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from edgeglm_agent.wire import WireError
from edgeglm_agent.wire.telemetry import Event, Gap, Result, Window, body_of, unpack_ranges
from edgeglm_agent.wire.topics import NAME

from edgeglm.fleet.store.known import HIGHEST
from edgeglm.fleet.store.placing import Moment, believed

if TYPE_CHECKING:
    from edgeglm_agent.wire.telemetry import Body, Row

_BIG = 2**62
_LONGEST_MS = 100 * 365 * 86_400_000  # that a board is up, or a window lasts
_MOST_A_MS = 1000  # samples: a window that tells of more would decide the figures of a whole fleet
_MOST_LOST_ROWS = 2**32  # of one gap: no outbox holds more
_MOST_RUN_BYTES = 65_536  # packed: a board's batch is of 16 KB
TABLE_OF = {Window: "windows", Event: "events", Result: "results", Gap: "gaps", type(None): "others"}
_KEY = "at_ms, device, stream, sequence, received_ms"
COLUMNS = {  # in the order of ``columns``
    "windows": f"{_KEY}, slot, duration_ms, inferences, errors, cpu_permille, temperature_decic, psi_milli, body",
    "events": f"{_KEY}, slot, name, severity, body",
    "results": f"{_KEY}, slot, body",
    "gaps": f"{_KEY}, reason, rows, body",
    "others": f"{_KEY}, kind, body",
}
TEXTS = frozenset({"slot", "name", "severity", "reason"})  # columns; ``body`` is of bytes, all others are integers


class Read(NamedTuple):
    """A row that could be read."""

    row: Row
    body: Body | None  # None: of a kind of a later version
    moment: Moment
    replaces: list[tuple[int, int]]
    lost: list[tuple[int, int]] = []  # what a gap tells of


def read_row(row: Row, received_ms: int) -> Read:
    """Return what is in a row. Raises: WireError: It is not what it claims to be, or no board of ours says that."""
    body = body_of(row)
    replaces = checked_runs(row.replaces) if row.replaces else []
    if isinstance(body, Window):
        start_ms, uptime_ms, length_ms = body.start_ms, body.uptime_ms, body.duration_ms
        if not (0 <= length_ms <= _LONGEST_MS and 0 <= uptime_ms <= _LONGEST_MS and -_BIG < start_ms < _BIG):
            raise WireError(f"row {row.sequence}: a window at {start_ms} ms for {length_ms} ms, {uptime_ms} ms up")
        # a board without any slot tells of itself alone: its slot has no name
        failed = sum(body.errors.values()) if body.errors else 0
        counted = body.inferences >= 0 <= failed and body.inferences + failed <= _MOST_A_MS * max(length_ms, 1000)
        if not counted or (body.slot and not NAME.match(body.slot)):
            raise WireError(
                f"row {row.sequence}: {body.inferences} inferences and {failed} errors in {length_ms} ms in slot "
                f"`{body.slot[:64]}`"
            )
        own = believed(start_ms, received_ms - length_ms, synchronised=body.clock_synchronised)
        return Read(row, body, Moment(start_ms, uptime_ms, own, length_ms), replaces)
    if isinstance(body, Event):
        if not (0 <= body.uptime_ms <= _LONGEST_MS and -_BIG < body.at_ms < _BIG):
            raise WireError(f"row {row.sequence}: an event at {body.at_ms} ms, {body.uptime_ms} ms up")
        if not NAME.match(body.name) or (body.slot and not NAME.match(body.slot)):
            raise WireError(f"row {row.sequence}: event `{body.name[:64]}` in slot `{body.slot[:64]}`")
        own = believed(body.at_ms, received_ms, synchronised=body.clock_synchronised)
        return Read(row, body, Moment(body.at_ms, body.uptime_ms, own), replaces)
    if isinstance(body, Result):
        if not NAME.match(body.slot):
            raise WireError(f"row {row.sequence}: a result in slot `{body.slot[:64]}`")
        own = believed(body.at_ms, received_ms, synchronised=True)  # it does not say; a time that can be is one
        return Read(row, body, Moment(body.at_ms if own else received_ms, None, own), replaces)  # it may be any number
    lost: list[tuple[int, int]] = []
    if isinstance(body, Gap):
        if not NAME.match(body.reason):
            raise WireError(f"row {row.sequence}: a gap because of `{body.reason[:64]}`")
        lost = checked_runs(body.ranges)
    return Read(row, body, Moment(received_ms, None, own=False), replaces, lost)


def checked_runs(packed: bytes) -> list[tuple[int, int]]:
    """Return runs of sequence numbers. Raises: WireError: They are none, or beyond any board's."""
    if len(packed) > _MOST_RUN_BYTES:
        raise WireError(f"runs of {len(packed)} bytes; at most {_MOST_RUN_BYTES} are read")
    runs = unpack_ranges(packed)
    if runs and runs[-1][1] >= HIGHEST:
        raise WireError(f"sequence number {runs[-1][1]} is beyond any board's")
    return [(first, last) for first, last in runs if last > 0]


def columns(read: Read, at_ms: int, device: int, stream: int, received_ms: int) -> tuple[Any, ...]:
    """Return a row of the table that ``TABLE_OF`` names for this body, in the order of ``COLUMNS``."""
    row, body = read.row, read.body
    key = (at_ms, device, stream, row.sequence, received_ms)
    if isinstance(body, Window):
        board = body.board
        return (
            *key,
            body.slot,
            body.duration_ms,
            body.inferences,
            _whole(sum(body.errors.values())) if body.errors else 0,
            _whole(body.cpu_permille),
            _whole(board.temperature_decic) if board else None,
            _whole(max(drift.psi_milli for drift in body.drift)) if body.drift else None,
            row.body,
        )
    if isinstance(body, Event):
        return (*key, body.slot, body.name, body.severity, row.body)
    if isinstance(body, Result):
        return (*key, body.slot, row.body)
    if isinstance(body, Gap):
        return (*key, body.reason, lost_rows(body), row.body)
    return (*key, _whole(row.kind), row.body)


def lost_rows(gap: Gap) -> int:
    """Return how many rows a gap tells of, within what a board can have lost."""
    counted = sum(count for count in gap.counts.values() if count > 0)
    return min(counted or sum(last - first + 1 for first, last in checked_runs(gap.ranges)), _MOST_LOST_ROWS)


def _whole(number: int | None) -> int | None:
    """Return what a store's integers can hold of a number that a stranger may have sent."""
    return None if number is None else max(-_BIG, min(_BIG, number))
