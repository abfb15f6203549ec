"""What a mosquitto needs that the system runs, on a machine of its own: configuration, rights, certificates."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from edgeglm.errors import UserError
from edgeglm.files import private_folder, write_bytes
from edgeglm.fleet.broker.mosquitto import Files, configuration
from edgeglm.fleet.broker.rights import access_list
from edgeglm.trust.ca import Authority

if TYPE_CHECKING:
    from edgeglm.fleet.broker.settings import BrokerSettings
    from edgeglm.log import Log

PLACE = Path("/etc/mosquitto")
DATABASE = Path("/var/lib/mosquitto")
_README = f"""\
For {PLACE} on the broker's machine, with the system's mosquitto 2:

    cp * {PLACE}/ && chown mosquitto: {PLACE}/broker.key {PLACE}/acl && systemctl restart mosquitto

Copy broker.key in a way that nobody else can read it. The broker's certificate counts for a year: write this folder
anew before that. After `edgeglm fleet revoke`, copy trust/revoked.pem from the authority's folder over
{PLACE}/revoked.pem, and restart mosquitto.
"""


def write_configuration(settings: BrokerSettings, folder: Path, log: Log) -> list[Path]:
    """Write all of it into a new folder; return the files.

    Args:
        settings: Its ``names`` are what boards reach the broker by; its authority signs the broker's certificate.
        folder: Where to; must not hold anything.
        log: Is told of an authority that was made for it.

    Raises:
        UserError: No name was given, or the folder holds something.
        MissingExtraError: The package `cryptography` is not installed.
        StorageError: Something cannot be written.
    """
    if not settings.names:
        raise UserError(
            "boards must know the broker by a name or an address, which its certificate has",
            where="--write-config",
            hint="add --name broker.example.org; it can be repeated",
            code="broker-nameless",
        )
    if folder.is_dir() and any(folder.iterdir()):
        raise UserError(
            "there are files in it already: nothing is overwritten",
            where=str(folder),
            hint="name a new folder",
            code="broker-config-exists",
        )
    private_folder(settings.data)
    authority = Authority(settings.trust)
    if authority.made:
        log.note(authority.what_made_means())
    identity = authority.issue("broker", settings.names[0], hosts=settings.names, renew=True)
    names = Files(*(PLACE / name for name in ("fleet-ca.pem", "broker.pem", "broker.key", "revoked.pem", "acl")))
    text = configuration(host=None, port=settings.port, database=DATABASE, files=names, user=None)
    private_folder(folder)
    written = {
        "mosquitto.conf": (text.encode(), 0o644),
        names.rights.name: (access_list(settings.fleet).encode(), 0o600),
        names.authority.name: (authority.certificate_path.read_bytes(), 0o644),
        names.certificate.name: (identity.certificate.pem, 0o644),
        names.key.name: (identity.key, 0o600),
        names.revoked.name: (authority.revoked_path.read_bytes(), 0o644),
        "README": (_README.encode(), 0o644),
    }
    for name, (data, mode) in written.items():
        write_bytes(folder / name, data, mode=mode)
    return [folder / name for name in written]
