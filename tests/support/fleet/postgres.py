"""A real PostgreSQL of the tests' own: in a folder of its own, on a free port, with nobody else's settings."""

from __future__ import annotations

import itertools
import os
import shutil
import signal
import subprocess
import tempfile
import time
from pathlib import Path

import psycopg

from tests.support.agent.broker import free_port
from tests.support.agent.small_disk import SmallDisk

PATIENCE_S = 120.0  # guards against a hang; it is no speed limit
_SUPERUSER = "tests"
_AS_NOBODY = ("unshare", "--user", "--map-user=65534", "--map-group=65534", "--")  # where a disk is seen, all are root


def programs() -> Path:
    """Return the folder of PostgreSQL's programs: Debian has them out of PATH, by version."""
    versions = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"), key=lambda path: float(path.parts[-3]))
    found = shutil.which("initdb")
    assert versions or found, "PostgreSQL is not installed: make system"
    return versions[-1].parent if versions else Path(str(found)).resolve().parent


class Postgres:
    """A server; ``end`` and ``start`` it as often as you like."""

    def __init__(self, *settings: str, follows: Postgres | None = None, disk_megabytes: int | None = None) -> None:
        """Make it: empty, or as a copy that follows another and answers questions alone until it is promoted.

        ``disk_megabytes``: what it keeps lies on a disk of its own, of that size; ``disk`` is that.
        """
        self.folder = Path(tempfile.mkdtemp(prefix="postgres-", dir="/tmp"))  # a path that any user may enter
        self.port = free_port()
        self._settings = [f"-c{one}" for one in settings]
        self._user: tuple[str, ...] = ()
        self.disk: SmallDisk | None = None
        if disk_megabytes is not None:
            self.disk = SmallDisk(self.folder / "data", megabytes=disk_megabytes)
            self._user = (*self.disk.enter, *_AS_NOBODY)
        elif os.geteuid() == 0:  # it refuses to run as root
            self._user = ("setpriv", "--reuid=nobody", "--regid=nogroup", "--clear-groups")
            shutil.chown(self.folder, "nobody", "nogroup")
        self._numbers = itertools.count(1)
        self._process: subprocess.Popen[bytes] | None = None
        if follows is None:
            self._run("initdb", "-D", self.folder / "data", "-U", _SUPERUSER, "-A", "trust", "-E", "UTF8", "--no-sync")
        else:
            self._run("pg_basebackup", "-D", self.folder / "data", "-d", follows.url("postgres"), "-R", "--no-sync")
        self.start()

    def start(self) -> None:
        """Start it, and wait until it lets somebody in."""
        place = [f"-cport={self.port}", "-clisten_addresses=127.0.0.1", f"-cunix_socket_directories={self.folder}"]
        command = [*self._user, programs() / "postgres", "-D", self.folder / "data", *place, *self._settings]
        with (self.folder / "log").open("ab") as log:
            self._process = subprocess.Popen(command, stdout=log, stderr=log, stdin=subprocess.DEVNULL, cwd="/")
        give_up = time.monotonic() + PATIENCE_S
        while True:
            try:
                psycopg.connect(self.url("postgres"), connect_timeout=5).close()
            except psycopg.OperationalError:
                assert self._process.poll() is None, self.log()
                assert time.monotonic() < give_up, self.log()
                time.sleep(0.05)
            else:
                return

    def has_ended(self) -> bool:
        """Tell whether it is down."""
        return self._process is None or self._process.poll() is not None

    def end(self, how: signal.Signals = signal.SIGINT) -> None:
        """End it: at once, clients or not, and in order."""
        if self._process is not None and self._process.poll() is None:
            self._process.send_signal(how)
            self._process.wait(PATIENCE_S)

    def promote(self) -> None:
        """Let a copy become a server of its own."""
        self._run("pg_ctl", "promote", "-D", self.folder / "data")

    def remove(self) -> None:
        """End it, and leave nothing of it."""
        self.end(signal.SIGQUIT)
        if self.disk is not None:
            self.disk.remove()
        shutil.rmtree(self.folder, ignore_errors=True)

    def url(self, database: str, user: str = _SUPERUSER) -> str:
        return f"postgresql://{user}@127.0.0.1:{self.port}/{database}"

    def new_database(self) -> str:
        """Make an empty database; return its address."""
        name = f"fleet{next(self._numbers)}"
        with self.connection("postgres") as db:
            db.execute(f"create database {name}")
        return self.url(name)

    def emptied(self, url: str) -> str:
        """Remove the store of a database; return its address."""
        with self.connection(url) as db:
            db.execute("drop schema if exists edgeglm cascade")
        return url

    def connection(self, database: str) -> psycopg.Connection[tuple[object, ...]]:
        """Return a connection of a superuser's, without a transaction; given a name or an address."""
        return psycopg.connect(database if "://" in database else self.url(database), autocommit=True)

    def log(self) -> str:
        return (self.folder / "log").read_text(encoding="utf-8", errors="replace")[-3000:]

    def program(self, name: str, *arguments: str | Path) -> bytes:
        """Run one of PostgreSQL's programs; return what it says."""
        return self._run(name, *arguments)

    def _run(self, name: str, *arguments: str | Path) -> bytes:
        command = [*self._user, programs() / name, *arguments]
        done = subprocess.run(command, capture_output=True, cwd="/", timeout=PATIENCE_S)
        assert done.returncode == 0, done.stderr.decode()
        return done.stdout
