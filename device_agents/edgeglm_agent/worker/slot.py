"""One slot in its process: model, input and results are opened, served, and closed."""

from __future__ import annotations

import contextlib
import time
from pathlib import Path
from typing import TYPE_CHECKING

from edgeglm_agent import ipc
from edgeglm_agent.board import clock
from edgeglm_agent.drift import DriftMeter
from edgeglm_agent.inputs._base import EndOfInput, Input, InputContext, InputError, InputLostError, Source
from edgeglm_agent.passwords import hidden
from edgeglm_agent.processing.images import image_mode
from edgeglm_agent.results._base import Outcome, ResultContext, SinkConfig, SinkError
from edgeglm_agent.results.crops import crop_of
from edgeglm_agent.results.plain import encode_answer
from edgeglm_agent.settings.packed import unpack_slot
from edgeglm_agent.worker.burst import Bursts
from edgeglm_agent.worker.line import Handler, Line
from edgeglm_agent.worker.meter import Meter
from edgeglm_agent.worker.model import ModelRefusedError, load_model
from edgeglm_agent.worker.outage import Outage
from edgeglm_agent.worker.progress import Progress
from edgeglm_agent.worker.run import MODEL_BROKEN, limit_memory
from edgeglm_agent.worker.sampling import Sampling
from edgeglm_agent.worker.serve import Loop, ModelBrokenError

if TYPE_CHECKING:
    from edgeglm_agent.results._base import Sink
    from edgeglm_agent.settings.types import Slot
    from edgeglm_agent.worker.model import Model

_FALLS_BACK_S = 0.5  # how finely such a wait looks whether it is to end
_STUCK = 1 / 3  # of the time after which an inference has hung: /healthz says so from then on
_SAMPLE_BYTES = 65_536  # of an input that is sent for looking at
_NAMED = ("model", "artifact", "format", "scheme", "runtime", "provider")  # of a description, on /metrics


def serve_slot(line: Line, start: ipc.Start) -> int:
    """Load the model, say so, and serve; return the exit code."""
    slot = unpack_slot(start.settings)
    limit_memory(slot)
    state_dir = Path(start.state_dir) / "slots" / line.slot
    state_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
    try:
        model = load_model(Path(slot.model), slot=slot, state_dir=state_dir)
        worker = Worker(line, start, slot, model, state_dir)
        worker.open()
    except ModelRefusedError as error:
        line.send(ipc.Refused(str(error)))
        return 0
    except InputError as error:
        where = f"input.{error.key}" if error.key else "input"
        line.send(ipc.Refused(hidden(f"{where}: {error}" + (f" ({error.hint})" if error.hint else ""))))
        return 0
    return worker.run()


class Worker(Handler):
    """What the two threads of a worker share."""

    def __init__(self, line: Line, start: ipc.Start, slot: Slot, model: Model, state_dir: Path) -> None:
        self._line = line
        self._start = start
        self._slot = slot
        self._model = model
        self._state_dir = state_dir
        manifest = model.manifest
        self._drift: DriftMeter | None = None
        if start.drift and manifest.reference is not None:
            self._drift = DriftMeter(manifest.reference, manifest.inputs, model.artifact.outputs, manifest.labels)
        self._meter = Meter(self._drift)
        self._progress = Progress(Path(start.runtime_dir) / f"{line.slot}.progress", load=start.load)
        self._sampling = Sampling(start.sample_share, self._publish_sample)
        self._outage = Outage(line)
        self._source: Source | None = None
        self._window_began = _now()
        self._sinks: list[Sink] = []
        self._context = InputContext(
            slot=line.slot,
            state_dir=state_dir,
            runtime_dir=Path(start.runtime_dir),
            takes_texts=model.takes_texts,
            batch_changes_answers=model.batch_changes_answers,
            input_names=model.input_names,
            most_values=model.most_values,
            image_mode=image_mode(model.preprocess, next((s.shape for s in manifest.inputs if len(s.shape) == 3), ())),
            messages=line.message,
            metrics=self._metrics,
            healthy=self._healthy,
        )

    def open(self) -> None:
        """Open results and, once, the input. Raises: InputError."""
        context = ResultContext(slot=self._line.slot, state_dir=self._state_dir, publish=self._publish)
        for config in self._slot.results:
            assert isinstance(config, SinkConfig)  # what the loader of the settings gives
            try:
                self._sinks.append(config.open(context))
            except SinkError as error:
                raise ModelRefusedError([f"results: {error}"]) from error
        self._source = self._opened()

    def run(self) -> int:
        """Serve until the input ends or the worker is told to stop; return the exit code."""
        model = self._model
        self._line.serve(self)
        self._line.send(self._serving())
        decides = any(op.op == "threshold" for op in model.manifest.postprocess)
        bursts = Bursts(self._slot.anomaly, self._line.send) if decides else None
        loop = Loop(
            slot=self._line.slot,
            load=self._start.load,
            model=model,
            sinks=self._sinks,
            meter=self._meter,
            progress=self._progress,
            sampling=self._sampling,
            bursts=bursts,
            tell=self._line.happened,
        )
        why, code = "told to stop", 0
        try:
            self._serve(loop)
        except EndOfInput as end:
            why = hidden(str(end)) or "the input has ended"
        except ModelBrokenError as error:
            why, code = str(error), MODEL_BROKEN
        finally:
            if bursts is not None:
                bursts.close()
            self._close()
        if not code:
            self._line.wait_until_heard()
        self._line.send(self.part())
        self._line.send(ipc.Failed(f"the model answers nothing usable: {why}") if code else ipc.Idle(why))
        return code

    def part(self) -> ipc.Part:
        """Return the window's part."""
        part, self._window_began = self._meter.take(), _now()
        for change in self._drift.changes() if self._drift is not None else ():
            self._line.happened(change.name, change.severity, change.detail, trace_id=part.trace_id)
        return part

    def rejoins(self) -> ipc.Rejoins:
        """Return what a supervisor that has just come is to know."""
        return ipc.Rejoins(self._serving(), self._start.terms, self._start.load, *self._window_began, self._outage.why)

    def adjust(self, sample_share: float) -> None:
        """Sample this share from now on."""
        self._sampling.adjust(sample_share)

    def sample_now(self, count: int) -> None:
        """Send the next answers with their inputs."""
        self._sampling.now(count)

    def stop(self) -> None:
        """Take in nothing new."""
        source = self._source
        if source is not None:
            source.stop()

    def _serving(self) -> ipc.Serving:
        model = self._model
        return ipc.Serving(
            f"{model.manifest.name} {model.manifest.version}",
            model.manifest_sha256,
            model.artifact.path,
            model.artifact.scheme,
            model.runtime,
            model.provider,
            "; ".join(model.passed_over),
        )

    def _serve(self, loop: Loop) -> None:
        stopped = self._line.stopped
        while not stopped.is_set():
            if self._source is None:
                self._source = self._reopened()
                continue
            before = self._progress.handled
            try:
                loop.until_it_ends(self._source, stopped.is_set)
            except InputLostError as error:
                self._outage.gone(str(error), gave=self._progress.handled > before)
                source, self._source = self._source, None
                source.close()

    def _reopened(self) -> Source | None:
        ends = time.monotonic() + self._outage.wait_s()
        while time.monotonic() < ends and not self._line.stopped.is_set():
            self._line.stopped.wait(_FALLS_BACK_S)
        if self._line.stopped.is_set():
            return None
        try:
            return self._opened()
        except InputError as error:  # it worked before: a port that has no owner yet, say, or one of another name
            self._outage.gone(str(error), gave=False)
            return None

    def _opened(self) -> Source | None:
        """Return the open input; None: it is not there, for now. Raises: InputError."""
        config = self._slot.input
        assert isinstance(config, Input)  # what the loader of the settings gives
        try:
            source = config.open(self._context)
        except InputLostError as error:
            self._outage.gone(str(error), gave=False)
            return None
        self._outage.opened()
        return source

    def _publish(self, outcome: Outcome, crop: bytes) -> None:
        self._line.send(ipc.Answered(outcome.trace_id, outcome.at_ms, encode_answer(outcome.answer), crop))

    def _publish_sample(self, outcome: Outcome) -> None:
        try:
            crop = crop_of(outcome.arrival.sample, None, most_bytes=_SAMPLE_BYTES)
        except SinkError as error:
            self._meter.error("sink", str(error))
            crop = b""
        self._publish(outcome, crop)

    def _healthy(self) -> bool:
        """Return whether the model is stuck on no sample: long before it is taken for hung."""
        return self._progress.busy_s(time.monotonic_ns()) <= self._slot.inference_timeout_s * _STUCK

    def _metrics(self) -> str:
        from edgeglm_agent.worker.metrics import Figures, prometheus  # where it is asked for alone

        counts = self._meter.totals()
        return prometheus(
            Figures(
                slot=self._line.slot,
                serving=self._healthy(),
                model={name: str(value) for name, value in self._model.describe().items() if name in _NAMED},
                inferences=counts.inferences,
                errors=counts.errors,
                latency_ms=counts.latency,
                latency_sum_ms=counts.latency.sum,
                total_ms=counts.total,
                total_sum_ms=counts.total.sum,
            )
        )

    def _close(self) -> None:
        self._outage.close()
        source, self._source = self._source, None  # the listener may still be told to stop: not what is closed
        if source is not None:
            source.close()
        for sink in self._sinks:
            with contextlib.suppress(SinkError):
                sink.close()


def _now() -> tuple[int, int]:
    """Return the wall clock and the time since boot, milliseconds."""
    return time.time_ns() // 1_000_000, clock.uptime_ms()
