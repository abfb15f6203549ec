"""What supervisor and workers say to each other, over a Unix socket that the agent's user alone may open.

A frame is four bytes of length, big-endian, then one message in MessagePack. Both ends are of one installation, so
messages carry no schema.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Annotated, TypeAlias

import msgspec
from msgspec import Meta

from edgeglm_agent.settings.types import Log
from edgeglm_agent.wire.manifest import UNREADABLE
from edgeglm_agent.wire.telemetry import Burst, Drift, Scalar, Severity

if TYPE_CHECKING:
    import socket
    from collections.abc import Iterator

_LENGTH = struct.Struct(">I")
MOST_BYTES = 64 * 1024 * 1024  # an input that came by MQTT may be an image


class _Message(msgspec.Struct, frozen=True, tag=True, array_like=True):
    """Base of every message."""


# worker to supervisor


class Serving(_Message, frozen=True):
    """The model is loaded, passed its golden samples, and answers from now on."""

    model: str  # name and version of the manifest
    manifest_sha256: str
    artifact: str
    scheme: str
    runtime: str
    provider: str
    passed_over: str = ""  # artifacts before it that did not load or pass, and why


class Rejoins(_Message, frozen=True):
    """What a worker says of itself that outlived its supervisor."""

    serving: Serving
    terms: str  # of the Start that it serves by
    load: int  # likewise
    at_ms: int  # begin of the window that its next part is of, by the wall clock
    uptime_ms: int  # the same since boot
    input_gone: str = ""  # why nothing comes in; empty: the input is open


class Hello(_Message, frozen=True):
    """A worker is there. It has loaded nothing yet, and asks whether it may; or it serves, and goes on."""

    slot: str
    pid: Annotated[int, Meta(ge=2)]  # is killed where it must be: 1, 0 and -1 are other processes to the kernel
    rejoins: Rejoins | None = None


class Refused(_Message, frozen=True):
    """No artifact of the model can be served here; trying again changes nothing."""

    why: str


class Part(_Message, frozen=True):
    """What a worker knows of one window; the supervisor adds time and board."""

    inferences: int
    errors: dict[str, int]
    latency_ms: bytes
    total_ms: bytes
    cpu_ms: int  # of the process, in the window
    confidence: bytes
    classes: dict[int, int]
    drift: tuple[Drift, ...]
    trace_id: str
    last_error: str = ""  # what the newest error of the window said


class Happened(_Message, frozen=True):
    """Something to tell at once."""

    name: str
    severity: Severity
    trace_id: str
    at_ms: int
    uptime_ms: int
    detail: dict[str, Scalar] = {}
    burst: Burst | None = None
    channels: tuple[float, ...] = ()


class Answered(_Message, frozen=True):
    """One answer that goes to the broker."""

    trace_id: str
    at_ms: int
    answer: bytes  # JSON
    crop: bytes = b""


class InputGone(_Message, frozen=True):
    """The input has gone, or cannot be opened, for now."""

    why: str  # empty: it is open


class Failed(_Message, frozen=True):
    """The worker ends by a fault, which is this."""

    why: str


class Idle(_Message, frozen=True):
    """The input has ended, or the worker has drained after ``Stop``: it goes now, and has not failed."""

    why: str


# whoever asks how things are, on the same socket


class StatusRequest(_Message, frozen=True):
    """`edgeglm-agent status` asks; it is answered by one report, and the connection is closed."""


class StatusReport(_Message, frozen=True):
    """How things are."""

    document: bytes  # JSON: ``edgeglm_agent.status.AgentStatus``


class RestartRequest(_Message, frozen=True):
    """`edgeglm-agent restart` asks for slots to begin anew, likewise."""

    slot: str  # empty: all of them


class RestartReport(_Message, frozen=True):
    """What became of that."""

    refused: str  # why; empty: they begin anew


# supervisor to worker


class Start(_Message, frozen=True):
    """Load the slot's model and serve."""

    settings: bytes  # MessagePack: the Slot, as builtins with kinds
    load: int
    sample_share: float
    log: Log
    drift: bool
    state_dir: str
    runtime_dir: str
    terms: str = ""  # a digest of all of this that only another Start can change
    outlives: bool = False  # the worker is systemd's, and goes on where this supervisor ends without a word


class NoSlot(_Message, frozen=True):
    """The settings have no slot of this name: go, and do not come back before they have."""

    known: tuple[str, ...]


class Hold(_Message, frozen=True):
    """Load nothing for now: the slot is in quarantine, or backs off."""

    why: str


class Flush(_Message, frozen=True):
    """Send the window's part, and begin the next."""


class Arrived(_Message, frozen=True):
    """A message for the slot's MQTT input."""

    topic: str
    payload: bytes
    dropped: int = 0  # messages before it that the worker was too busy to be given


class Adjust(_Message, frozen=True):
    """Sample from now on this share of answers."""

    sample_share: float


class SampleNow(_Message, frozen=True):
    """Send the next answers, with their inputs."""

    count: int


class Stop(_Message, frozen=True):
    """Finish what is in hand, say the last part, and go."""


FromWorker: TypeAlias = (
    Hello | Serving | Refused | Part | Happened | Answered | InputGone | Failed | Idle | StatusRequest | RestartRequest
)
ToWorker: TypeAlias = Start | NoSlot | Hold | Flush | Arrived | Adjust | SampleNow | Stop | StatusReport | RestartReport
_from_worker = msgspec.msgpack.Decoder(FromWorker)
_to_worker = msgspec.msgpack.Decoder(ToWorker)


class IpcError(OSError):
    """The other end spoke nonsense, or has gone in the middle of a message."""


def frame(message: FromWorker | ToWorker) -> bytes:
    """Return the bytes of one message."""
    body = msgspec.msgpack.encode(message)
    return _LENGTH.pack(len(body)) + body


class Frames:
    """Takes bytes as they come, gives whole messages."""

    def __init__(self, *, from_worker: bool) -> None:
        self._buffer = bytearray()
        self._decoder: msgspec.msgpack.Decoder[FromWorker] | msgspec.msgpack.Decoder[ToWorker] = (
            _from_worker if from_worker else _to_worker
        )

    def feed(self, data: bytes) -> Iterator[FromWorker | ToWorker]:
        """Return the messages that are whole now. Raises: IpcError."""
        self._buffer += data
        while len(self._buffer) >= _LENGTH.size:
            (length,) = _LENGTH.unpack_from(self._buffer)
            if length > MOST_BYTES:
                raise IpcError(f"a message of {length} bytes; at most {MOST_BYTES} are read")
            end = _LENGTH.size + length
            if len(self._buffer) < end:
                return
            body = bytes(self._buffer[_LENGTH.size : end])
            del self._buffer[:end]
            try:
                yield self._decoder.decode(body)
            except UNREADABLE as error:
                raise IpcError(f"not a message: {error}") from error


def receive(connection: socket.socket, frames: Frames) -> list[FromWorker | ToWorker] | None:
    """Wait for bytes, and return what became whole; None: the other end has gone. Raises: IpcError."""
    data = connection.recv(65536)
    return list(frames.feed(data)) if data else None
