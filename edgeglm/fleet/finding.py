"""Which board a user means by a name."""

from __future__ import annotations

from typing import TYPE_CHECKING

from edgeglm_agent.suggest import nearest

from edgeglm.errors import UserError
from edgeglm.fleet.plain import plain
from edgeglm.fleet.store.types import Device

if TYPE_CHECKING:
    from edgeglm.fleet.store.base import StoreReader
    from edgeglm.fleet.store.types import DeviceSummary


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
        raise UserError(
            f"`{plain(name)}` names fleet {plain(within)}, and --fleet another",
            hint="leave one of them out",
            code="device-ambiguous",
        )
    fleet, device = (within, bare) if slash else (fleet, name)
    if fleet is not None and (found := reader.device(Device(fleet, device))) is not None:
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
