"""Where a broker and a store are: ``mqtts://collector@broker.example.org?ca=fleet-ca.pem``, ``sqlite:///fleet.db``."""

from __future__ import annotations

import os
import ssl
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import parse_qsl, unquote, urlsplit

import msgspec

from edgeglm.errors import UserError
from edgeglm.trust.names import is_loopback

if TYPE_CHECKING:
    from urllib.parse import SplitResult

PASSWORD_VARIABLE = "EDGEGLM_MQTT_PASSWORD"  # noqa: S105 - its name
_FORM = "mqtt://HOST:PORT, or mqtts://USER@HOST:PORT?ca=FILE&certificate=FILE&key=FILE&password_file=FILE"
_FILES = ("ca", "certificate", "key", "password_file")
_MOST_PASSWORD = 65_535


class BrokerAddress(msgspec.Struct, frozen=True):
    """A broker, and what a client shows to it. The password is in a file or in the environment, never in here."""

    host: str
    port: int
    tls: bool = False
    user: str | None = None
    ca: Path | None = None  # None: the system's authorities
    certificate: Path | None = None
    key: Path | None = None
    password_file: Path | None = None

    def __str__(self) -> str:
        """Return it as people name it, for logs."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{'mqtts' if self.tls else 'mqtt'}://{host}:{self.port}"

    def password(self) -> bytes | None:
        """Return the password, without the line's end.

        Raises:
            UserError: Its file cannot be read, or others may read it.
        """
        if self.password_file is None:
            said = os.environ.get(PASSWORD_VARIABLE)
            return None if said is None else said.encode()
        try:
            with self.password_file.open("rb") as file:
                there = os.fstat(file.fileno())
                data = file.read(_MOST_PASSWORD + 2)
        except OSError as error:
            raise _unreadable(self.password_file, error) from error
        # a secret that is mounted is another user's, for our group
        if there.st_mode & (0o077 if there.st_uid == os.geteuid() else 0o007):
            raise UserError(
                "others may read this password",
                where=str(self.password_file),
                hint=f"chmod 600 {self.password_file}; of a secret in a container, set the mode to 0400",
                code="broker-password",
            )
        return data.rstrip(b"\r\n")[:_MOST_PASSWORD]

    def warning(self) -> str:
        """Return what whoever uses it should know; nothing: all is well."""
        says = self.user is not None and (self.password_file is not None or PASSWORD_VARIABLE in os.environ)
        if self.tls or not says or is_loopback(self.host):
            return ""
        return f"{self}: the password is sent unencrypted, for everybody on the way to read; write mqtts://"

    def tls_context(self) -> ssl.SSLContext | None:
        """Return what makes a connection a trusted one; None without TLS. Raises: UserError."""
        if not self.tls:
            return None
        for path in (self.ca, self.certificate, self.key):
            if path is not None:
                try:
                    path.open("rb").close()
                except OSError as error:
                    raise _unreadable(path, error) from error
        try:
            context = ssl.create_default_context(cafile=str(self.ca) if self.ca else None)
        except ssl.SSLError as error:
            raise _no_certificate(self.ca, error) from error
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        if self.certificate is not None:
            try:
                context.load_cert_chain(self.certificate, self.key, password=_no_passphrase)
            except (ssl.SSLError, ValueError) as error:
                raise _no_certificate(self.key or self.certificate, error) from error
        return context


def parse_broker(url: str) -> BrokerAddress:
    """Return the broker that a URL names. Raises: UserError."""
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError as error:
        raise _wrong(_shown(url), f"is no address of a broker: {error}") from error
    shown = _shown(url)
    if parts.scheme not in ("mqtt", "mqtts") or not parts.hostname:
        raise _wrong(shown, "is no address of a broker")
    if parts.password is not None:
        raise _wrong(
            shown,
            "has a password in it, which every user of this machine can read",
            hint=f"put it into a file, readable by you alone, and name that: ?password_file=FILE; or set "
            f"{PASSWORD_VARIABLE}",
        )
    if parts.path not in ("", "/") or parts.fragment:
        raise _wrong(shown, f"has `{parts.path or '#' + parts.fragment}` behind the port")
    files = _files(parts, shown)
    tls = parts.scheme == "mqtts"
    if not tls and (files.keys() - {"password_file"}):
        raise _wrong(shown, "names certificates, but no TLS", hint="write mqtts://")
    if ("key" in files) and "certificate" not in files:
        raise _wrong(shown, "names a key without its certificate", hint="add certificate=FILE")
    user = unquote(parts.username) if parts.username else None
    return BrokerAddress(parts.hostname, port or (8883 if tls else 1883), tls, user, **files)


def _files(parts: SplitResult, shown: str) -> dict[str, Path]:
    found: dict[str, Path] = {}
    for key, value in parse_qsl(parts.query, keep_blank_values=True):
        if key not in _FILES:
            raise _wrong(shown, f"has an unknown setting `{key}`", hint=f"known are {', '.join(_FILES)}")
        if key in found or not value:
            raise _wrong(shown, f"says `{key}` twice" if value else f"names no file as `{key}`")
        found[key] = Path(value).expanduser()
    return found


class PostgresAddress(msgspec.Struct, frozen=True):
    """A PostgreSQL database. The password is in PGPASSWORD or ~/.pgpass, never in here."""

    conninfo: str  # as libpq takes it
    shown: str

    def __str__(self) -> str:
        """Return it as people name it, for logs."""
        return self.shown


def parse_store(url: str) -> Path | PostgresAddress:
    """Return what a store's address names: a file of SQLite's, or a PostgreSQL database. Raises: UserError.

    ``sqlite:///fleet.db`` is in the current folder, with four slashes from the root; what follows ``postgresql://`` is
    libpq's: ``USER@HOST:PORT/DATABASE?sslmode=verify-full``, several hosts too.
    """
    scheme, colon, rest = url.partition(":")
    if scheme in ("postgresql", "postgres") and colon:
        return _postgres(url)
    if scheme != "sqlite" or not rest.startswith("///") or not rest[3:]:
        raise UserError(
            "this is no address of a store",
            where=_shown(url),
            hint="sqlite:///fleet.db is a file in this folder, sqlite:////var/lib/fleet.db one from the root; "
            "postgresql://USER@HOST/DATABASE is a database",
            code="store-address",
        )
    return Path(unquote(rest[3:])).expanduser()


def _postgres(url: str) -> PostgresAddress:
    shown = _shown(url).partition("?")[0]
    rest = url.partition("://")[2]
    user, at, _ = rest.partition("?")[0].rpartition("@")
    keys = {key.lower() for key, _ in parse_qsl(rest.partition("?")[2], keep_blank_values=True)}
    if (at and ":" in user) or keys & {"password", "sslpassword"}:
        raise UserError(
            "this has a password in it, which every user of this machine can read",
            where=shown,
            hint="set PGPASSWORD, or write it into ~/.pgpass, readable by you alone; ?passfile=FILE names another",
            code="store-address",
        )
    if not rest.strip("/"):
        raise UserError(
            "this names no database", where=shown, hint="write postgresql://USER@HOST/DATABASE", code="store-address"
        )
    return PostgresAddress(url, shown)


def _no_passphrase() -> bytes:
    raise ValueError("the key is protected by a passphrase")  # or OpenSSL would ask on the terminal


def _shown(url: str) -> str:
    """Return a URL without what may be a password."""
    head, at, rest = url.rpartition("@")
    scheme, slashes, user = head.partition("://")
    return f"{scheme}{slashes}{user.partition(':')[0]}{at}{rest}" if at else url


def _wrong(shown: str, what: str, *, hint: str = f"write {_FORM}") -> UserError:
    return UserError(f"this {what}", where=shown, hint=hint, code="broker-address")


def _unreadable(path: Path, error: OSError) -> UserError:
    return UserError(
        f"cannot read: {error.strerror}",
        where=str(path),
        hint="check the path, and that you may read what is there",
        code="file-unreadable",
    )


def _no_certificate(path: Path | None, error: Exception) -> UserError:
    return UserError(
        f"cannot be used for TLS: {error}",
        where=str(path or "the system's authorities"),
        hint="PEM files are taken; a key must be the certificate's own, without a passphrase",
        code="broker-certificate",
    )
