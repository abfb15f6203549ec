"""What boards measure where nothing is wrong: made once, and used by all boards of a kind."""

from __future__ import annotations

import math
from functools import cache
from typing import TYPE_CHECKING

from edgeglm_agent.wire.telemetry import BoardReading, Drift, Power

from edgeglm.boards import BOARDS
from edgeglm.fleet.simulate.dice import Dice

if TYPE_CHECKING:
    from edgeglm.fleet.simulate.profile import BoardShare

READINGS, PLACES = 16, 32  # of a kind of board: so many in each of so many places


@cache
def readings(kind: BoardShare, place: int) -> tuple[BoardReading, ...]:
    """Return what boards of one kind measure in one of a few places, where nothing is wrong with them."""
    dice, name = Dice("readings", kind.board, place), kind.board
    is_pi, is_jetson = name.startswith("rpi"), name.startswith("jetson")
    warmth, memory_mb = dice.unit() * 6 - 3, round(BOARDS[name].memory_mb * (0.5 + 0.2 * dice.unit()))
    disk_mb = 2000 + dice.below(20_000)
    return tuple(
        BoardReading(
            cpu_permille=150 + dice.below(200),
            memory_available_mb=memory_mb + dice.below(16),
            disk_free_mb=disk_mb,
            temperature_decic=round((kind.temperature_c + warmth + dice.unit() * 2 - 1) * 10),
            throttled=0 if is_pi else None,
            undervoltage=False if is_pi else None,
            gpu_permille=300 + dice.below(200) if is_jetson else None,
            power=(Power("VDD_IN", 4800 + dice.below(800)),) if is_jetson else (),
        )
        for _ in range(READINGS)
    )


@cache
def calm_drift(*, tells_classes: bool, n: int) -> tuple[tuple[Drift, ...], ...]:
    """Return the drift of what has not moved, in 16 variants."""
    feature = "predicted" if tells_classes else "output.scores"
    return tuple((drift_of(feature, 0.0025 * variant, n),) for variant in range(16))


def drift_of(feature: str, psi: float, n: int) -> Drift:
    """Return how a window tells that a feature has moved so far."""
    return Drift(feature, round(psi * 1000), round(js_of(psi) * 1000), n)


def js_of(psi: float) -> float:
    """Return the Jensen-Shannon distance of two distributions that are this index apart, for small ones.

    The index is Jeffreys' divergence, of which the Jensen-Shannon divergence is an eighth in the limit; its root is in
    bits. Source: Lin, IEEE Transactions on Information Theory 37(1), 1991.
    """
    return min(1.0, math.sqrt(psi / 8 / math.log(2)))
