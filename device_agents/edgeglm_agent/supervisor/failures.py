"""How often in a row a slot's worker failed: when it is tried again, and when its model is given up."""

from __future__ import annotations

import hashlib
import random
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from edgeglm_agent.settings.types import Slot
    from edgeglm_agent.supervisor.state import StateFile

# a second process that was killed serves again soon, and what goes on has time to pass before the fifth
_BACK_OFF_S = (0.0, 0.1, 0.5, 5.0, 10.0, 30.0, 60.0)


class Failures:
    """The failures of one slot; kept past a power cut, and forgiven where another model lies in its folder."""

    def __init__(self, name: str, slot: Slot, state: StateFile) -> None:
        self._slot = slot
        self._state = state
        self._memory = state.slot(name)
        if self.quarantined and self._memory.manifest_sha256 != self._manifest_sha256():
            self.forgive()

    @property
    def count(self) -> int:
        """How many, in a row."""
        return self._memory.failures

    @property
    def quarantined(self) -> str:
        """Why the model is given up; empty: it is not."""
        return self._memory.quarantined

    def add(self, why: str) -> float | None:
        """Count one; return in how many seconds the next worker may come. None: the model is given up."""
        self._memory.failures += 1
        if self.count >= self._slot.failures:
            self._memory.quarantined = f"{self.count} failures in a row, the last: {why}"
            self._memory.manifest_sha256 = self._manifest_sha256()
            self._state.save()
            return None
        self._state.save()
        wait = _BACK_OFF_S[min(self.count, len(_BACK_OFF_S)) - 1]
        return wait * random.uniform(0.75, 1.25)  # noqa: S311 - no secret: boards of one room

    def forgive(self) -> None:
        """Begin anew."""
        self._memory.failures, self._memory.quarantined = 0, ""
        self._state.save()

    def _manifest_sha256(self) -> str:
        try:
            return hashlib.sha256((Path(self._slot.model) / "manifest.json").read_bytes()).hexdigest()
        except OSError:
            return ""
