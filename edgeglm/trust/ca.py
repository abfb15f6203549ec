"""The authority of a fleet: it signs certificates, remembers them, and takes them back.

A folder holds all of it:

ca.pem, ca.key       its own certificate, which everybody trusts, and its key, which nobody else may have
revoked.pem          the list of certificates that count no more
issued/              a copy of each certificate, without its key
"""

from __future__ import annotations

from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from glob import escape
from typing import TYPE_CHECKING

from edgeglm.errors import MissingExtraError, UserError
from edgeglm.files import locked, private_folder, write_bytes
from edgeglm.trust.names import Certificate, Identity, Role, check_holder, files_in

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

    from edgeglm.trust.names import Files
    from edgeglm.trust.signing import Signer

DAYS: dict[Role, int] = {"device": 730, "collector": 365, "operator": 365, "broker": 365, "probe": 365}
AUTHORITY_DAYS = 3650
WARN_DAYS = 30  # before the end


class Authority:
    """One authority, in its folder."""

    def __init__(self, folder: Path) -> None:
        """Open it; it is made where there is none.

        Raises:
            MissingExtraError: The package `cryptography` is not installed.
            UserError: What is there is no authority, or others may read its key.
            StorageError: It cannot be written.
        """
        try:
            from edgeglm.trust import signing
        except ImportError as error:
            raise MissingExtraError(
                "certificates need cryptography, not installed here", hint="pip install 'edgeglm[fleet]'"
            ) from error
        self._signing = signing
        self.folder = folder
        private_folder(folder)
        private_folder(folder / "issued")
        key_path = folder / "ca.key"
        with self._held():
            # a key without a certificate that has signed nothing is what a kill has left of the lines below
            self.made = not (self.certificate_path.exists() or self._copies())
            if self.made:
                certificate, key = signing.new_authority(AUTHORITY_DAYS)
                write_bytes(key_path, key, mode=0o600)
                write_bytes(self.revoked_path, signing.Signer(certificate, key).sign_revoked([], None))
                write_bytes(self.certificate_path, certificate)  # last: it says that all is there
            self._signer = self._opened(key_path)

    @property
    def certificate_path(self) -> Path:
        """Its certificate: what boards, collectors, operators and the broker trust."""
        return self.folder / "ca.pem"

    @property
    def revoked_path(self) -> Path:
        """The list of those that count no more; always there."""
        return self.folder / "revoked.pem"

    def what_made_means(self) -> str:
        """Say what a user has to know once it was made: a second one by mistake shuts every board out."""
        return (
            f"made a new authority in {self.folder.absolute()}: keep a copy, and let nobody else have its key. "
            "Certificates of any other do not count with it: where boards have some already, remove it, and name the "
            "folder of theirs with --data or EDGEGLM_BROKER_DATA"
        )

    @property
    def ends(self) -> datetime:
        """When it counts no more, nor anything it has signed."""
        return self._signer.ends

    def issue(
        self, role: Role, name: str, *, hosts: Iterable[str] = (), days: int | None = None, renew: bool = False
    ) -> Identity:
        """Make a key, and sign a certificate for it.

        Args:
            role: What its holder may do.
            name: Whose it is; of a device, the name in its settings.
            hosts: Names and addresses that a broker is reached by.
            days: How long it counts; None: as long as its role's do. Never longer than the authority.
            renew: The holder may have one already, which goes on to count until it ends or is revoked.

        Raises:
            UserError: The name cannot be one, or has a certificate already; or the authority has ended.
            StorageError: It cannot be remembered.
        """
        check_holder(role, name)
        with self._held():
            if self.ends <= datetime.now(UTC):
                raise UserError(
                    f"the authority has ended on {self.ends:%Y-%m-%d}",
                    where=str(self.folder),
                    hint="make a new one in another folder, and give every board a certificate of it",
                    code="authority-ended",
                )
            if not renew and (old := self.valid(role, name)):
                raise exists(old[-1])
            certificate, key = self._signer.sign(role, name, hosts, DAYS[role] if days is None else days)
            # before anybody has it, so that it can be revoked
            write_bytes(self.folder / "issued" / f"{role}.{name}.{certificate.serial:x}.pem", certificate.pem)
        return Identity(certificate, key)

    def issued(self, role: Role | None = None, name: str | None = None) -> list[Certificate]:
        """Return every certificate, revoked ones too; the one that ends last is last.

        Args:
            role: None: of all.
            name: Likewise. Where both are said, copies of other holders' certificates are not even read.

        Raises:
            UserError: A file is no certificate.
        """
        found = []
        # a name may have dots, so that a file's name alone does not tell whose it is
        for path in self._copies(f"{role}.{escape(name)}.*.pem" if role and name else "*.pem"):
            try:
                certificate = self._signing.read_certificate(path.read_bytes())
            except ValueError as error:
                raise _unreadable(path, error) from error
            if role in (None, certificate.role) and name in (None, certificate.name):
                found.append(certificate)
        return sorted(found, key=lambda certificate: (certificate.ends, certificate.serial))

    def valid(self, role: Role | None = None, name: str | None = None) -> list[Certificate]:
        """Return those that count now, of one role and holder where said; the one that ends last is last."""
        revoked, now = self.revoked(), datetime.now(UTC)
        return [
            certificate
            for certificate in self.issued(role, name)
            if certificate.serial not in revoked and certificate.ends > now
        ]

    def newest(self) -> list[Certificate]:
        """Return each holder's newest certificate, ended or not; one that was revoked only where all of theirs were."""
        revoked, found = self.revoked(), self.issued()
        found.sort(key=lambda each: each.serial not in revoked)  # and by when they end, as they came
        return [*{(each.role, each.name): each for each in found}.values()]

    def expiring(self, *, within_days: int = WARN_DAYS) -> list[Certificate]:
        """Return each holder's newest certificate where that ends soon or has ended; none that was revoked."""
        revoked, limit = self.revoked(), datetime.now(UTC) + timedelta(days=within_days)
        return [each for each in self.newest() if each.ends < limit and each.serial not in revoked]

    def revoke(self, role: Role, name: str) -> list[Certificate]:
        """Let no certificate of a holder count any more; return which.

        Raises:
            UserError: The holder has none that counts.
            StorageError: The list cannot be written.
        """
        check_holder(role, name)
        with self._held():
            found = self.valid(role, name)
            if not found:
                raise UserError(
                    f"no {role} of this name has a certificate that counts",
                    where=name,
                    hint=f"{self.folder / 'issued'} has a copy of each",
                    code="certificate-unknown",
                )
            serials, made = self._signing.read_revoked(self.revoked_path.read_bytes())
            serials |= {certificate.serial for certificate in found}
            write_bytes(self.revoked_path, self._signer.sign_revoked(serials, made))
        return found

    def revoked(self) -> frozenset[int]:
        """Return the serial numbers of those that count no more. Raises: UserError: The list is none."""
        try:
            return self._signing.read_revoked(self.revoked_path.read_bytes())[0]
        except ValueError as error:
            raise _unreadable(self.revoked_path, error) from error

    def hand_out(self, identity: Identity, folder: Path, *, replace: bool = False) -> Files:
        """Write into a folder what a holder needs; the key can be read by the owner alone.

        Raises:
            UserError: Files of these names are there.
            StorageError: They cannot be written.
        """
        files = files_in(folder, identity.certificate.role, identity.certificate.name)
        if not replace:
            check_free(files)
        private_folder(folder)
        write_bytes(files.authority, self.certificate_path.read_bytes())
        write_bytes(files.key, identity.key, mode=0o600)
        write_bytes(files.certificate, identity.certificate.pem)
        return files

    def _copies(self, pattern: str = "*.pem") -> list[Path]:
        # one that is being written has a dot in front
        return [path for path in (self.folder / "issued").glob(pattern) if not path.name.startswith(".")]

    def _opened(self, key_path: Path) -> Signer:
        for path in (self.certificate_path, key_path, self.revoked_path):
            if not path.exists():
                raise UserError(
                    "the authority is not whole",
                    where=str(path),
                    hint="bring it back from a copy, or name another folder with --data: a new one is made there",
                    code="authority-damaged",
                )
        if key_path.stat().st_mode & 0o077:
            raise UserError(
                "others can read the authority's key: who has it can be any board",
                where=str(key_path),
                hint=f"chmod 600 {key_path}; if others may have read it, begin anew with another folder",
                code="authority-exposed",
            )
        try:
            return self._signing.Signer(self.certificate_path.read_bytes(), key_path.read_bytes())
        except (ValueError, TypeError) as error:
            raise _unreadable(self.certificate_path, error) from error

    @contextmanager
    def _held(self) -> Iterator[None]:
        with locked(self.folder / "lock", wait=True, what="the authority"):
            yield


def ending(ends: datetime) -> str:
    """Return "ends on 2027-03-01" or "has ended on ...", where that is soon or over; else nothing."""
    now = datetime.now(UTC)
    if ends >= now + timedelta(days=WARN_DAYS):
        return ""
    return f"{'has ended' if ends < now else 'ends'} on {ends:%Y-%m-%d}"


def exists(certificate: Certificate) -> UserError:
    """Return the error for a holder who has a certificate that counts."""
    return UserError(
        f"the {certificate.role} has a certificate, which counts until {certificate.ends:%Y-%m-%d}",
        where=certificate.name,
        hint="two boards of one name end each other's connections; --renew makes the same one another",
        code="certificate-exists",
    )


def check_free(files: Files) -> None:
    """Raises: UserError: A certificate or a key is there already."""
    for path in (files.certificate, files.key):
        if path.exists():
            raise UserError(
                "there is such a file already: nothing is overwritten",
                where=str(path),
                hint="choose another folder with -o",
                code="certificate-file",
            )


def _unreadable(path: Path, error: Exception) -> UserError:
    return UserError(
        f"cannot be read: {error}",
        where=str(path),
        hint="bring it back from a copy, or name another folder with --data: a new authority is made there",
        code="authority-damaged",
    )
