"""What one process uses. Source: proc_pid_stat(5), proc_pid_statm(5), proc_pid_smaps(5)."""

from __future__ import annotations

import os
from pathlib import Path
from typing import NamedTuple

from edgeglm_agent.board.files import read_text, to_int

_ROOT = Path("/")


class Usage(NamedTuple):
    """A process at one moment."""

    rss_kb: int
    cpu_ms: int  # of all its threads since it began, user and system
    started: int  # ticks since boot: tells a process from a later one of the same number


def usage(pid: int, sysroot: Path = _ROOT) -> Usage | None:
    """Return what a process uses; None: it has gone. Costs two small files."""
    folder = sysroot / "proc" / str(pid)
    stat = read_text(folder / "stat")
    statm = (read_text(folder / "statm") or "").split()
    if stat is None or len(statm) < 2:
        return None
    words = stat.rpartition(")")[2].split()  # the name before it may hold blanks and brackets
    if len(words) < 20:
        return None
    user, system, started, pages = to_int(words[11]), to_int(words[12]), to_int(words[19]), to_int(statm[1])
    if user is None or system is None or started is None or pages is None:
        return None
    ticks = os.sysconf("SC_CLK_TCK")
    return Usage(pages * os.sysconf("SC_PAGE_SIZE") // 1024, (user + system) * 1000 // ticks, started)


def pss_kb(pid: int, sysroot: Path = _ROOT) -> int | None:
    """Return the memory of a process, with what it shares divided among those that share it.

    The kernel walks all pages for it: to be asked rarely. Needs the same user, or CAP_SYS_PTRACE.
    """
    for line in (read_text(sysroot / "proc" / str(pid) / "smaps_rollup") or "").splitlines():
        name, _, rest = line.partition(":")
        if name == "Pss":
            return to_int(rest.split()[0]) if rest.split() else None
    return None
