"""A process that is killed: an outbox and an uplink, writing rows, then waiting until all of them are delivered.

Row number n says n in its body, and its number is written to the ledger once ``put`` has returned.
``python driver.py FOLDER PORT COUNT``; it prints ``done`` and ends when the collector has everything.
"""

from __future__ import annotations

import os
import random
import sys
from pathlib import Path

from edgeglm_agent.outbox import EVENTS, METRICS, SAMPLES
from edgeglm_agent.wire.telemetry import Event, Result, Window
from uplinks import Board  # beside this program

_AT_ONCE = 16


def row(number: int) -> tuple[int, Window | Event | Result]:
    """Return the row of this number: each tenth an event, each tenth a sample, the others windows."""
    if number % 10 == 0:
        return EVENTS, Event("throttled", "main", "00" * 8, number, 0, True, "info")
    if number % 10 == 1:
        return SAMPLES, Result("main", 1, "00" * 8, number, b"x" * 50)
    return METRICS, Window("main", number // 100, "00" * 8, number, number, 1, True, 1)


def main(folder: Path, port: int, count: int) -> None:
    board = Board(folder, port, session=os.urandom(4).hex())
    ledger = os.open(folder / "ledger", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    while board.outbox.high_water < count or not board.delivered():
        first = board.outbox.high_water + 1
        if first <= count:
            last = min(count, first + random.randrange(_AT_ONCE))
            written = board.outbox.put_many([row(number) for number in range(first, last + 1)])
            assert written == [*range(first, last + 1)], written
            os.write(ledger, "".join(f"{number}\n" for number in written).encode())
            if random.random() < 0.05:
                board.outbox.merge_unsent_windows(2)
        board.turn(0.01)
    print("done", flush=True)
    board.close()


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]))
