"""What an input is: settings with ``open``, and a source that gives samples one after the other."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Protocol

import msgspec

from edgeglm_agent.ipc import Arrived
from edgeglm_agent.settings.types import InputConfig

if TYPE_CHECKING:
    from edgeglm_agent.needs import Need

__all__ = ["Arrival", "EndOfInput", "Input", "InputContext", "InputError", "InputLostError", "Source"]


class InputError(ValueError):
    """Settings of an input that cannot work here, whatever comes; the model is not started.

    Attributes:
        key: The setting that is at fault, as ``path``; empty for the input as a whole.
        hint: How to mend it.
    """

    def __init__(self, message: str, *, key: str = "", hint: str = "") -> None:
        self.key = key
        self.hint = hint
        super().__init__(message)


class InputLostError(OSError):
    """The source has gone for now (a camera pulled out, a pipe that ended): it is opened again after a while."""


class EndOfInput(Exception):  # noqa: N818 - no error: a replay has an end
    """Nothing will come any more."""


class Arrival(msgspec.Struct, kw_only=True):
    """One sample on its way through the worker."""

    sample: Any  # array without a batch axis, text, or either by input name: what ``Preprocess.one`` takes
    trace_id: str = ""  # 16 hex digits; empty: the worker gives one
    name: str = ""  # of the file, the topic, the frame: goes into the results
    at_ns: int = 0  # time.monotonic_ns() when it came in; 0: the worker takes the time
    target: Any = None  # what is right, where a replay knows it: goes into the results
    # is called once, with the answer as builtins or the error: for who waits; done: with the file that can go
    answered: Callable[[Any, Exception | None], None] | None = None
    dropped: int = 0  # samples passed over since the one before, as newer ones were there: counted as `dropped`
    fault: str = ""  # it came in damaged, and this is why: counted as `input`, and passed to ``answered``


class InputContext(msgspec.Struct, frozen=True, kw_only=True):
    """What an input may know of the slot it serves."""

    slot: str
    state_dir: Path  # the slot's own folder, which survives restarts
    runtime_dir: Path
    takes_texts: bool  # the model's preprocessing begins with `tokenize`
    batch_changes_answers: bool  # of the scheme: batching is off unless it is asked for
    input_names: tuple[str, ...]  # of the model, before preprocessing where it has several
    most_values: int | None = None  # numbers that a sample may hold, by the model's shapes; None: any number
    image_mode: Literal["rgb", "grey"] = "rgb"  # how the model takes images: see ``processing.images.image_mode``
    messages: Callable[[float], Arrived | None]  # the next message for an MQTT input, waiting so many seconds
    metrics: Callable[[], str]  # the worker's figures in the text format of Prometheus
    healthy: Callable[[], bool]


class Source(Protocol):
    """An open input. One thread reads; ``wake`` may be called from another, and in a signal's handler."""

    def read(self, timeout_s: float) -> list[Arrival]:
        """Return the samples that are there: as a rule one; several where they are to be answered in one batch.

        Args:
            timeout_s: How long to wait for the first; an empty list says that none came.

        Raises:
            InputLostError: The source has gone; ``Input.open`` is tried again after a while.
            EndOfInput: Nothing will come any more.
        """
        ...

    def stop(self) -> None:
        """Take in nothing new; what has been taken in is still read, then ``EndOfInput``."""
        ...

    def close(self) -> None:
        """Let go of devices, sockets and processes."""
        ...


class Input(InputConfig, frozen=True):
    """Base of the inputs, ours and those of packages; each has its ``tag``, which is its ``kind``."""

    def check(self) -> None:
        """Refuse settings that can work nowhere; called when the file is read: opens nothing. Raises: InputError."""

    def needs(self) -> tuple[Need, ...]:
        """Return what has to be installed beside the agent: `doctor` looks for it."""
        return ()

    def check_needs(self) -> None:
        """Raises: InputError: Something that it needs is not installed."""
        for need in self.needs():
            if not need.met:
                raise InputError(f"it needs {need.called}, which is not installed", hint=need.hint)

    def open(self, context: InputContext) -> Source:
        """Return the open source. Raises: InputError, InputLostError."""
        raise NotImplementedError
