"""The certificates that a broker of ours keeps for itself and for who works beside it, renewed before they end."""

from __future__ import annotations

import socket
import ssl
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from edgeglm.fleet.broker.settings import LOCAL
from edgeglm.trust.ca import WARN_DAYS, Authority, ending
from edgeglm.trust.names import Files, Role, files_in, is_host
from edgeglm.trust.signing import read_certificate

if TYPE_CHECKING:
    from pathlib import Path

    from edgeglm.fleet.broker.settings import BrokerSettings
    from edgeglm.log import Log

_KEPT: tuple[Role, ...] = ("broker", "probe", "collector", "operator")


class Identities:
    """The authority, and what a broker shows of it."""

    def __init__(self, settings: BrokerSettings, log: Log) -> None:
        """Open the authority, which is made where there is none. Raises: UserError, StorageError."""
        self.authority = Authority(settings.trust)
        self.folder = settings.identities
        self._log = log
        own = ["localhost", "127.0.0.1", "::1", socket.gethostname(), settings.host, *settings.names]
        self._hosts = tuple(dict.fromkeys(host for host in own if is_host(host) and host not in ("0.0.0.0", "::")))  # noqa: S104 - left out
        if self.authority.made:
            log.note(self.authority.what_made_means())

    def files(self, role: Role) -> Files:
        """Return where one of ours lies."""
        return files_in(self.folder, role, LOCAL)

    def renew(self) -> bool:
        """Make what is missing or ends soon; return whether the broker's own is a new one. Raises: StorageError."""
        changed = {role: self._renewed(role) for role in _KEPT}
        for certificate in self.authority.expiring():
            self._log.warn(
                f"the certificate of {certificate.role} {certificate.name} "
                f"{ending(certificate.ends)}: "
                f"edgeglm fleet certificate {certificate.name} --role {certificate.role} --renew"
            )
        if self.authority.ends < datetime.now(UTC) + timedelta(days=12 * WARN_DAYS):
            self._log.warn(f"the authority ends on {self.authority.ends:%Y-%m-%d}, and with it every certificate")
        return changed["broker"]

    def context(self) -> ssl.SSLContext:
        """Return that of a client that is let in, and may do nothing else."""
        files = self.files("probe")
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname = False  # it is our own port; who listens there has to show a certificate of ours
        context.load_verify_locations(files.authority)
        context.load_cert_chain(files.certificate, files.key)
        return context

    def stamps(self) -> tuple[int, int]:
        """Return what changes when a certificate is issued, and when one is revoked."""
        issued = self.authority.folder / "issued"
        return issued.stat().st_mtime_ns, self.authority.revoked_path.stat().st_mtime_ns

    def _renewed(self, role: Role) -> bool:
        hosts = self._hosts if role == "broker" else ()
        if self._is_good(self.files(role), hosts):
            return False
        identity = self.authority.issue(role, LOCAL, hosts=hosts, renew=True)
        self.authority.hand_out(identity, self.folder, replace=True)
        return True

    def _is_good(self, files: Files, hosts: tuple[str, ...]) -> bool:
        try:
            certificate = read_certificate(files.certificate.read_bytes())
            ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_cert_chain(files.certificate, files.key)
        except (OSError, ValueError):  # missing, or a kill came between certificate and key
            return False
        lasts = certificate.ends > datetime.now(UTC) + timedelta(days=WARN_DAYS)
        ours = _same(files.authority, self.authority.certificate_path)
        return lasts and ours and set(hosts) <= set(certificate.hosts) and not self._is_revoked(certificate.serial)

    def _is_revoked(self, serial: int) -> bool:
        return serial in self.authority.revoked()


def _same(one: Path, other: Path) -> bool:
    return one.is_file() and one.read_bytes() == other.read_bytes()
