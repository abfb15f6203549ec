"""A small store with something of everything, the same whichever version writes it; its dumps lie in tests/golden.

A new version of the schema gets its dump by `python -m tests.support.fleet.golden_store sqlite:///FILE`, or the address
of an empty PostgreSQL database.
"""

from __future__ import annotations

import sqlite3
import subprocess
import sys
from pathlib import Path
from typing import Any

import msgspec
from edgeglm_agent.wire.commands import Reply, State
from edgeglm_agent.wire.sketch import Sketch
from edgeglm_agent.wire.telemetry import KINDS, Drift, Event, Gap, Result, Row, Window, pack_ranges, row_of

from edgeglm.fleet.store.opening import open_reader, open_store
from edgeglm.fleet.store.types import (
    Arrivals,
    Device,
    IncomingBatch,
    IncomingReply,
    IncomingState,
    Poison,
    Span,
    Stream,
)
from tests.support.fleet.by_hour import by_hour

NOW = 1_800_000_000_000
EVER = Span(-(2**61), 2**61)
FOLDER = Path(__file__).parents[2] / "golden"
BOARDS = [Device("works", "press-1"), Device("works", "press-2"), Device("yard", "gate-1")]


def _window(number: int, place: int) -> Window:
    sketch = Sketch()
    for sample in range(5):
        sketch.add(2.0 + place + sample * number % 7)
    start_ms = NOW - 600_000 + number * 60_000
    drift = (Drift("input.x", 300, 90, 50),)
    return Window(
        "main", 1, "00" * 8, start_ms, number * 60_000, 60_000, True, 5, {"run": 1}, sketch.pack(), drift=drift
    )


def _as_first_written(row: Row) -> Row:
    """Return a row in the bytes that the first boards sent, whose events had no ``channels``: what came counts."""
    if row.kind != KINDS.index(Event):
        return row
    fields = msgspec.msgpack.decode(row.body)
    body = msgspec.Raw(msgspec.msgpack.encode(fields[: Event.__struct_fields__.index("channels")]))
    return msgspec.structs.replace(row, body=body)


def arrivals() -> list[Arrivals]:
    """Return what came, transaction by transaction."""
    came = []
    for place, device in enumerate(BOARDS):
        told = [
            Event(name, "main", "00" * 8, NOW - 9000 + at, 1, True, "warning", {"feature": "input.x", "psi": 0.3})
            for at, name in enumerate(("model-loaded", "drift-raised", "throttled"))
        ]
        bodies: list[Any] = [
            *(_window(number, place) for number in range(1, 6)),
            *told,
            Result("main", 1, "00" * 8, NOW - 5000, b'{"class": "cat"}'),
            Gap("quota", pack_ranges([20, 21]), {"Window": 2}),
            Window("main", 1, "00" * 8, 5000, 700_000, 1000, False, inferences=3),  # its clock was not set
        ]
        rows = tuple(_as_first_written(row_of(number, body)) for number, body in enumerate(bodies, 1))
        stream = Stream(device, b"epoch--%d" % place)
        state = State(1, device.name, "boot", "s1", True, since_ms=NOW, clock_synchronised=True)
        came.append(
            Arrivals(
                [IncomingBatch(stream, rows, NOW)],
                [IncomingState(device, state, NOW)],
                [IncomingReply(device, Reply(1, "ops-1", "ping", True), NOW)],
                [Poison(f"a/topic/{place}", "no batch", b"?", NOW)],
            )
        )
        later = Row(30, 7, msgspec.Raw(msgspec.msgpack.encode(["of", "a", "later", "version"])))
        came.append(Arrivals([IncomingBatch(stream, (rows[0], later), NOW + 1000)]))
    return came


def answers(url: str) -> dict[str, Any]:
    """Return everything that a reader says of a store."""
    reader = open_reader(url)
    try:
        return {
            "devices": reader.devices(),
            "windows": [*reader.windows(EVER)],
            "events": [*reader.events(EVER)],
            "received": [*reader.events_received(0)],
            "results": [one for device in BOARDS for one in reader.results(device, EVER)],
            "gaps": [*reader.gaps(EVER)],
            "replies": [one for device in BOARDS for one in reader.replies(device, EVER)],
            "hours": [by_hour(reader, device, "main", EVER) for device in BOARDS],
            "poison": reader.poison(10),
            "poison_count": reader.poison_count(),
        }
    finally:
        reader.close()


def fill(url: str) -> None:
    """Fill a store."""
    store = open_store(url)
    for one in arrivals():
        store.commit(one)
    store.close()


def dump(url: str) -> str:
    """Return a store as SQL."""
    if url.startswith("sqlite"):
        with sqlite3.connect(url.removeprefix("sqlite:///")) as db:
            pragmas = [
                (name, db.execute(f"pragma {name}").fetchone()[0]) for name in ("application_id", "user_version")
            ]
            lines = [*(f"pragma {name} = {value};" for name, value in pragmas), *db.iterdump()]
        db.close()
        return "\n".join(lines) + "\n"
    command = ["pg_dump", "--schema=edgeglm", "--inserts", "--no-owner", "--no-privileges", "--dbname", url]
    said = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    return "\n".join(line for line in said.splitlines() if line and not line.startswith(("--", "\\"))) + "\n"


def load_sqlite(text: str, path: Path) -> None:
    """Make a store of a dump."""
    with sqlite3.connect(path) as db:
        db.executescript(text)
    db.close()


if __name__ == "__main__":
    fill(sys.argv[1])
    sys.stdout.write(dump(sys.argv[1]))
