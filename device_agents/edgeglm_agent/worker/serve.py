"""The loop of a worker: a sample comes in, is prepared, run, judged, handed out, and counted."""

from __future__ import annotations

import itertools
import os
import time
from typing import TYPE_CHECKING, Any

from edgeglm_agent.engines import EngineError
from edgeglm_agent.inputs._base import EndOfInput
from edgeglm_agent.logs import log
from edgeglm_agent.processing import Decision, ProcessingError
from edgeglm_agent.results._base import Outcome, SinkError
from edgeglm_agent.results.plain import NonFiniteError, plain_result, surest

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from edgeglm_agent.inputs._base import Arrival, Source
    from edgeglm_agent.results._base import Sink
    from edgeglm_agent.wire.telemetry import Scalar, Severity
    from edgeglm_agent.worker.burst import Bursts
    from edgeglm_agent.worker.meter import Meter
    from edgeglm_agent.worker.model import Arrays, Model
    from edgeglm_agent.worker.progress import Progress
    from edgeglm_agent.worker.sampling import Sampling

WAIT_S = 1.0  # how long the source is waited for before stopping is looked at
_IN_A_ROW = 16  # samples without an answer: either the model is broken, which its golden samples tell, or they are odd


class ModelBrokenError(RuntimeError):
    """The model misses its own golden samples by now: the worker ends, and is started anew."""


class Loop:
    """Everything one slot's inference thread holds."""

    def __init__(
        self,
        *,
        slot: str,
        load: int,
        model: Model,
        sinks: Sequence[Sink],
        meter: Meter,
        progress: Progress,
        sampling: Sampling,
        bursts: Bursts | None,
        tell: Callable[[str, Severity, dict[str, Scalar]], None],
    ) -> None:
        self._slot = slot
        self._load = load
        self._model = model
        self._sinks = tuple(sinks)
        self._meter = meter
        self._progress = progress
        self._sampling = sampling
        self._bursts = bursts
        self._tell = tell
        self._numbers = itertools.count(int.from_bytes(os.urandom(8), "big"))
        self._unanswered = 0  # in a row
        self._told_in = ""  # trace of the window in which such a row was told last

    def until_it_ends(self, source: Source, stopped: Callable[[], bool]) -> None:
        """Serve what the source gives until it ends; once ``stopped`` says so, what it still holds.

        Raises:
            InputLostError: The source has gone, and is to be opened again.
            EndOfInput: Nothing will come any more.
            ModelBrokenError: See there.
        """
        single = self._single
        while True:
            arrivals = source.read(WAIT_S)
            if len(arrivals) == 1:
                single(arrivals[0])
            elif arrivals:
                self._several(arrivals)
            else:
                self._progress.seen(time.monotonic_ns())
                if self._bursts is not None:
                    self._bursts.poll()
                if stopped():
                    raise EndOfInput("told to stop")

    def _single(self, arrival: Arrival) -> None:
        began = time.monotonic_ns()
        if arrival.fault:
            self._failed(arrival, "input", ProcessingError(arrival.fault))
            return
        self._progress.begin(began)
        try:
            ready = self._model.prepare(arrival.sample)
            before = time.monotonic_ns()
            outputs = self._model.run(ready)
            after = time.monotonic_ns()
            result = self._model.judge(outputs, ready, arrival.sample)
        except (ProcessingError, EngineError) as error:
            self._failed(arrival, _kind(error), error)
        else:
            self._hand_out(arrival, result, ready, outputs, 0, began, (after - before) / 1e6)
        finally:
            self._progress.end()

    def _several(self, arrivals: list[Arrival]) -> None:
        began = time.monotonic_ns()
        self._progress.begin(began)
        try:
            good, prepared = self._prepared(arrivals)
            if not good:
                return
            try:
                batch = self._model.together(prepared)
                before = time.monotonic_ns()
                outputs = self._model.run(batch)
                after = time.monotonic_ns()
                results = self._model.judge_all(outputs, batch, [arrival.sample for arrival in good])
            except (ProcessingError, EngineError):
                for arrival in good:  # one of them spoils it: each by itself shows which
                    self._single(arrival)
                return
            each_ms = (after - before) / 1e6
            for row, (arrival, result) in enumerate(zip(good, results, strict=True)):
                self._hand_out(arrival, result, batch, outputs, row, began, each_ms)
        finally:
            self._progress.end()

    def _prepared(self, arrivals: list[Arrival]) -> tuple[list[Arrival], list[Any]]:
        """Return those that can go in, each by itself: one that cannot spoils no other."""
        good: list[Arrival] = []
        prepared: list[Arrays] = []
        for arrival in arrivals:
            ready = self._prepared_one(arrival)
            if ready is not None:
                prepared.append(ready)
                good.append(arrival)
        return good, prepared

    def _prepared_one(self, arrival: Arrival) -> Arrays | None:
        try:
            if arrival.fault:
                raise ProcessingError(arrival.fault)
            return self._model.prepare(arrival.sample)
        except ProcessingError as error:
            self._failed(arrival, "input", error)
            return None

    def _hand_out(
        self,
        arrival: Arrival,
        result: Any,
        ready: Arrays,
        outputs: Arrays,
        row: int,
        began: int,
        latency_ms: float,
    ) -> None:
        answer: Any = None
        score, index = None, 0
        written = bool(self._sinks) or self._sampling.wanted
        wanted = written or arrival.answered is not None
        try:
            if wanted:
                answer, score, index = plain_result(result)
            elif not self._model.answers_are_outputs:  # those it has looked at already
                score, index = surest(result)
        except NonFiniteError as error:
            self._failed(arrival, "non-finite", error)
            return
        self._unanswered = 0
        self._progress.answered()
        if not arrival.trace_id and (wanted or self._bursts is not None):
            arrival.trace_id = self._number()
        if arrival.answered is not None:
            arrival.answered(answer, None)
        if written:
            self._write(arrival, answer, latency_ms)
        meter = self._meter
        if arrival.dropped:
            meter.error("dropped", count=arrival.dropped)
        meter.add(latency_ms, (time.monotonic_ns() - (arrival.at_ns or began)) / 1e6)
        if score is not None:
            meter.predicted(index, score)
        meter.watch(ready, outputs, row)
        if self._bursts is not None:
            decision = result if isinstance(result, Decision) else None
            self._bursts.add(arrival, decision, lambda: self._model.channel_errors(outputs, ready, row))

    def _number(self) -> str:
        return f"{next(self._numbers) & 0xFFFFFFFFFFFFFFFF:016x}"

    def _write(self, arrival: Arrival, answer: Any, latency_ms: float) -> None:
        outcome = Outcome(
            slot=self._slot,
            load=self._load,
            trace_id=arrival.trace_id,
            at_ms=time.time_ns() // 1_000_000,
            arrival=arrival,
            answer=answer,
            latency_ms=latency_ms,
        )
        for sink in self._sinks:
            try:
                sink.write(outcome)
            except SinkError as error:  # noqa: PERF203 - one sink's fault is not the next one's
                self._meter.error("sink", str(error))
                log("warning", "result-not-kept", trace_id=arrival.trace_id, slot=self._slot, why=str(error))
        self._sampling.see(outcome)

    def _failed(self, arrival: Arrival, kind: str, error: Exception) -> None:
        """Count a sample that got no answer, and tell who waits for it, and the log: ten of them a minute."""
        if arrival.dropped:
            self._meter.error("dropped", count=arrival.dropped)
        self._meter.error(kind, str(error))
        arrival.trace_id = arrival.trace_id or self._number()
        log(
            "warning",
            "sample-failed",
            trace_id=arrival.trace_id,
            slot=self._slot,
            kind=kind,
            name=arrival.name,
            why=str(error),
        )
        self._progress.failed()
        if arrival.answered is not None:
            arrival.answered(None, error)
        if kind not in ("run", "non-finite"):
            return
        self._unanswered += 1
        if self._unanswered >= _IN_A_ROW:
            self._doubt(error)

    def _doubt(self, error: Exception) -> None:
        """Decide whether the model is broken, or what it was asked has no answer. Raises: ModelBrokenError."""
        missed = self._model.unsound(lambda: self._progress.begin(time.monotonic_ns()))
        if missed:
            raise ModelBrokenError(
                f"{self._unanswered} samples in a row without an answer, the last: {error}; golden samples: {missed}"
            )
        if self._told_in != self._meter.trace_id:  # once a window: whoever asks so may go on for long
            self._told_in = self._meter.trace_id
            self._tell("inputs-without-answer", "warning", {"in_a_row": self._unanswered, "why": str(error)[:500]})
        self._unanswered = 0


def _kind(error: Exception) -> str:
    """Return what an error is counted as."""
    if isinstance(error, EngineError) and error.fault != "bad-input":
        return "non-finite" if error.fault == "non-finite" else "run"
    return "input"
