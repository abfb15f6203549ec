"""How rows of one table are asked for, in an order and beyond a place in it: the same in every store."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

if TYPE_CHECKING:
    from edgeglm.fleet.store.segment_pages import SegmentPages
    from edgeglm.fleet.store.types import Span

Question: TypeAlias = tuple[str, tuple[Any, ...]]  # a statement, and what is given with it
BY_TIME = ("at_ms", "device", "stream", "sequence")


class Asked(NamedTuple):
    """Rows of a table beyond a place in an order."""

    table: str
    order: tuple[str, ...]
    after: tuple[int, ...]
    until_ms: int
    device: int | None
    fleet: str | None
    older: SegmentPages

    def page(self, after: tuple[int, ...], until_ms: int, most: int) -> Question:
        """Return what asks for so many of the first ones beyond a place."""
        return self._question("", after, until_ms, most)

    def newest(self, count: int) -> Question:
        """Return what asks for so many of the newest ones, the newest first."""
        return self._question(" desc", self.after, self.until_ms, count)

    def _question(self, way: str, after: tuple[int, ...], until_ms: int, most: int) -> Question:
        key = ", ".join(f"t.{name}" for name in self.order)
        where, given = "and t.at_ms < ?", [after[0], *after, until_ms]
        more: list[str] = []
        if self.device is not None:
            where, given = f"{where} and t.device = ?", [*given, self.device]
        if self.fleet is not None:
            where, more = f"{where} and d.fleet = ?", [self.fleet]
        statement = (
            f"select {key}, t.at_ms, t.sequence, t.received_ms, t.body, s.epoch, d.fleet, d.name"  # noqa: S608
            f" from {self.table} t cross join streams s on s.id = t.stream cross join devices d on d.id = t.device"
            f" where t.{self.order[0]} >= ? and ({key}) > ({', '.join('?' * len(self.order))}) {where}"
            f" order by {', '.join(f't.{name}{way}' for name in self.order)} limit ?"
        )
        return statement, (*given, *more, most)


def before(span: Span) -> tuple[int, ...]:
    """Return the place before all rows of a span."""
    return (span.since_ms - 1, 2**62, 0, 0)


def newest_of(found: list[tuple[Any, ...]], more: list[tuple[Any, ...]], count: int) -> list[tuple[Any, ...]]:
    """Return so many of the newest rows, the oldest first, of those of the journal and of segments."""
    rows = sorted([*reversed(found), *more])  # no two have one key
    return rows[-count:] if count else []
