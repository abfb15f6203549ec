"""Times as users type them (``24h``, ``7d``, an ISO time), and as they are shown. Inside they are Unix milliseconds."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from edgeglm.errors import UserError

if TYPE_CHECKING:
    from edgeglm.fleet.store.types import Span

OPEN_END_MS = 1 << 53  # after everything: boards' clocks may be ahead
_UNITS_S = {"s": 1, "m": 60, "min": 60, "h": 3600, "d": 86_400, "w": 604_800}
_AGO = re.compile(r"(\d+(?:\.\d+)?)\s*([a-z]+)\Z")
_LONGEST_AROUND_S = 86_400.0
_AGES = ((86_400 * 2, 86_400, "d"), (3600 * 2, 3600, "h"), (60 * 2, 60, "min"), (0, 1, "s"))


def parse_time(text: str, *, now_ms: int, option: str) -> int:
    """Return the moment that a text means: so long ago (``90s``, ``30m``, ``24h``, ``7d``, ``2w``), or an ISO time.

    An ISO time without a zone is the local one; a date alone is its midnight.

    Args:
        text: As the user typed it.
        now_ms: What "ago" counts from.
        option: Where it stood, for the error.

    Raises:
        UserError: It is neither, or lies outside the years 1970 to 9999.
    """
    word = text.strip()
    if ago := _AGO.match(word.lower()):
        if (unit := _UNITS_S.get(ago[2])) is not None and (length_ms := float(ago[1]) * unit * 1000) <= now_ms:
            return now_ms - round(length_ms)
    else:
        try:
            at_ms = round(datetime.fromisoformat(word).timestamp() * 1000)
        except (ValueError, OverflowError, OSError):
            at_ms = -1
        if at_ms >= 0:
            return at_ms
    raise UserError(
        f"`{text}` is no time",
        where=option,
        hint="write how long ago (90s, 30m, 24h, 7d, 2w), or when (2027-03-01, 2027-03-01T06:00+01:00)",
        code="time-invalid",
    )


def parse_past(text: str, *, now_ms: int, option: str) -> int:
    """Return the moment that a text means, as ``parse_time``. Raises: UserError: Likewise, or it is still to come."""
    if (at_ms := parse_time(text, now_ms=now_ms, option=option)) > now_ms:
        raise UserError(
            f"`{text}` is still to come: nothing can be known of it",
            where=option,
            hint=f"it is {local_iso(now_ms)} here",
            code="time-invalid",
        )
    return at_ms


def check_span(span: Span) -> None:
    """Refuse a stretch that ends before it begins: from an hour ago until two hours ago. Raises: UserError."""
    if span.until_ms <= span.since_ms:
        raise UserError(
            f"that is {local_iso(span.until_ms)}, and --since {local_iso(span.since_ms)}: no time lies between them",
            where="--until",
            hint="exchange them: --since is the earlier one, so `--since 2h --until 1h`",
            code="time-invalid",
        )


def parse_span_s(text: str, *, option: str) -> float:
    """Return how many seconds a text means: ``30s``, ``5m``, ``2h``; a number alone is seconds. Raises: UserError."""
    word = text.strip().lower()
    found = _AGO.match(word) or _AGO.match(f"{word}s")
    unit = _UNITS_S.get(found[2]) if found else None
    if found is None or unit is None or float(found[1]) <= 0:
        raise UserError(f"`{text}` is no length of time", where=option, hint="write 30s, 5m or 2h", code="time-invalid")
    return float(found[1]) * unit


def parse_around_ms(text: str, *, option: str) -> int:
    """Return how many milliseconds a text means, as ``parse_span_s``; a day at most. Raises: UserError."""
    seconds = parse_span_s(text, option=option)
    if seconds > _LONGEST_AROUND_S:
        raise UserError(f"`{text}` is more than a day", where=option, hint="write 15m, 2h or 1d", code="time-invalid")
    return round(seconds * 1000)


def local_iso(at_ms: int, *, milliseconds: bool = False) -> str:
    """Return a moment as local ISO time; one that no calendar has (a board's clock may say anything) as a number."""
    try:
        moment = datetime.fromtimestamp(at_ms / 1000).astimezone()
    except (ValueError, OverflowError, OSError):
        return f"{at_ms} ms"
    return moment.isoformat(timespec="milliseconds" if milliseconds else "seconds")


def utc_iso(at_ms: int) -> str | None:
    """Return a moment as ISO time of UTC; None: no calendar has it."""
    try:
        return datetime.fromtimestamp(at_ms / 1000, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    except (ValueError, OverflowError, OSError):
        return None


def age(at_ms: int, now_ms: int) -> str:
    """Return how long ago that was, in one unit: ``12 s``, ``5 min``, ``30 h``, ``4 d``."""
    seconds = max(0, now_ms - at_ms) // 1000
    return next(f"{seconds // size} {unit}" for least, size, unit in _AGES if seconds >= least)
