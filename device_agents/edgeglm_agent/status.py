"""What `edgeglm-agent status` shows, and how the supervisor is asked for it, and for restarts: over its socket."""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING

import msgspec

from edgeglm_agent import ipc
from edgeglm_agent.wire.commands import SlotState
from edgeglm_agent.wire.telemetry import Power

if TYPE_CHECKING:
    from pathlib import Path

STATUS_SCHEMA = 1


class Percentiles(msgspec.Struct, frozen=True):
    """Of a window, milliseconds; None before the first sample."""

    p50: float | None = None
    p95: float | None = None
    p99: float | None = None


class SlotStatus(msgspec.Struct, frozen=True, kw_only=True):
    """One slot: what serves there, and how it did over the last whole window (before there is one: so far)."""

    state: SlotState
    input: str = ""  # kind
    input_gone: str = ""  # why there is nothing to read, for now; empty: the input is open
    pid: int | None = None
    window_s: float = 0.0  # how long the figures below were taken
    inferences: int = 0
    per_second: float = 0.0
    errors: dict[str, int] = {}  # kind -> count, in that window
    last_error: str = ""  # what the newest said, of that window or before
    answered: int = 0  # since the supervisor started
    failed: int = 0
    latency_ms: Percentiles = Percentiles()  # the model alone
    total_ms: Percentiles = Percentiles()  # from input to result handed out
    rss_kb: int | None = None
    cpu_permille: int | None = None  # of one core
    next_start_s: float | None = None  # of a slot that waits, or is refused: until it is tried again


class QueueStatus(msgspec.Struct, frozen=True, kw_only=True):
    """What waits on disk for the collector."""

    rows: int = 0
    bytes: int = 0
    quota_bytes: int = 0
    lost: int = 0  # rows, since the outbox was made


class LinkStatus(msgspec.Struct, frozen=True, kw_only=True):
    """The broker and the collector."""

    state: str = "off"  # off: no [mqtt]; connecting, connected, waiting
    broker: str = ""  # host:port
    version: str = ""  # of MQTT that is spoken
    why: str = ""  # not connected
    since_s: float | None = None  # in this state
    acknowledged_s: float | None = None  # since the collector's last acknowledgement; None: none yet
    bytes_today: int = 0  # on the wire, since midnight UTC
    daily_bytes: int = 0  # the budget
    refused: tuple[str, ...] = ()  # what the broker does not let it hear: acknowledgements, commands, inputs' topics
    counts: dict[str, int] = {}  # what came since the start and was not obeyed, by reason, and what was


class BoardStatus(msgspec.Struct, frozen=True, kw_only=True):
    """The last reading; None where the board has no such sensor."""

    model: str = ""
    temperature_c: float | None = None
    throttled: str = ""  # in words; empty: not
    undervoltage: bool | None = None
    cpu_permille: int | None = None
    gpu_permille: int | None = None
    memory_available_mb: int | None = None
    disk_free_mb: int | None = None
    power: tuple[Power, ...] = ()
    clock_synchronised: bool = False


class AgentStatus(msgspec.Struct, frozen=True, kw_only=True):
    """The whole document."""

    schema: int = STATUS_SCHEMA
    device: str
    fleet: str
    agent: str  # version
    pid: int
    uptime_s: float  # of the supervisor
    rss_kb: int | None = None
    slots: dict[str, SlotStatus] = {}
    queue: QueueStatus = QueueStatus()
    link: LinkStatus = LinkStatus()
    board: BoardStatus = BoardStatus()


def report(status: AgentStatus) -> bytes:
    """Return the answer to a ``StatusRequest``, ready to be sent."""
    return ipc.frame(ipc.StatusReport(msgspec.json.encode(status)))


def ask(runtime_dir: Path, *, timeout_s: float = 5.0) -> AgentStatus:
    """Ask the supervisor that runs here.

    Raises:
        OSError: None runs, it is another user's, or it does not answer in time.
    """
    answer = _answer(runtime_dir, ipc.StatusRequest(), timeout_s)
    if not isinstance(answer, ipc.StatusReport):
        raise ipc.IpcError("the supervisor answered something else")
    return _decoded(answer.document)


def restart(runtime_dir: Path, slot: str = "", *, timeout_s: float = 5.0) -> str:
    """Let a slot, or all of them, begin anew; failures and quarantine are forgiven.

    Returns:
        Why that is not done; empty: it is.

    Raises:
        OSError: As ``ask``.
    """
    answer = _answer(runtime_dir, ipc.RestartRequest(slot), timeout_s)
    if not isinstance(answer, ipc.RestartReport):
        raise ipc.IpcError("the supervisor answered something else")
    return answer.refused


def _answer(
    runtime_dir: Path, request: ipc.StatusRequest | ipc.RestartRequest, timeout_s: float
) -> ipc.FromWorker | ipc.ToWorker:
    frames = ipc.Frames(from_worker=False)
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(timeout_s)
        connection.connect(str(runtime_dir / "supervisor.sock"))
        connection.sendall(ipc.frame(request))
        while (messages := ipc.receive(connection, frames)) is not None:
            if messages:
                return messages[0]
    raise ipc.IpcError("the supervisor closed the line without an answer")


def _decoded(document: bytes) -> AgentStatus:
    try:
        return msgspec.json.decode(document, type=AgentStatus)
    except msgspec.MsgspecError as error:
        raise ipc.IpcError(f"its status is of another version than this command: {error}") from error
