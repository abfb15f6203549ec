"""When the connections of simulated devices end without goodbye."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, NamedTuple

from edgeglm.fleet.simulate.faults import ReconnectStorm, Silent

if TYPE_CHECKING:
    from collections.abc import Iterable

    from edgeglm.fleet.simulate.dice import Dice
    from edgeglm.fleet.simulate.faults import Fault

_LONGEST_S = 7 * 86_400.0  # of a run without an end: what comes later is not planned


class Cut(NamedTuple):
    """A connection that ends without goodbye."""

    at: float  # seconds since the run began
    back_at: float  # when the device tries again; infinite: never


def cuts_of(faults: Iterable[Fault], dice: Dice, duration_s: float | None) -> list[Cut]:
    """Return when a device's connection ends, the first last."""
    cuts: list[Cut] = []
    for fault in faults:
        if isinstance(fault, Silent) and not fault.connected:
            cuts.append(Cut(fault.after_s, math.inf if fault.for_s is None else fault.after_s + fault.for_s))
        elif isinstance(fault, ReconnectStorm):
            at = fault.after_s
            while fault.active(at) and at <= (duration_s or _LONGEST_S):
                cuts.append(Cut(at, at + dice.unit() * fault.within_s))
                if fault.every_s is None:
                    break
                at += fault.every_s
    return sorted(cuts, reverse=True)
