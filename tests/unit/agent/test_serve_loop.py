"""The loop of a worker: one bad sample of a batch costs itself alone, and a model that answers nothing ends it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from edgeglm_agent.engines import EngineError
from edgeglm_agent.inputs._base import Arrival, EndOfInput
from edgeglm_agent.results._base import Outcome, SinkError
from edgeglm_agent.worker.meter import Meter
from edgeglm_agent.worker.progress import Progress, ProgressReader
from edgeglm_agent.worker.sampling import Sampling
from edgeglm_agent.worker.serve import Loop, ModelBrokenError

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


class Doubling:
    """A model that doubles numbers, and fails where one of a batch is 100 or more."""

    answers_are_outputs = True

    def __init__(self, unsound: str = "") -> None:
        self._unsound = unsound
        self.asked = 0

    def unsound(self, begins: Callable[[], None]) -> str:
        begins()
        self.asked += 1
        return self._unsound

    def prepare(self, sample: Any) -> dict[str, np.ndarray]:
        return {"x": np.asarray(sample, np.float32)[np.newaxis]}

    def together(self, prepared: list[dict[str, np.ndarray]]) -> dict[str, np.ndarray]:
        return {"x": np.concatenate([one["x"] for one in prepared])}

    def run(self, inputs: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        if (inputs["x"] >= 100).any():
            raise EngineError("it fails", fault="run-failed")
        return {"y": inputs["x"] * 2}

    def judge(self, outputs: dict[str, np.ndarray], inputs: dict[str, np.ndarray], sample: Any) -> Any:
        return self.judge_all(outputs, inputs, [sample])[0]

    def judge_all(self, outputs: dict[str, np.ndarray], _: Any, samples: list[Any]) -> list[Any]:
        return [{"y": outputs["y"][row]} for row in range(len(samples))]


class Given:
    """A source that gives these batches, then ends."""

    def __init__(self, *batches: list[Arrival]) -> None:
        self._batches = list(batches)

    def read(self, _: float) -> list[Arrival]:
        if not self._batches:
            raise EndOfInput("all given")
        return self._batches.pop(0)

    def stop(self) -> None:
        pass

    def close(self) -> None:
        pass


class Kept:
    """A sink that keeps outcomes, or refuses them."""

    def __init__(self, *, full: bool = False) -> None:
        self.outcomes: list[Outcome] = []
        self._full = full

    def write(self, outcome: Outcome) -> None:
        if self._full:
            raise SinkError("no space left on device")
        self.outcomes.append(outcome)

    def close(self) -> None:
        pass


def serve(
    folder: Path,
    *batches: list[Arrival],
    sinks: tuple[Kept, ...] = (),
    model: Doubling | None = None,
    told: list[str] | None = None,
) -> tuple[Meter, ProgressReader]:
    """Serve batches until they end."""
    meter = Meter()
    heard = [] if told is None else told
    loop = Loop(
        slot="main",
        load=1,
        model=model or Doubling(),  # type: ignore[arg-type]  # what the loop asks of a model
        sinks=sinks,
        meter=meter,
        progress=Progress(folder / "main.progress"),
        sampling=Sampling(0.0, lambda _: None),
        bursts=None,
        tell=lambda name, severity, detail: heard.append(f"{name} {severity} {detail['in_a_row']} {detail['why']}"),
    )
    with pytest.raises(EndOfInput):
        loop.until_it_ends(Given(*batches), lambda: False)
    return meter, ProgressReader(folder / "main.progress")


def asked(values: list[float], heard: list[tuple[Any, Exception | None]]) -> list[Arrival]:
    return [Arrival(sample=[value], answered=lambda answer, error: heard.append((answer, error))) for value in values]


def test_one_sample_that_fails_spoils_no_other_of_its_batch(tmp_path: Path) -> None:
    heard: list[tuple[Any, Exception | None]] = []
    meter, progress = serve(tmp_path, asked([1, 2, 100, 3], heard))
    answers = [float(answer["y"][0]) for answer, error in heard if error is None]
    assert answers == [2.0, 4.0, 6.0]
    assert [str(error) for _, error in heard if error is not None] == ["it fails"]
    part = meter.take()
    assert (part.inferences, part.errors) == (3, {"run": 1})
    moment = progress.read()
    assert moment is not None
    assert (moment.answered, moment.failed, moment.began_ns) == (3, 1, 0)


def test_damaged_samples_are_counted_as_input_and_break_nothing(tmp_path: Path) -> None:
    damaged = [[Arrival(sample=None, fault="no image")] for _ in range(40)]
    meter, _ = serve(tmp_path, *damaged, asked([1.0], []))
    part = meter.take()
    assert (part.inferences, part.errors) == (1, {"input": 40})


def test_a_model_that_misses_its_golden_samples_by_now_ends_the_loop(tmp_path: Path) -> None:
    with pytest.raises(ModelBrokenError, match="the last: it fails; golden samples: max difference 0"):
        serve(tmp_path, *(asked([100.0], []) for _ in range(20)), model=Doubling("max difference 0.3"))


def test_samples_without_an_answer_break_no_sound_model(tmp_path: Path) -> None:
    model, told = Doubling(), []
    odd = [asked([100.0], []) for _ in range(40)]
    meter, progress = serve(tmp_path, *odd, asked([1.0], []), *odd[:15], model=model, told=told)
    assert model.asked == 2  # each 16 of a row; the last 15 have an answer before them
    assert told == ["inputs-without-answer warning 16 it fails"]  # once a window
    part = meter.take()
    assert (part.inferences, part.errors) == (1, {"run": 55})
    moment = progress.read()
    assert moment is not None
    assert moment.began_ns == 0


def test_a_full_disk_is_counted_and_the_other_sink_written(tmp_path: Path) -> None:
    full, kept = Kept(full=True), Kept()
    meter, _ = serve(tmp_path, asked([1.0], []), sinks=(full, kept))
    assert len(kept.outcomes) == 1
    assert len(kept.outcomes[0].trace_id) == 16
    assert meter.take().errors == {"sink": 1}
