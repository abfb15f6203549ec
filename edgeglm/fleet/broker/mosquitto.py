"""mosquitto: where it is, and its configuration.

Its defaults lose messages: of more than 1,000 that wait for a client it drops the rest, having said that it has them.
"""

from __future__ import annotations

import os
import pwd
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from edgeglm.files import storage_errors, write_changed
from edgeglm.fleet.broker.rights import access_list

if TYPE_CHECKING:
    import signal

    from edgeglm.fleet.broker.identities import Identities
    from edgeglm.fleet.broker.settings import BrokerSettings

PLACES = "/usr/sbin:/usr/local/sbin"  # where systems put it that keep servers off the users' PATH


class Files(NamedTuple):
    """What a listener with TLS reads."""

    authority: Path
    certificate: Path
    key: Path
    revoked: Path
    rights: Path


def find_mosquitto() -> Path | None:
    """Return the program, or None where it is not installed."""
    found = shutil.which("mosquitto", path=os.pathsep.join([os.environ.get("PATH", os.defpath), PLACES]))
    return Path(found) if found else None


def configuration(*, host: str | None, port: int, database: Path, files: Files | None, user: str | None) -> str:
    """Return the text of mosquitto.conf.

    Args:
        host: Where it listens; None: everywhere.
        port: Likewise.
        database: The folder of what it keeps.
        files: Of TLS; None: plain, and everybody who reaches it may do everything.
        user: Whose rights it runs with, where it is started as root; None: mosquitto's own choice.
    """
    lines = [
        "# what would lose messages: of more than these the rest is dropped, after it was acknowledged",
        "max_queued_messages 0",
        "max_queued_bytes 0",
        "# a collector commits many at once: so many may wait for their commit",
        "max_inflight_messages 2000",
        "# sessions and what waits in them outlast a restart; a kill costs at most the last second",
        "persistence true",
        f"persistence_location {database}/",
        "autosave_interval 1",
        "# a collector that never comes back must not fill the memory: boards keep what was not committed",
        "persistent_client_expiration 1d",
        "# no batch of a board is larger, nor a sample",
        "max_packet_size 4194304",
        "set_tcp_nodelay true",
        "log_dest stderr",
        "log_type error",
        "log_type warning",
        "log_type notice",
        "log_timestamp_format %Y-%m-%dT%H:%M:%S",
        *([f"user {user}"] if user else []),
        "",
        f"listener {port}{f' {host}' if host else ''}",
    ]
    if files is None:
        lines.append("allow_anonymous true")
    else:
        lines += [
            "allow_anonymous false",
            f"cafile {files.authority}",
            f"certfile {files.certificate}",
            f"keyfile {files.key}",
            f"crlfile {files.revoked}",
            "tls_version tlsv1.2",
            "require_certificate true",
            "use_identity_as_username true",
            f"acl_file {files.rights}",
        ]
    return "\n".join([*lines, ""])


class Mosquitto:
    """A mosquitto that is started by us."""

    name = "mosquitto"

    def __init__(self, program: Path) -> None:
        self._program = program

    reload: signal.Signals | None = None  # rights go by names: who is issued a certificate needs no new ones

    def prepare(self, settings: BrokerSettings, identities: Identities | None) -> list[str]:
        """Write its configuration; return the command that starts it. Raises: StorageError."""
        database = settings.data / "mosquitto"
        with storage_errors(database):
            database.mkdir(mode=0o700, exist_ok=True)
        files = None
        if identities is not None:
            own = identities.files("broker")
            rights = settings.data / "mosquitto.acl"
            write_changed(rights, access_list(settings.fleet).encode(), mode=0o600)  # mosquitto wants it so
            files = Files(own.authority, own.certificate, own.key, identities.authority.revoked_path, rights)
        text = configuration(
            host=settings.host,
            port=settings.port,
            database=database,
            files=files,
            # as root it would become another user, who may not read this folder
            user=pwd.getpwuid(0).pw_name if os.geteuid() == 0 else None,
        )
        path = settings.data / "mosquitto.conf"
        write_changed(path, text.encode())
        return [str(self._program), "-c", str(path)]
