"""What do more boards and more collectors take? Two collectors beside one, and boards that are only connected.

Two collectors: closed loop into one PostgreSQL, each collector held to a quarter of a core by a cgroup, so that what the
machine has left for boards, broker and database does not decide; one collector and two in turn, so many rounds. It takes
the right to make a cgroup.
Connected: boards with a window a minute, held for so long; the memory that brokers and collectors need for them beyond
what they need for ten boards. A broker can hold no more boards than a process may open files here, so there are as many
brokers as that takes, each with a collector of its own.

python benchmarks/fleet_scale.py [--store postgresql://USER@HOST/EMPTY-DATABASE] [--rounds 5] [--seconds 20]
    [--devices 50000] [--hold 90]

The PostgreSQL has no store yet, and has none afterwards; without --store the first part is left out.
"""

from __future__ import annotations

import argparse
import math
import resource
import shutil
import statistics
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from common import WORK, write_result
from fleet_collector import check_is_empty, kept_in_postgresql, kept_in_sqlite
from fleet_parts import PORT, Parts, child_of, peak_rss_mb, running, simulated

if TYPE_CHECKING:
    from collections.abc import Iterator

CGROUPS = Path("/sys/fs/cgroup")
PERIOD_US = 100_000
QUARTER_US = PERIOD_US // 4
CLOSED = ("--devices", "400", "--acknowledged", "16", "--ack-within", "0")
SPARE_FILES = 1000  # that a broker has open beside those of its boards
DIVIDED = {1: ("00-ff",), 2: ("00-7f", "80-ff")}


@contextmanager
def held(name: str, pid: int) -> Iterator[None]:
    """Hold a process to a quarter of a core."""
    first = CGROUPS / "cpu" if (CGROUPS / "cpu" / "cpu.cfs_quota_us").exists() else CGROUPS
    group = first / f"edgeglm-{name}"
    group.mkdir()
    try:
        if first is CGROUPS:
            (group / "cpu.max").write_text(f"{QUARTER_US} {PERIOD_US}")
        else:
            (group / "cpu.cfs_period_us").write_text(str(PERIOD_US))
            (group / "cpu.cfs_quota_us").write_text(str(QUARTER_US))
        (group / "cgroup.procs").write_text(str(pid))
        yield
        (first / "cgroup.procs").write_text(str(pid))
    finally:
        group.rmdir()


def collected(collectors: int, seconds: float, url: str) -> dict[str, Any]:
    """Run so many collectors, each held, against one database; return the figures."""
    folder = WORK / "fleet-scale"
    with running(folder, url, DIVIDED[collectors]) as parts:
        if collectors == 1:
            with held("one", parts.collectors[0].pid):
                said = simulated(parts, seconds, *CLOSED)
        else:
            with held("first", parts.collectors[0].pid), held("second", parts.collectors[1].pid):
                said = simulated(parts, seconds, *CLOSED)
    rows, distinct, _ = kept_in_postgresql(url)
    shutil.rmtree(folder)
    return {
        "committed_per_second": said["acknowledged_per_second"],
        "latency_ms": said["latency_ms"],
        "lost": said["rows"]["sent"] - distinct,
        "twice": rows - distinct,
    }


def connected(devices: int, seconds: float) -> dict[str, Any]:
    """Let so many boards be there; return what each of them takes."""
    folder = WORK / "fleet-scale"
    open_files = resource.getrlimit(resource.RLIMIT_NOFILE)[1]  # the most that a process may have
    brokers = math.ceil(devices / (open_files - SPARE_FILES))
    shares = [devices * (place + 1) // brokers - devices * place // brokers for place in range(brokers)]
    with ExitStack() as stack:
        parts = [
            stack.enter_context(running(folder / str(place), "sqlite:///fleet.db", port=PORT + place))
            for place in range(brokers)
        ]
        pool = stack.enter_context(ThreadPoolExecutor(brokers))
        for one in parts:
            simulated(one, 2, "--devices", "10", "--rate", "1")
        before = memory_mb(parts)
        began = time.monotonic()
        hold = [("--devices", str(share), "--rate", str(1 / 60), "--processes", "2") for share in shares]
        said = list(pool.map(lambda one, options: simulated(one, seconds, *options), parts, hold))
        took_s = time.monotonic() - began
        after = memory_mb(parts)
    kept = [kept_in_sqlite(one.folder / "fleet.db") for one in parts]
    shutil.rmtree(folder)
    broker_kb, collector_kb = ((end - start) * 1024 / devices for start, end in zip(before, after, strict=True))
    return {
        "devices": devices,
        "brokers": brokers,
        "open_files": open_files,
        "took_s": took_s,
        "broker_kb_per_device": broker_kb,
        "collector_kb_per_device": collector_kb,
        "twice": sum(rows - distinct for rows, distinct, _ in kept),
        "connected": sum(one["connected"] for one in said),
        "seconds": min(one["seconds"] for one in said),
        "rows": {key: sum(one["rows"][key] for one in said) for key in ("sent", "acknowledged", "outstanding")},
    }


def memory_mb(parts: list[Parts]) -> tuple[float, float]:
    """Return the most memory that all brokers have had, and all collectors."""
    brokers = sum(peak_rss_mb(child_of(one.broker)) for one in parts)
    return brokers, sum(peak_rss_mb(one.collectors[0]) for one in parts)


def main() -> None:
    """Measure, print, and write the result."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--store", metavar="URL", help="an empty PostgreSQL database")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=20)
    parser.add_argument("--devices", type=int, default=50_000)
    parser.add_argument("--hold", type=float, default=90, help="seconds for which boards stay connected")
    arguments = parser.parse_args()
    there = connected(arguments.devices, arguments.hold)
    print(
        f"{there['connected']} of {there['devices']} boards at {there['brokers']} brokers: "
        f"{there['broker_kb_per_device']:.1f} KB each in the broker, "
        f"{there['collector_kb_per_device']:.1f} KB in the collector; {there['rows']}",
        flush=True,
    )
    write_result("fleet_connected", **there)
    if arguments.store:
        check_is_empty(arguments.store)
        rounds: list[dict[str, Any]] = []
        for number in range(arguments.rounds):
            one, two = (collected(count, arguments.seconds, arguments.store) for count in DIVIDED)
            ratio = two["committed_per_second"] / one["committed_per_second"]
            rounds.append({"one": one, "two": two, "ratio": ratio})
            print(
                f"{number + 1}: one {one['committed_per_second']:.0f}/s, two {two['committed_per_second']:.0f}/s, "
                f"{ratio:.2f}x  lost {one['lost'] + two['lost']}  twice {one['twice'] + two['twice']}",
                flush=True,
            )
        ratios = sorted(one["ratio"] for one in rounds)
        write_result("fleet_scale", ratio=statistics.median(ratios), ratios=ratios, rounds=rounds)


if __name__ == "__main__":
    main()
