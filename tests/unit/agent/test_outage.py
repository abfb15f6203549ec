"""An input that comes and goes is shown as it is, and told to the fleet once."""

from __future__ import annotations

import threading
from typing import Any

from edgeglm_agent import ipc
from edgeglm_agent.worker.outage import Outage


class Told:
    """The line to the supervisor, as far as an outage needs it."""

    def __init__(self) -> None:
        self.events: list[tuple[str, dict[str, Any]]] = []
        self.shown: list[str] = []
        self.something = threading.Event()

    def send(self, message: ipc.InputGone) -> None:
        self.shown.append(message.why)

    def happened(self, name: str, _: str, detail: dict[str, Any]) -> None:
        self.events.append((name, detail))
        self.something.set()


def outage(told: Told, *, sound_after_s: float = 60.0) -> Outage:
    return Outage(told, sound_after_s=sound_after_s)  # type: ignore[arg-type]  # what it asks of a line


def test_an_input_that_is_found_and_lost_each_second_is_one_event() -> None:
    told = Told()
    found = outage(told)
    waits = []
    for _ in range(7):
        found.gone("no camera", gave=False)
        waits.append(found.wait_s())
        found.opened()
    assert told.events == [("input-lost", {"why": "no camera"})]
    assert told.shown == ["no camera", ""] * 7  # whoever asks for the status sees each change
    assert waits == [1.0, 2.0, 5.0, 10.0, 30.0, 30.0, 30.0]
    found.close()


def test_one_that_gave_samples_is_opened_again_soon() -> None:
    told = Told()
    found = outage(told)
    for _ in range(4):
        found.gone("no camera", gave=False)
    found.opened()
    found.gone("it ended", gave=True)
    assert found.wait_s() == 1.0
    assert [name for name, _ in told.events] == ["input-lost"]


def test_one_that_has_been_open_for_a_while_is_back_and_what_comes_then_is_another() -> None:
    told = Told()
    found = outage(told, sound_after_s=0.01)
    found.gone("no camera", gave=False)
    found.gone("no camera", gave=False)
    found.opened()
    told.something.clear()
    assert told.something.wait(60)
    name, detail = told.events[-1]
    assert (name, detail["losses"]) == ("input-back", 2)
    found.gone("again", gave=True)
    assert told.events[-1] == ("input-lost", {"why": "again"})


def test_an_input_that_was_never_lost_is_told_nothing_of() -> None:
    told = Told()
    outage(told, sound_after_s=0.01).opened()
    assert not told.something.wait(0.1)
    assert (told.events, told.shown) == ([], [""])
