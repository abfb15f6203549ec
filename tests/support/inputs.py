"""What tests of the agent's inputs share: a context, and reading until something comes."""

from __future__ import annotations

import queue
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from edgeglm_agent.inputs._base import Arrival, InputContext, Source
from edgeglm_agent.ipc import Arrived

GIVE_UP_S = 30.0  # guards against a hang, not a speed limit


def context(folder: Path, *, slot: str = "main", messages: Any = None, **changes: Any) -> InputContext:
    """Return the context of a slot whose folders lie below ``folder``."""
    state, runtime = folder / "state" / slot, folder / "run"
    state.mkdir(parents=True, exist_ok=True)
    runtime.mkdir(exist_ok=True)
    arrived: queue.SimpleQueue[Arrived] = queue.SimpleQueue()
    for message in messages or []:
        arrived.put(message)

    def next_message(timeout_s: float) -> Arrived | None:
        try:
            return arrived.get(timeout=timeout_s)
        except queue.Empty:
            return None

    settings: dict[str, Any] = {"takes_texts": False, "batch_changes_answers": False, "input_names": ("x",)}
    return InputContext(
        slot=slot,
        state_dir=state,
        runtime_dir=runtime,
        messages=next_message,
        metrics=lambda: "",
        healthy=lambda: True,
        **{**settings, **changes},
    )


def read_one(source: Source) -> Arrival:
    """Return the next sample."""
    end = time.monotonic() + GIVE_UP_S
    while time.monotonic() < end:
        for arrival in source.read(1.0):
            return arrival
    raise AssertionError("no sample came")


def answered(source: Source, count: int) -> list[Arrival]:
    """Return the next samples, each answered as a worker does: a fault is an error."""
    found = []
    for _ in range(count):
        arrival = read_one(source)
        if arrival.answered is not None:
            arrival.answered(None if arrival.fault else [1.0], ValueError(arrival.fault) if arrival.fault else None)
        found.append(arrival)
    return found


def until(condition: Callable[[], Any]) -> Any:
    """Wait until something is so, and return it."""
    end = time.monotonic() + GIVE_UP_S
    while time.monotonic() < end:
        if value := condition():
            return value
        time.sleep(0.01)
    raise AssertionError("it never became so")
