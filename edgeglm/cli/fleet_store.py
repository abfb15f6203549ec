"""What verbs that look at a store share: the reader, the terminal's width, and now."""

from __future__ import annotations

import shutil
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from edgeglm.fleet.store.base import StoreReader

_LEAST_WIDTH = 40


@contextmanager
def reading(store: str, fleet: str | None = None) -> Iterator[StoreReader]:
    """Open a store to look at, and let it go again; a fleet that it does not have is refused."""
    from edgeglm.fleet.seeing.finding import check_fleet
    from edgeglm.fleet.store.opening import open_reader

    reader = open_reader(store)
    try:
        if fleet is not None:
            check_fleet(reader.fleets(), fleet)
        yield reader
    finally:
        reader.close()


def terminal_width() -> int | None:
    """Return how wide the terminal is; None: stdout leads to another program, for which nothing is cut."""
    return max(_LEAST_WIDTH, shutil.get_terminal_size().columns) if sys.stdout.isatty() else None


def now_ms() -> int:
    """Return the time, Unix milliseconds."""
    return time.time_ns() // 1_000_000
