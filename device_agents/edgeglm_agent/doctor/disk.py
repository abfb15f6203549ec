"""The disk that records wait on: whether it can be written, has room, and keeps what it took."""

from __future__ import annotations

import os
import shutil
import sqlite3
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

from edgeglm_agent.doctor._base import Finding

if TYPE_CHECKING:
    from edgeglm_agent.settings.types import Settings

_SPARE_MB = 100  # beside the outbox, for logs and results
_LEAST_MB = 20
_LEAST_INODES = 1000
_SLOW_MS = 200.0  # a commit; above it, an event takes noticeably long
_IN_MEMORY = ("tmpfs", "ramfs")


def look(settings: Settings) -> list[Finding]:
    """Look at the folder of the state, and at that of sockets."""
    state, runtime = Path(settings.state_dir), Path(settings.runtime_dir)
    found = _writable("state_dir", state)
    if found.status == "fail":
        return [found, _writable("runtime_dir", runtime)]
    return [
        _in_memory(state) or found,
        _room(state, settings.outbox.quota_mb),
        _keeps(state),
        _writable("runtime_dir", runtime),
    ]


def _writable(name: str, folder: Path) -> Finding:
    there = _nearest(folder)
    if os.access(there, os.W_OK | os.X_OK):
        return Finding(name, "ok", str(folder) if there == folder else f"{folder} will be made")
    if os.statvfs(there).f_flag & os.ST_RDONLY:
        hint = "a card that wears out, or was not unmounted, is mounted so: look at dmesg, fsck it, or replace it"
        return Finding(name, "fail", f"{folder} lies on a file system that is read-only", hint)
    hint = f"sudo install -d -o edgeglm-agent -m 700 {folder}, or name another folder by {name}"
    return Finding(name, "fail", f"{there} cannot be written by this user", hint)


def _in_memory(folder: Path) -> Finding | None:
    kind = _file_system(_nearest(folder))
    if kind not in _IN_MEMORY:
        return None
    hint = "name a folder on a disk by state_dir"
    return Finding("state_dir", "warn", f"{folder} lies in memory ({kind}): a power cut loses what waits there", hint)


def _room(folder: Path, quota_mb: int) -> Finding:
    usage = os.statvfs(_nearest(folder))
    free_mb = usage.f_bavail * usage.f_frsize // 1_000_000
    taken_mb = sum(file.stat().st_size for file in folder.glob("outbox*")) // 1_000_000
    detail = f"{free_mb} MB free; the outbox may take {quota_mb} MB"
    hint = "delete what is not needed (journalctl --vacuum-size=50M), or lower outbox.quota_mb"
    if free_mb < _LEAST_MB:
        return Finding("disk", "fail", detail, hint)
    if free_mb < quota_mb - taken_mb + _SPARE_MB:
        return Finding("disk", "warn", detail, hint)
    if usage.f_files and usage.f_favail < _LEAST_INODES:
        hint = "delete small files: a watched folder that nobody empties, for one"
        return Finding("disk", "warn", f"{usage.f_favail} files can be made, then none", hint)
    return Finding("disk", "ok", detail)


def _keeps(folder: Path) -> Finding:
    """Commit as the outbox does, in a file beside it."""
    name = "commits"
    scratch = Path(tempfile.mkdtemp(prefix=".doctor-", dir=_nearest(folder)))
    try:
        with_journal = sqlite3.connect(scratch / "try.db", isolation_level=None)
        try:
            mode = with_journal.execute("pragma journal_mode=wal").fetchone()[0]
            with_journal.execute("pragma synchronous=full")
            with_journal.execute("create table rows (body blob)")
            began = time.perf_counter()
            for _ in range(5):
                with_journal.execute("insert into rows values (zeroblob(1000))")
            took_ms = (time.perf_counter() - began) * 200
            (count,) = with_journal.execute("select count(*) from rows").fetchone()
        finally:
            with_journal.close()
    except (sqlite3.Error, OSError) as error:
        hint = "look at dmesg; a network file system, or one without locks and shared memory, holds no outbox"
        return Finding(name, "fail", f"the outbox cannot be written in {folder}: {error}", hint)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    if mode != "wal" or count != 5:
        hint = "name a folder on a local disk by state_dir"
        return Finding(name, "fail", f"{folder} takes no write-ahead log (journal mode {mode})", hint)
    if took_ms > _SLOW_MS:
        hint = "a card that is worn out commits slowly: replace it, or use an SSD"
        return Finding(name, "warn", f"a commit takes {took_ms:.0f} ms", hint)
    return Finding(name, "ok", f"SQLite commits in {took_ms:.1f} ms")


def _nearest(folder: Path) -> Path:
    while not folder.is_dir() and folder != folder.parent:
        folder = folder.parent
    return folder


def _file_system(folder: Path) -> str:
    """Return the kind of the file system that a folder lies on; empty: the kernel does not say."""
    best, kind = "", ""
    real = os.path.realpath(folder)
    try:
        mounts = Path("/proc/self/mounts").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return ""
    for line in mounts:
        _, place, name, *_ = line.split(" ")
        inside = real == place or real.startswith(place.rstrip("/") + "/")
        if inside and len(place) >= len(best):
            best, kind = place, name
    return kind
