"""What a board is asked, what it answers, and what it says of itself for as long as it runs. JSON, for people too.

MQTT 3.1.1 has neither correlation nor expiry, so id, deadline and device are in the payload.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal, TypeAlias, get_args

import msgspec
from msgspec import Meta

from edgeglm_agent.wire.manifest import UNREADABLE, WireError
from edgeglm_agent.wire.telemetry import Scalar
from edgeglm_agent.wire.topics import NAME

COMMAND_SCHEMA = 1
STATE_SCHEMA = 1
_MOST_BYTES = 65_536


class Command(msgspec.Struct, frozen=True):
    """One request; its operation is the last level of its topic."""

    schema: int  # 1
    id: str  # 1 to 63 of letters, digits, dot, hyphen, underscore; one id is obeyed once
    device: str  # whom it is for: one that was copied to another's topic is foreign
    deadline_ms: int  # Unix; after it the command is not obeyed
    args: dict[str, object] = {}  # what the operation takes, see below


# a description says what is right, to whoever sent something else
_SlotName: TypeAlias = Annotated[str, Meta(pattern=rf"\A{NAME.pattern}", description="the name of a slot")]
_Seconds: TypeAlias = Annotated[int, Meta(ge=1, le=86_400, description="a whole number from 1 to 86400")]
_Share: TypeAlias = Annotated[float, Meta(ge=0, le=1, description="a share from 0 to 1")]
_Samples: TypeAlias = Annotated[int, Meta(ge=1, le=100, description="a whole number from 1 to 100")]
_Lines: TypeAlias = Annotated[int, Meta(ge=1, le=200, description="a whole number from 1 to 200")]


class Arguments(msgspec.Struct, frozen=True):
    """Base of what operations take; itself that of one that takes nothing."""


class SampleArguments(Arguments, frozen=True):
    """Of ``sample``."""

    slot: _SlotName | None = None  # None: every one
    count: _Samples = 1  # of the next answers


class SetArguments(Arguments, frozen=True):
    """Of ``set``; what is None stays as it is."""

    window_s: _Seconds | None = None  # how long windows are from now on
    sample_share: _Share | None = None  # of answers that are sent with their inputs


class RestartArguments(Arguments, frozen=True):
    """Of ``restart``."""

    slot: _SlotName | None = None  # None: every one


class LogsArguments(Arguments, frozen=True):
    """Of ``logs``."""

    lines: _Lines = 50  # the newest


ARGUMENTS: dict[str, type[Arguments]] = {
    "ping": Arguments,
    "status": Arguments,
    "sample": SampleArguments,
    "set": SetArguments,
    "restart": RestartArguments,
    "logs": LogsArguments,
}


class Reply(msgspec.Struct, frozen=True, omit_defaults=True):
    """What became of a request."""

    schema: int  # 1
    id: str  # of the command
    op: str  # its operation
    ok: bool  # whether it was done
    said: str = ""  # what is wrong, and how to mend it
    values: dict[str, object] = {}  # what was asked for


class SlotState(msgspec.Struct, frozen=True, omit_defaults=True):
    """What serves in a slot."""

    status: Literal["starting", "serving", "waiting", "quarantined", "refused", "stopped"]  # how it is
    load: int = 0  # counts loads of a model in this slot; windows and results name it
    model: str = ""  # name and version of the manifest
    manifest_sha256: str = ""  # hex
    artifact: str = ""  # path within the model's folder
    scheme: str = ""  # how it is quantized
    runtime: str = ""  # what really ran: onnxruntime 1.31.1
    provider: str = ""  # likewise: cpu, cuda, tensorrt, xnnpack
    why: str = ""  # of waiting, quarantined and refused; of a serving one: what was passed over
    failures: int = 0  # in a row
    input_lost: str = ""  # why nothing comes in; empty: something does, or has for less than a minute


class State(msgspec.Struct, frozen=True, omit_defaults=True):
    """Birth certificate, retained; the last will is the same with ``online`` false."""

    schema: int  # 1
    device: str  # its name
    boot_id: str  # of the kernel: a late will cannot speak for a newer birth
    session: str  # of the supervisor, random
    online: bool  # false: the last will
    epoch: str = ""  # of the outbox, hex
    agent: str = ""  # version
    since_ms: int = 0  # when the agent began, by the device's clock, Unix
    clock_synchronised: bool = False  # whether something has set the clock
    window_s: int = 0  # how long windows are
    windows_at_once: int = 1  # that go in one message: nothing is due for so long
    board: dict[str, Scalar] = {}  # model, os, kernel, arch, python, memory: what one boot does not change
    slots: dict[str, SlotState] = {}  # by name


def decode_command(data: bytes) -> Command:
    """Return a command. Raises: WireError: It is none, of another schema, or larger than any."""
    if len(data) > _MOST_BYTES:
        raise WireError(f"a command of {len(data)} bytes; at most {_MOST_BYTES} are read")
    try:
        command = msgspec.json.decode(data, type=Command)
    except UNREADABLE as error:
        raise WireError(f"not a command: {error}") from error
    if command.schema != COMMAND_SCHEMA:
        raise WireError(f"command of schema {command.schema}; this version reads {COMMAND_SCHEMA}")
    return command


def check_args(op: str, args: dict[str, object]) -> Arguments:
    """Return an operation's arguments. Raises: WireError: It is none, does not take them, or has nothing to do."""
    if op not in ARGUMENTS:
        raise WireError(f"there is no operation `{op}`; there are {', '.join(ARGUMENTS)}")
    # a None in a type stands for what was not given: nobody can send it
    kinds = {
        field.name: field.type if hasattr(field.type, "__metadata__") else get_args(field.type)[0]
        for field in msgspec.structs.fields(ARGUMENTS[op])
    }
    takes = ", ".join(f"`{name}`" for name in kinds)
    for key in args:
        if key not in kinds:
            raise WireError(f"unknown argument `{key}`: `{op}` takes {takes or 'no arguments'}")
    if op == "set" and not args:
        raise WireError(f"nothing to set: {takes}")
    return ARGUMENTS[op](**{key: _checked(key, value, kinds[key]) for key, value in args.items()})


def _checked(key: str, value: object, kind: Any) -> Any:
    try:
        return msgspec.convert(value, kind)
    except UNREADABLE:
        raise WireError(f"`{key}` is {value!r:.80}: {kind.__metadata__[0].description}") from None


def decode_state(data: bytes) -> State:
    """Return a state. Raises: WireError."""
    try:
        state = msgspec.json.decode(data, type=State)
    except UNREADABLE as error:
        raise WireError(f"not a state: {error}") from error
    if state.schema != STATE_SCHEMA:
        raise WireError(f"state of schema {state.schema}; this version reads {STATE_SCHEMA}")
    return state


def encode(document: Command | Reply | State) -> bytes:
    """Return the document as JSON."""
    return msgspec.json.encode(document)
