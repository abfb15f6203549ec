"""Certificates for boards, collectors, operators and brokers elsewhere, from the authority in a broker's folder."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from edgeglm.errors import Problem, UserError
from edgeglm.files import private_folder
from edgeglm.trust.ca import Authority, check_free, exists
from edgeglm.trust.names import ISSUED_ROLES, check_holder, check_role, files_in, is_host

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping
    from pathlib import Path

    from edgeglm.trust.names import Files


_MOST_TOLD = 20  # of what is wrong


class Issued(NamedTuple):
    """What one holder was given."""

    files: Files
    notes: list[str]  # what the user should know


def issue(
    data: Path,
    role: str,
    folders: Mapping[str, Path],
    *,
    hosts: tuple[str, ...] = (),
    days: int | None = None,
    renew: bool,
    places: Mapping[str, str] | None = None,
) -> Iterator[Issued]:
    """Write new certificates and their keys, each into a folder of its own; yield what each holder was given.

    An authority is made for a broker alone: whoever else has a certificate is to be let in by a broker that there is.
    Names and folders are all looked at before the first certificate is made, and all that is wrong is told at once.

    Args:
        data: The broker's folder.
        role: One of ``ISSUED_ROLES``.
        folders: Name of each holder -> where its files go.
        hosts: Of a broker, what else it is reached by.
        days: How long they count; None: as long as the role's do.
        renew: The holders may have one already.
        places: Name -> where it is written, for errors.

    Raises:
        UserError: A name cannot be one, or has a certificate; files are there already; or there is no authority.
        MissingExtraError: The package `cryptography` is not installed.
        StorageError: Something cannot be written.
    """
    checked = check_role(role)
    places = places or {}
    _check_each(folders, places, lambda name: check_holder(checked, name))
    wrong = [host for host in hosts if not is_host(host)]
    if wrong or (hosts and checked != "broker"):
        raise UserError(
            f"`{wrong[0]}` is neither an address nor a host's name" if wrong else f"no {role} is reached by a name",
            where="--host",
            hint="--host is of a broker alone: broker.example.org, 192.0.2.7",
            code="certificate-name",
        )
    _check_each(folders, places, lambda name: check_free(files_in(folders[name], checked, name)))
    if checked == "broker":
        private_folder(data)
    else:
        check_authority(data)
    authority = Authority(data / "trust")
    if not renew:
        alone = next(iter(folders)) if len(folders) == 1 else None  # who need not wait until all copies are read
        held = {each.name: each for each in authority.valid(checked, alone)}

        def check_without(name: str) -> None:
            if name in held:
                raise exists(held[name])

        _check_each(folders, places, check_without)
    notes = [authority.what_made_means()] if authority.made else []
    for name, folder in folders.items():
        own = dict.fromkeys((name, *hosts)) if checked == "broker" else ()
        identity = authority.issue(checked, name, hosts=own, days=days, renew=renew)
        files = authority.hand_out(identity, folder)
        notes.append(f"{role} {name}: counts until {identity.certificate.ends:%Y-%m-%d}")
        if checked == "device" and len(folders) == 1:
            notes += _for_the_board(files)
        yield Issued(files, notes)
        notes = []


def _check_each(names: Iterable[str], places: Mapping[str, str], check: Callable[[str], object]) -> None:
    """Raises: UserError: All that is wrong, each with its place."""
    problems: list[Problem] = []
    for name in names:
        try:
            check(name)
        except UserError as error:
            problems += error.at(places.get(name, "")).problems
    if len(problems) > _MOST_TOLD:
        more = Problem(f"and {len(problems) - _MOST_TOLD} more", "mend these first", code=problems[0].code)
        problems[_MOST_TOLD:] = [more]
    if problems:
        raise UserError.of(problems)


def _for_the_board(files: Files) -> list[str]:
    there = "/etc/edgeglm-agent"
    return [
        f"in the board's agent.toml, below [mqtt], when these files lie in {there}:",
        f'tls = {{ca = "{there}/{files.authority.name}", certificate = "{there}/{files.certificate.name}", '
        f'key = "{there}/{files.key.name}"}}',
    ]


def take_back(data: Path, role: str, name: str) -> list[int]:
    """Revoke a holder's certificates; return their serial numbers.

    Raises:
        UserError: There is no authority, or the holder has no certificate that counts.
        MissingExtraError: The package `cryptography` is not installed.
        StorageError: The list cannot be written.
    """
    checked = check_holder(role, name, among=ISSUED_ROLES)
    check_authority(data)
    return [certificate.serial for certificate in Authority(data / "trust").revoke(checked, name)]


def check_authority(data: Path) -> None:
    """See that one is there, be it damaged. Raises: UserError."""
    trust = data / "trust"
    # the files that it would be missed by: one that has lost its own certificate is told by its own error
    if not (trust / "ca.pem").exists() and not any((trust / "issued").glob("*.pem")):
        raise UserError(
            "there is no authority in this folder",
            where=str(data),
            hint="name the broker's with --data or EDGEGLM_BROKER_DATA; where there is none yet, "
            "`edgeglm fleet broker` makes it, with --tls or --write-config",
            code="authority-missing",
        )
