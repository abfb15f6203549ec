"""Watching the fleet on a terminal: a thread looks at the store, keys are heard meanwhile."""

from __future__ import annotations

import time
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TYPE_CHECKING

from edgeglm.errors import EdgeglmError
from edgeglm.fleet.plain import plain
from edgeglm.fleet.seeing.screen import Screen, TerminalGoneError
from edgeglm.fleet.seeing.top import Board, Look, in_order, look, page_of, press, screen
from edgeglm.fleet.store.opening import open_reader

if TYPE_CHECKING:
    import threading

    from edgeglm.fleet.seeing.top import Sort
    from edgeglm.fleet.store.base import StoreReader

_SHARE = 9  # of the time that a look takes: waited at least, so that watching takes a tenth of a processor
_LONGEST_WAIT_S = 3600.0


class _Looks:
    """A thread with a reader of its own, opened when it is needed and again when it fails."""

    def __init__(self, store: str, fleet: str | None) -> None:
        self._store, self._fleet = store, fleet
        self._thread = ThreadPoolExecutor(1, "store")
        self._reader: StoreReader | None = None
        self.took_s = 0.0  # the last one

    def begin(self, screen: Screen) -> Future[Look]:
        """Look; the screen is woken once that is done."""
        begun = self._thread.submit(self._look)
        begun.add_done_callback(lambda _: screen.wake())
        return begun

    def _look(self) -> Look:
        began = time.monotonic()
        if self._reader is None:
            self._reader = open_reader(self._store)
        try:
            return look(self._reader.devices(self._fleet), time.time_ns() // 1_000_000)
        except BaseException:
            self._close()
            raise
        finally:
            self.took_s = time.monotonic() - began

    def _close(self) -> None:
        reader, self._reader = self._reader, None
        if reader is not None:
            reader.close()

    def close(self) -> None:
        """Let the store go, once a look that goes on has come back."""
        self._thread.submit(self._close)
        self._thread.shutdown(wait=False)


def watch(store: str, fleet: str | None, seen: Look, *, sort: Sort, every_s: float, stop: threading.Event) -> None:
    """Show the fleet until ``q`` is pressed, the terminal goes, or ``stop`` is set.

    Args:
        store: Its address.
        fleet: The one fleet to be shown; None: all.
        seen: What is shown first.
        sort: In which order at first.
        every_s: From one look at the store to the next; longer where a look takes long.
        stop: Is looked at whenever something happens: a signal is something.
    """
    board, trouble = Board(sort=sort), ""
    lines = in_order(seen.lines, board.sort)
    looks = _Looks(store, fleet)
    begun: Future[Look] | None = None
    due_s = time.monotonic() + every_s
    try:
        with Screen() as terminal:
            while not stop.is_set():
                width, height = terminal.size()
                drawn, heading, chosen = screen(seen, lines, board, width, height, trouble)
                terminal.draw(drawn, reversed_lines=(heading, chosen))
                wait_s = _LONGEST_WAIT_S if begun else due_s - time.monotonic()
                for key in terminal.keys(wait_s):
                    if key in ("q", "Q"):
                        return
                    press(board, key, lines, page_of(height))
                    lines = in_order(seen.lines, board.sort, backwards=board.backwards)
                if begun is not None and begun.done():
                    try:
                        seen, trouble = begun.result(), ""
                    except EdgeglmError as error:
                        trouble = plain(error.problems[0].message, 500)
                    lines = in_order(seen.lines, board.sort, backwards=board.backwards)
                    begun, due_s = None, time.monotonic() + max(every_s, _SHARE * looks.took_s)
                elif begun is None and time.monotonic() >= due_s:
                    begun = looks.begin(terminal)
    except TerminalGoneError:
        return
    finally:
        looks.close()
