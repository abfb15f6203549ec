"""All boards of a profile: who each of them is, and what befalls it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from edgeglm.boards import BOARDS
from edgeglm.fleet.simulate.dice import Dice, digest
from edgeglm.fleet.simulate.tally import Tally

if TYPE_CHECKING:
    from edgeglm_agent.wire.telemetry import Scalar

    from edgeglm.fleet.simulate.faults import Fault
    from edgeglm.fleet.simulate.profile import BoardShare, ModelShare, Profile

_MODELS = {
    "rpi-zero2w": "Raspberry Pi Zero 2 W Rev 1.0",
    "rpi4": "Raspberry Pi 4 Model B Rev 1.5",
    "rpi5": "Raspberry Pi 5 Model B Rev 1.0",
    "jetson-jp6": "NVIDIA Jetson Orin Nano Developer Kit",
    "jetson-jp7": "NVIDIA Jetson AGX Thor Developer Kit",
    "x86-64": "Simulated PC",
}


class Fleet:
    """What the boards of one run share.

    Attributes:
        profile: What was asked for.
        run: What tells this run's rows from those of another run of the same profile: epochs, boots and sessions are
            made of it. All else that is said follows from the profile's seed.
        start_ms: When the run began, Unix milliseconds.
        tally: What is counted.
    """

    def __init__(self, profile: Profile, *, run: str, start_ms: int, tally: Tally | None = None) -> None:
        self.profile = profile
        self.run = run
        self.start_ms = start_ms
        self.tally = tally or Tally()
        self._faults = _befallen(profile)
        self._model_weights = [model.share for model in profile.models]
        self._board_weights = [board.share for board in profile.boards]

    def name(self, index: int) -> str:
        """Return what a device is called: numbers of one length, so that they sort."""
        width = len(str(self.profile.devices - 1))
        return f"{self.profile.prefix}{index % self.profile.devices:0{width}d}"

    def faults(self, index: int) -> tuple[Fault, ...]:
        """Return what befalls a device."""
        return self._faults.get(index, ())

    def model(self, dice: Dice) -> ModelShare:
        """Return what a slot serves."""
        return self.profile.models[dice.pick(self._model_weights)]

    def board(self, dice: Dice) -> BoardShare:
        """Return what kind of board a device is."""
        return self.profile.boards[dice.pick(self._board_weights)]

    def random_bytes(self, what: str, device: str) -> bytes:
        """Return 32 bytes of this run and device alone."""
        return digest(what, self.run, self.profile.seed, device)


def facts(board: BoardShare) -> dict[str, Scalar]:
    """Return what a board of this kind says of itself in its birth."""
    known = BOARDS[board.board]
    kind = "raspberry-pi" if board.board.startswith("rpi") else "jetson" if "jetson" in board.board else "other"
    return {
        "model": _MODELS[board.board],
        "kind": kind,
        "os": known.os,
        "arch": known.arch,
        "cores": known.threads,
        "memory_mb": known.memory_mb,
        "simulated": True,
    }


def _befallen(profile: Profile) -> dict[int, tuple[Fault, ...]]:
    """Return the faults of each device that has any: as many devices as the share says, no two faults on one of them.

    Faults of every device, and more than there are devices for, fall on those that have another already.
    """
    count = profile.devices
    order, cursor = Dice("faults", profile.seed).shuffled(count), 0
    found: dict[int, tuple[Fault, ...]] = {}
    for fault in profile.faults:
        struck = max(1, round(fault.share * count))
        for at in range(struck):
            index = order[(cursor + at) % count]
            found[index] = (*found.get(index, ()), fault)
        if struck < count:
            cursor += struck
    return found
