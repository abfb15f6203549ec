"""What a store keeps, and how long: by the age of rows. Pure. Whole days (UTC) are moved, merged and removed."""

from __future__ import annotations

import msgspec

from edgeglm.errors import UserError

HOUR_MS = 3_600_000
DAY_MS = 86_400_000
TABLES_OF = {"windows": ("windows",), "events": ("events", "gaps", "others"), "results": ("results",)}


class Keeping(msgspec.Struct, frozen=True):
    """Ages in milliseconds; None: for ever."""

    compact_after_ms: int = DAY_MS  # SQLite: beyond it rows move from the journal into segments
    raw_ms: int | None = None  # windows as boards sent them; beyond it those of an hour become one
    windows_ms: int | None = None
    events_ms: int | None = None  # gaps too
    results_ms: int | None = None

    def compacted_before_ms(self, now_ms: int) -> int:
        """Return the end of the newest day whose rows move into segments."""
        return _midnight(now_ms - min(self.compact_after_ms, self.raw_ms or self.compact_after_ms))

    def crowded_before_ms(self, now_ms: int) -> int | None:
        """Return up to when rows of days that are not over move as well, by the segment; None: they wait.

        Rows lie by time in the journal, so that one board's take a look at all of them: there must not be many.
        """
        return now_ms - HOUR_MS if self.compact_after_ms <= DAY_MS else None

    def merged_before_ms(self, now_ms: int) -> int | None:
        """Return the end of the newest day whose windows are merged; None: none are."""
        return None if self.raw_ms is None else _midnight(now_ms - self.raw_ms)

    def removed_before_ms(self, now_ms: int) -> dict[str, int]:
        """Return of each table the end of the newest day whose rows are removed, where any are."""
        ages = {"windows": self.windows_ms, "events": self.events_ms, "results": self.results_ms}
        return {
            table: _midnight(now_ms - age_ms)
            for kind, age_ms in ages.items()
            if age_ms is not None
            for table in TABLES_OF[kind]
        }

    def forgotten_before_ms(self, now_ms: int) -> dict[str, int]:
        """Return of each table before when a row that comes again is not compared with one that came before."""
        merged, removed = self.merged_before_ms(now_ms), self.removed_before_ms(now_ms)
        return removed if merged is None else removed | {"windows": max(merged, removed.get("windows", merged))}


class Tended(msgspec.Struct):
    """What was done."""

    compacted_rows: int = 0  # that moved into segments
    segments: int = 0  # that were written
    merged_windows: int = 0
    hourly_windows: int = 0  # that they became
    removed_rows: int = 0

    def __str__(self) -> str:
        """Return it as a line of the log; nothing where nothing was done."""
        told = []
        if self.segments:
            told.append(f"{self.compacted_rows} rows moved, {self.segments} segments written")
        if self.merged_windows:
            told.append(f"{self.merged_windows} windows merged into {self.hourly_windows}")
        if self.removed_rows:
            told.append(f"{self.removed_rows} rows removed")
        return "; ".join(told)


def check_keeping(keeping: Keeping) -> Keeping:
    """Refuse ages that contradict each other, or are below a day. Raises: UserError."""
    options = {
        "--compact-after": keeping.compact_after_ms,
        "--keep-raw": keeping.raw_ms,
        "--keep-windows": keeping.windows_ms,
        "--keep-events": keeping.events_ms,
        "--keep-results": keeping.results_ms,
    }
    for option, age_ms in options.items():
        if age_ms is not None and age_ms < DAY_MS:
            raise UserError("is less than a day", where=option, hint="write 1d or more", code="keep-invalid")
    if keeping.raw_ms and keeping.windows_ms and keeping.windows_ms <= keeping.raw_ms:
        raise UserError(
            "windows would be removed before they are merged",
            where="--keep-windows",
            hint="let it be longer than --keep-raw, or leave that out",
            code="keep-invalid",
        )
    return keeping


def _midnight(at_ms: int) -> int:
    return at_ms // DAY_MS * DAY_MS
