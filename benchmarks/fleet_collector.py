"""What does one collector take into its store: committed messages a second, CPU a message, how late boards hear of it?

`edgeglm fleet broker`, `collect` and `simulate` as a user starts them, all on this machine. Closed loop: boards that keep a
few windows under way each, so that broker, collector and store set the pace. Open loop: 5,000 boards, a message a second
each, acknowledged at once. Simulated boards and broker take more of the machine than the collector does: CPU a message is
the collector's own, the rate is what is left to it. It wants a quiet machine, and takes four minutes.

python benchmarks/fleet_collector.py [--rounds 3] [--seconds 30] [--store postgresql://USER@HOST/EMPTY-DATABASE]

A PostgreSQL has no store yet, and has none afterwards; what its server takes of the machine is not counted.
"""

from __future__ import annotations

import argparse
import shutil
import sqlite3
import statistics
from typing import TYPE_CHECKING, Any

from common import WORK, write_result
from fleet_parts import cpu_s, peak_rss_mb, running, simulated

if TYPE_CHECKING:
    from pathlib import Path

CLOSED = ("--devices", "500", "--acknowledged", "8")
OPEN = ("--devices", "5000")
ROWS = " union all ".join(f"select stream, sequence from {table}" for table in ("windows", "events", "results", "gaps"))


def kept_in_sqlite(path: Path) -> tuple[int, int, int]:
    """Return how many rows there are, how many under numbers of their own, and the bytes of all."""
    with sqlite3.connect(path) as store:
        (rows,) = store.execute(f"select count(*) from ({ROWS})").fetchone()
        (distinct,) = store.execute(f"select count(*) from (select distinct stream, sequence from ({ROWS}))").fetchone()
    store.close()
    return rows, distinct, path.stat().st_size


def kept_in_postgresql(url: str) -> tuple[int, int, int]:
    """Return the same of a database, and remove the store."""
    import psycopg

    with psycopg.connect(url, autocommit=True) as db:
        db.execute("set search_path = edgeglm")
        found = db.execute(f"select count(*), count(distinct (stream, sequence)) from ({ROWS}) r").fetchone()
        size = db.execute(
            "select sum(pg_total_relation_size(relid)) from pg_stat_user_tables where schemaname = 'edgeglm'"
        )
        (size_bytes,) = size.fetchone() or (0,)
        db.execute("drop schema edgeglm cascade")
    assert found is not None
    return found[0], found[1], int(size_bytes)


def check_is_empty(url: str) -> None:
    """Refuse a database that has a store: it would be removed."""
    import psycopg

    with psycopg.connect(url) as db:
        assert db.execute("select to_regnamespace('edgeglm')").fetchone() == (None,), f"{url} has a store"


def measured(folder: Path, arguments: tuple[str, ...], seconds: float, url: str | None) -> dict[str, Any]:
    """Run broker, collector and boards once, in a folder of their own; return the figures."""
    with running(folder, url or "sqlite:///fleet.db") as parts:
        (collector,) = parts.collectors
        before = cpu_s(collector)
        said = simulated(parts, seconds, "--ack-within", "0", *arguments)
        used, memory = cpu_s(collector) - before, peak_rss_mb(collector)
    rows, distinct, size = kept_in_postgresql(url) if url else kept_in_sqlite(folder / "fleet.db")
    shutil.rmtree(folder)
    return {
        "committed_per_second": said["acknowledged_per_second"],
        "cpu_us_per_message": used / rows * 1e6,
        "latency_ms": said["latency_ms"],
        "rows": rows,
        "lost": said["rows"]["sent"] - distinct,
        "twice": rows - distinct,
        "bytes_per_row": size / rows,
        "peak_rss_mb": memory,
    }


def main() -> None:
    """Measure, print, and write the result."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=30)
    parser.add_argument("--store", metavar="URL", help="an empty PostgreSQL database; default: SQLite")
    arguments = parser.parse_args()
    if arguments.store:
        check_is_empty(arguments.store)
    loops: dict[str, list[dict[str, Any]]] = {"closed": [], "open": []}
    for number in range(arguments.rounds):
        for loop, options in (("closed", CLOSED), ("open", OPEN)):
            one = measured(WORK / "fleet-collector", options, arguments.seconds, arguments.store)
            loops[loop].append(one)
            print(
                f"{number + 1} {loop:<6} {one['committed_per_second']:8.0f}/s  {one['cpu_us_per_message']:5.1f} us of CPU  "
                f"p99 {one['latency_ms']['p99']:6.0f} ms  lost {one['lost']}  twice {one['twice']}",
                flush=True,
            )
    medians = {
        loop: {
            "committed_per_second": statistics.median(one["committed_per_second"] for one in rounds),
            "cpu_us_per_message": statistics.median(one["cpu_us_per_message"] for one in rounds),
            "latency_p99_ms": statistics.median(one["latency_ms"]["p99"] for one in rounds),
        }
        for loop, rounds in loops.items()
    }
    name = "fleet_collector_postgresql" if arguments.store else "fleet_collector"
    write_result(name, seconds=arguments.seconds, medians=medians, rounds=loops)


if __name__ == "__main__":
    main()
