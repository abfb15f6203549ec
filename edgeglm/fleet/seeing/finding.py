"""Which board a user means by a name."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

from edgeglm_agent.settings.types import Settings
from edgeglm_agent.suggest import nearest
from edgeglm_agent.wire import WireError
from edgeglm_agent.wire.topics import NAME, Topics

from edgeglm.errors import UserError
from edgeglm.fleet.addresses import parse_store
from edgeglm.fleet.plain import plain
from edgeglm.fleet.store.types import Device

if TYPE_CHECKING:
    from collections.abc import Sequence

    from edgeglm.fleet.store.base import StoreReader
    from edgeglm.fleet.store.types import DeviceSummary

DEFAULT_FLEET = Settings().fleet


_MOST_FLEETS = 10  # that an error names


def check_fleet(there: Sequence[str], fleet: str) -> None:
    """Refuse a fleet that no board is of, where others are known: an empty list of problems would look like health.

    Args:
        there: The fleets that the store knows; where it knows none, every name may be right.
        fleet: As the user gave it.

    Raises:
        UserError: It is none of them.
    """
    if not there or fleet in there:
        return
    near = " or ".join(f"`{plain(name, 63)}`" for name in nearest(fleet, there))
    named = ", ".join(plain(name, 63) for name in there[:_MOST_FLEETS])
    more = f", and {len(there) - _MOST_FLEETS} more" if len(there) > _MOST_FLEETS else ""
    raise UserError(
        f"no board of fleet `{plain(fleet, 63)}` is known",
        where="--fleet",
        hint=f"{f'did you mean {near}? ' if near else ''}known fleets: {named}{more}",
        code="fleet-unknown",
    )


def find(reader: StoreReader, name: str, fleet: str | None = None) -> DeviceSummary:
    """Return the board of that name.

    Args:
        reader: Of the store.
        name: A device's name, or ``fleet/device``.
        fleet: As the user gave it; None: any.

    Raises:
        UserError: There is none, or several fleets have one.
    """
    within, slash, bare = name.partition("/")
    if slash and fleet not in (None, within):
        raise _contradiction(name, within)
    fleet, device = (within, bare) if slash else (fleet, name)
    possible = NAME.match(device) and (fleet is None or NAME.match(fleet))
    if possible and fleet is not None and (found := reader.device(Device(fleet, device))) is not None:
        return found
    known = reader.devices()
    same = [summary for summary in known if summary.device.name == device and fleet in (None, summary.device.fleet)]
    if len(same) == 1:
        return same[0]
    if same:
        choices = ", ".join(plain(f"{one.device.fleet}/{one.device.name}") for one in same[:5])
        more = f", and {len(same) - 5} more" if len(same) > 5 else ""
        raise UserError(
            f"{len(same)} fleets have a board `{plain(device)}`: {choices}{more}",
            hint="write fleet/device, or give --fleet",
            code="device-ambiguous",
        )
    raise _unknown(device, fleet, known)


def addressed(name: str, fleet: str | None, store: str) -> Device:
    """Return the board that a command is for: its fleet as given, else from the store, else the agents' default.

    Raises:
        UserError: No board can have that name, the store knows none, or several.
    """
    within, slash, bare = name.partition("/")
    if slash or fleet is not None or not _is_there(store):
        device = Device(within, bare) if slash else Device(fleet or DEFAULT_FLEET, name)
        if slash and fleet not in (None, within):
            raise _contradiction(name, within)
        try:
            Topics(*device)
        except WireError as error:
            raise UserError(plain(error), code="device-unknown") from error
        return device
    from edgeglm.fleet.store.opening import open_reader

    reader = open_reader(store)
    try:
        return find(reader, name).device
    finally:
        reader.close()


def is_pattern(name: str) -> bool:
    """Tell whether a user means several boards: no name has an asterisk."""
    return "*" in name


def matching(pattern: str, fleet: str | None, store: str) -> list[Device]:
    """Return the boards that the store knows by a pattern, such as ``*``, ``gate-*`` or ``north/*``.

    Raises:
        UserError: There is no store, or no such board.
        StoreError: It cannot be read.
    """
    from edgeglm.fleet.store.opening import open_reader

    within, slash, bare = pattern.partition("/")
    if slash and fleet not in (None, within):
        raise _contradiction(pattern, within)
    fleet, names = (within, bare) if slash else (fleet, pattern)
    reader = open_reader(store)
    try:
        if fleet is not None:
            check_fleet(reader.fleets(), fleet)
        known = reader.devices(fleet)
    finally:
        reader.close()
    wanted = re.compile(".*".join(map(re.escape, names.split("*"))))
    found = [summary.device for summary in known if wanted.fullmatch(summary.device.name)]
    if not found:
        raise UserError(
            f"no board `{plain(pattern)}` is known",
            hint=f"`edgeglm fleet ls` lists the {len(known)} that are known" if known else "nothing has been heard yet",
            code="device-unknown",
        )
    return found


def _is_there(store: str) -> bool:
    path = parse_store(store)
    return not isinstance(path, Path) or path.exists()


def _contradiction(name: str, within: str) -> UserError:
    return UserError(
        f"`{plain(name)}` names fleet {plain(within)}, and --fleet another",
        hint="leave one of them out",
        code="device-ambiguous",
    )


def _unknown(device: str, fleet: str | None, known: list[DeviceSummary]) -> UserError:
    elsewhere = [summary.device for summary in known if summary.device.name == device]
    there = [summary.device.name for summary in known if fleet in (None, summary.device.fleet)]
    if elsewhere:
        hint = f"there is one in fleet {', '.join(plain(one.fleet) for one in elsewhere[:5])}"
    elif near := nearest(device, there):
        hint = f"did you mean {' or '.join(f'`{plain(word)}`' for word in near)}?"
    elif there:
        hint = f"`edgeglm fleet ls` lists the {len(there)} that are known"
    else:
        hint = f"nothing has been heard of fleet {plain(fleet)}" if fleet and known else "nothing has been heard yet"
    within = f" of fleet {plain(fleet)}" if fleet else ""
    return UserError(f"no board `{plain(device)}`{within} is known", hint=hint, code="device-unknown")
