"""What tells a store from all others: a number made with it, and where it lies, so that a copy elsewhere is another."""

from __future__ import annotations

import hashlib
import os
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import psycopg

_MACHINE = Path("/etc/machine-id")  # systemd's; containers may have none


def identity_of(made: int, *place: str) -> str:
    """Return twelve hex digits: the same as long as a store stays where it is, also when it is restored there.

    Args:
        made: The number that was made with the store, and that its copies have too.
        place: Where it lies.
    """
    named = "\0".join((f"{made:012x}", *place))
    return hashlib.sha256(named.encode(errors="surrogateescape")).hexdigest()[:12]


def place_of_file(path: Path) -> tuple[str, str]:
    """Return where a file lies: which machine, and the path from the root."""
    machine = ""
    with suppress(OSError):
        machine = _MACHINE.read_text(encoding="ascii", errors="replace").strip()
    return machine, os.path.realpath(path)


def place_of_database(db: psycopg.Connection[tuple[Any, ...]]) -> tuple[str, str]:
    """Return where a database lies: which server (a standby has its primary's number), and the database's name."""
    import psycopg

    ((name,),) = db.execute("select current_database()").fetchall()
    try:
        ((server,),) = db.execute("select system_identifier from pg_control_system()").fetchall()
    except psycopg.errors.InsufficientPrivilege:
        server = ""
    return str(server), str(name)
