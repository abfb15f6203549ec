"""When a worker has taken too long, or too much memory, and is to be ended."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from edgeglm_agent.settings.types import Slot
    from edgeglm_agent.supervisor.process import WorkerProcess

_QUIET_S = 30.0  # a worker that owes a part for so long, and computes nothing, hangs elsewhere


class Limits:
    """Those of one slot."""

    def __init__(self, slot: Slot, memory_limit_bytes: int) -> None:
        """Take the slot's own, and what holds for memory where it says none."""
        self._slot = slot
        self._memory = slot.memory_mb * 1_000_000 if slot.memory_mb else memory_limit_bytes

    def broken(
        self, process: WorkerProcess, *, starting_s: float, ending_s: float, owes_s: float
    ) -> tuple[str, str] | None:
        """Return the event that tells of a limit that is broken, and why; None: none is.

        Args:
            process: The worker's.
            starting_s: Since when it starts; 0: it does not.
            ending_s: Since when it was told to end; 0: it was not.
            owes_s: Since when it owes a window's part; 0: it owes none.
        """
        slot = self._slot
        if starting_s > slot.start_timeout_s:
            return "worker-hung", f"did not serve {slot.start_timeout_s:g} s after its start"
        if ending_s > slot.start_timeout_s:  # it hears nobody while it loads
            return "worker-hung", f"did not end {slot.start_timeout_s:g} s after it was told to"
        if process.busy_s() > slot.inference_timeout_s:
            return "worker-hung", f"one inference took longer than {slot.inference_timeout_s:g} s"
        if owes_s > _QUIET_S:
            return "worker-hung", f"did not answer for {_QUIET_S:g} s"
        rss_kb = process.rss_kb()
        if rss_kb is not None and rss_kb * 1024 > self._memory:
            return "worker-memory", f"{rss_kb // 1000} MB of {self._memory // 1_000_000} MB allowed"
        return None
