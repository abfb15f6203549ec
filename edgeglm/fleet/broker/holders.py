"""Who holds certificates of an authority, and until when; and names of those who shall, in a file."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Literal, TypeAlias

import msgspec
from edgeglm_agent.status_text import table

from edgeglm.errors import UserError
from edgeglm.fleet.broker.issuing import check_authority
from edgeglm.trust.ca import WARN_DAYS, Authority
from edgeglm.trust.names import Role

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from edgeglm.trust.names import Certificate

State: TypeAlias = Literal["ended", "ends-soon", "counts", "revoked"]
_FIRST: tuple[State, ...] = ("ended", "ends-soon")
_UNCUT = 10_000  # characters of a line that goes to another program


class Holder(msgspec.Struct, frozen=True, kw_only=True):
    """One, by the newest certificate that was not revoked."""

    name: str
    role: Role
    ends_ms: int
    state: State
    serial: str  # in hex, as `revoke` prints it


class Holders(msgspec.Struct, frozen=True, kw_only=True):
    """What ``fleet certificate --list --json`` prints."""

    holders: list[Holder]  # who needs a new one first
    authority_ends_ms: int  # then nothing that it has signed counts any more


def holders(data: Path, role: Role | None = None) -> Holders:
    """Return whose certificates have been issued, of one role where said.

    Args:
        data: The broker's folder.
        role: None: of all.

    Raises:
        UserError: There is no authority, or it is damaged.
        MissingExtraError: The package `cryptography` is not installed.
    """
    check_authority(data)
    authority, now = Authority(data / "trust"), datetime.now(UTC)
    revoked = authority.revoked()
    found = [
        Holder(
            name=each.name,
            role=each.role,
            ends_ms=_ms(each.ends),
            state="revoked" if each.serial in revoked else _state(each, now),
            serial=f"{each.serial:x}",
        )
        for each in authority.newest()
        if role in (None, each.role)
    ]
    return Holders(holders=sorted(found, key=_order), authority_ends_ms=_ms(authority.ends))


def render(found: Sequence[Holder], *, width: int | None) -> str:
    """Return a table, a line a holder; None for the width: nothing is cut."""
    rows = [[each.name, each.role, _day(each.ends_ms), each.state] for each in found]
    return "\n".join(table(["NAME", "ROLE", "ENDS", "STATE"], rows, width=width or _UNCUT))


def counts(found: Holders) -> str:
    """Return how many there are, of which how many are not as they should be, and when the authority ends."""
    states = [each.state for each in found.holders]
    said = {
        "ended": "whose certificate has ended",
        "ends-soon": f"whose certificate ends within {WARN_DAYS} days",
        "revoked": "revoked",
    }
    told = [f"{states.count(state)} {words}" for state, words in said.items() if state in states]
    total = f"{len(states)} holder{'' if len(states) == 1 else 's'}"
    return f"{', '.join([total, *told])}; the authority counts until {_day(found.authority_ends_ms)}"


def read_names(path: Path) -> dict[str, str]:
    """Return the names in a file, one a line, each with its place for errors; what follows a `#` is a comment.

    Raises:
        UserError: It is no text, or has no name.
        OSError: It cannot be read.
    """
    try:
        lines = path.read_text(encoding="utf-8-sig").split("\n")
    except UnicodeDecodeError as error:
        raise _no_names(path, "this is no text in UTF-8") from error
    found: dict[str, str] = {}
    for number, line in enumerate(lines, 1):
        if name := line.partition("#")[0].strip():
            found.setdefault(name, f"{path}:{number}")
    if not found:
        raise _no_names(path, "there is no name in this file")
    return found


def _no_names(path: Path, message: str) -> UserError:
    hint = "write a name a line; lines that are empty, or begin with `#`, do not count"
    return UserError(message, where=str(path), hint=hint, code="certificate-names")


def _order(holder: Holder) -> tuple[bool, int, bool, str, str]:
    """Return what sorts who needs a new one first, the soonest before; then all others by name, the revoked last."""
    first = holder.state in _FIRST
    return not first, holder.ends_ms if first else 0, holder.state == "revoked", holder.role, holder.name


def _state(certificate: Certificate, now: datetime) -> State:
    if certificate.ends <= now:
        return "ended"
    return "ends-soon" if certificate.ends < now + timedelta(days=WARN_DAYS) else "counts"


def _ms(moment: datetime) -> int:
    return int(moment.timestamp() * 1000)


def _day(ms: int) -> str:
    return f"{datetime.fromtimestamp(ms / 1000, UTC):%Y-%m-%d}"
