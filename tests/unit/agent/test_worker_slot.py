"""One slot in its process: an input that goes and comes back costs the worker nothing."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

import pytest
from edgeglm_agent import ipc
from edgeglm_agent.inputs._base import Arrival, EndOfInput, Input, InputContext, InputError, InputLostError
from edgeglm_agent.settings.types import Log, Slot
from edgeglm_agent.worker import outage
from edgeglm_agent.worker.slot import Worker

from tests.support.model_folders import artifact_of, load, write_folder
from tests.support.tiny_models import tiny_images, write_tiny_onnx

if TYPE_CHECKING:
    from pathlib import Path

TURNS: list[Any] = []  # what happens next: an error of `open`, or what `read` gives until it raises


class Turning(Input, tag="turning", frozen=True):
    """An input that does what ``TURNS`` says."""

    def open(self, _: InputContext) -> Any:
        turn = TURNS.pop(0)
        if isinstance(turn, Exception):
            raise turn
        return Given(turn)


class Given:
    """An open source: these batches, then this error."""

    def __init__(self, gives: list[Any]) -> None:
        self._gives = gives
        self.closed = 0

    def read(self, _: float) -> list[Arrival]:
        turn = self._gives.pop(0)
        if isinstance(turn, Exception):
            raise turn
        return [Arrival(sample=turn)]

    def stop(self) -> None:
        """Nothing waits."""

    def close(self) -> None:
        self.closed += 1


class Said:
    """The worker's line, and what was said on it."""

    slot = "main"

    def __init__(self) -> None:
        self.stopped = threading.Event()
        self.messages: list[Any] = []
        self.events: list[tuple[str, Any]] = []

    def send(self, message: Any) -> None:
        self.messages.append(message)

    def happened(self, name: str, _: str, detail: dict[str, Any], **__: Any) -> None:
        self.events.append((name, detail.get("why", detail)))

    def serve(self, handler: Any) -> None:
        """Nobody speaks."""

    def wait_until_heard(self) -> None:
        """Somebody hears."""

    def message(self, _: float) -> None:
        """No message comes."""


def test_an_input_that_may_not_be_opened_again_is_tried_until_it_may(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "model"
    folder.mkdir()
    write_folder(folder, [artifact_of(write_tiny_onnx(folder / "model.onnx"), "onnx")])
    monkeypatch.setattr(outage, "REOPEN_S", (0.0,))
    image = tiny_images(1)[0]
    denied = [InputError("slot `other` reads it with other settings") for _ in range(3)]
    TURNS[:] = [
        [image, InputLostError("pulled out")],
        InputLostError("is not there"),
        *denied,
        [image, image, EndOfInput("all given")],
    ]
    start = ipc.Start(b"", 1, 0.0, Log(), drift=False, state_dir=str(tmp_path), runtime_dir=str(tmp_path))
    line = Said()
    worker = Worker(line, start, Slot(model=str(folder), input=Turning()), load(folder), tmp_path)  # type: ignore[arg-type]
    worker.open()
    assert worker.run() == 0
    assert line.events == [("input-lost", "pulled out")]  # and that it is back, when it has been for a while
    shown = [message.why for message in line.messages if isinstance(message, ipc.InputGone)]
    assert shown == ["", "pulled out", "is not there", *map(str, denied), ""]
    serving, part, idle = [message for message in line.messages if not isinstance(message, ipc.InputGone)]
    assert (type(serving).__name__, part.inferences, part.errors, idle.why) == ("Serving", 3, {}, "all given")
