"""What a result sink is: settings with ``open``, and something that takes answers."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import msgspec

from edgeglm_agent.inputs._base import Arrival
from edgeglm_agent.settings.types import ResultConfig

if TYPE_CHECKING:
    from edgeglm_agent.needs import Need

__all__ = ["Outcome", "ResultContext", "Sink", "SinkConfig", "SinkError"]


class SinkError(OSError):
    """An answer could not be kept (disk full, no rights): counted as `sink`; serving goes on."""


class Outcome(msgspec.Struct, kw_only=True):
    """One answer."""

    slot: str
    load: int
    trace_id: str
    at_ms: int
    arrival: Arrival
    answer: Any  # what ``plain_result`` makes of a Result: builtins, and arrays where postprocessing left some
    latency_ms: float  # of the model alone

    def line(self) -> bytes:
        """Return it as one line of JSON, without the newline."""
        from edgeglm_agent.results.plain import encode_answer  # not at the top: the supervisor reads settings only

        document: dict[str, Any] = {
            "at_ms": self.at_ms,
            "slot": self.slot,
            "load": self.load,
            "trace_id": self.trace_id,
            "latency_ms": round(self.latency_ms, 4),
        }
        if self.arrival.name:
            document["name"] = self.arrival.name
        if self.arrival.target is not None:
            document["target"] = self.arrival.target
        document["answer"] = self.answer
        return encode_answer(document)


class ResultContext(msgspec.Struct, frozen=True, kw_only=True):
    """What a sink may know of the slot it serves."""

    slot: str
    state_dir: Path  # the slot's own folder
    publish: Callable[[Outcome, bytes], None]  # into the outbox, with a crop or nothing


class Sink(Protocol):
    """An open sink; one thread writes."""

    def write(self, outcome: Outcome) -> None:
        """Take one answer. Raises: SinkError."""
        ...

    def close(self) -> None:
        """Write out what is held."""
        ...


class SinkConfig(ResultConfig, frozen=True):
    """Base of the sinks, ours and those of packages; each has its ``tag``, which is its ``kind``."""

    def needs(self) -> tuple[Need, ...]:
        """Return what has to be installed beside the agent: `doctor` looks for it."""
        return ()

    def open(self, context: ResultContext) -> Sink:
        """Return the open sink. Raises: SinkError."""
        raise NotImplementedError
