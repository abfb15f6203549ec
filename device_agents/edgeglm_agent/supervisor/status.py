"""What ``edgeglm-agent status``, and the command of that name, are told."""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING

import msgspec

from edgeglm_agent import __version__
from edgeglm_agent.board.processes import usage
from edgeglm_agent.status import AgentStatus, BoardStatus, LinkStatus, Percentiles, QueueStatus, SlotStatus
from edgeglm_agent.wire.sketch import Sketch

if TYPE_CHECKING:
    from edgeglm_agent.supervisor.run import Supervisor
    from edgeglm_agent.supervisor.slots import SlotKeeper


def agent_status(supervisor: Supervisor) -> AgentStatus:
    """Return how things are; rates and latencies are those of the last whole window."""
    own = usage(os.getpid())
    return AgentStatus(
        device=supervisor.device,
        fleet=supervisor.settings.fleet,
        agent=__version__,
        pid=os.getpid(),
        uptime_s=round(time.monotonic() - supervisor.began, 1),
        rss_kb=None if own is None else own.rss_kb,
        slots={name: _slot(supervisor, keeper) for name, keeper in supervisor.slots.items()},
        queue=_queue(supervisor),
        link=LinkStatus() if supervisor.uplink is None else supervisor.uplink.link_status(),
        board=_board(supervisor),
    )


def _slot(supervisor: Supervisor, keeper: SlotKeeper) -> SlotStatus:
    answered, failed = keeper.process.counted()
    window = supervisor.windows.last.get(keeper.name)
    status = SlotStatus(
        state=keeper.state,
        input=keeper.kind,
        input_gone=keeper.input_gone or _refused(supervisor, keeper.topic),
        pid=keeper.pid or None,
        answered=answered,
        failed=failed,
        next_start_s=keeper.next_start_s(time.monotonic()),
    )
    if window is None:
        return status
    return msgspec.structs.replace(
        status,
        window_s=window.duration_ms / 1000,
        inferences=window.inferences,
        per_second=round(window.inferences * 1000 / window.duration_ms, 3),
        errors=window.errors,
        last_error=keeper.last_error,
        latency_ms=_percentiles(window.latency_ms),
        total_ms=_percentiles(window.total_ms or window.latency_ms),
        rss_kb=window.rss_kb,
        cpu_permille=window.cpu_permille,
    )


def _refused(supervisor: Supervisor, topic: str) -> str:
    if supervisor.uplink is None or topic not in supervisor.uplink.refused:
        return ""
    return f"the broker does not let this device hear `{topic}`"


def _percentiles(packed: bytes) -> Percentiles:
    sketch = Sketch.unpack(packed)
    return Percentiles(*(sketch.quantile(share) for share in (0.5, 0.95, 0.99)))


def _queue(supervisor: Supervisor) -> QueueStatus:
    outbox = supervisor.outbox
    return QueueStatus(
        rows=sum(outbox.waiting.values()),
        bytes=outbox.stored_bytes,
        quota_bytes=supervisor.settings.outbox.quota_mb * 1_000_000,
        lost=outbox.lost_total,
    )


def _board(supervisor: Supervisor) -> BoardStatus:
    reading = supervisor.windows.reading
    tenths = reading.temperature_decic
    return BoardStatus(
        model=str(supervisor.board.facts().get("model") or ""),
        temperature_c=None if tenths is None else tenths / 10,
        throttled="" if not reading.throttled else f"0x{reading.throttled:x}",
        undervoltage=reading.undervoltage,
        cpu_permille=reading.cpu_permille,
        gpu_permille=reading.gpu_permille,
        memory_available_mb=reading.memory_available_mb,
        disk_free_mb=reading.disk_free_mb,
        power=reading.power,
        clock_synchronised=supervisor.clock_synchronised(),
    )
