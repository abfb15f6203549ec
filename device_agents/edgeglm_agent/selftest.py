"""`edgeglm-agent selftest`: what each slot would serve here, and why, tried in a process of its own."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from edgeglm_agent.errors import Problem, UsageError
from edgeglm_agent.settings.packed import pack_slot, unpack_slot

if TYPE_CHECKING:
    from collections.abc import Sequence

    from edgeglm_agent.settings.types import Settings, Slot

_WIDTH = 80
_RUNS, _SECONDS = 50, 1.0  # of the inference that is timed, at most
_STARTS = 5  # of one slot: an artifact that kills the process twice is passed over, and the next is tried
_ANSWER_CHARACTERS = 300
_STOPPED = (signal.SIGINT, signal.SIGTERM)


class Outcome(msgspec.Struct, kw_only=True):
    """What became of one slot."""

    slot: str
    passed: bool
    model: str = ""
    artifact: str = ""
    scheme: str = ""
    runtime: str = ""
    provider: str = ""
    load_ms: float = 0.0  # with the golden samples
    latency_ms: float = 0.0  # median of one sample, the model alone
    rss_mb: float = 0.0
    answer: str = ""  # JSON: to the first golden sample
    passed_over: list[str] = []  # artifacts before it, and why
    why: str = ""  # not passed


class _Task(msgspec.Struct):
    """What the child is told on stdin."""

    name: str
    slot: bytes
    folder: str  # for its notes and its outcome


def try_slots(settings: Settings, only: Sequence[str] | None = None) -> list[Outcome]:
    """Try every slot, or those named, one after the other.

    Raises:
        UsageError: A slot is named that the settings do not have.
    """
    for name in only or []:
        if name not in settings.slots:
            from edgeglm_agent.suggest import suggestion

            hint = suggestion(name, settings.slots, what="slots")
            raise UsageError([Problem(message=f"there is no slot `{name}`", hint=hint, code="settings-no-slot")])
    return [_tried(name, slot) for name, slot in settings.slots.items() if not only or name in only]


def render(outcomes: Sequence[Outcome]) -> str:
    """Return the outcomes as lines of at most 80 characters."""
    import textwrap

    if not outcomes:
        return "no slots: there is no model to try"
    indent = max(len(outcome.slot) for outcome in outcomes) + 8
    lines = []
    for outcome in outcomes:
        first = f"{'ok' if outcome.passed else 'fail':4}  {outcome.slot}".ljust(indent)
        for text in _told(outcome):
            lines += textwrap.wrap(text, _WIDTH, initial_indent=first, subsequent_indent=" " * indent)
            first = " " * indent
    return "\n".join(lines)


def _told(outcome: Outcome) -> list[str]:
    if not outcome.passed:
        return [line for line in outcome.why.splitlines() if line.strip()] or ["failed without a word"]
    return [
        f"{outcome.model}: {outcome.artifact} ({outcome.scheme}) in {outcome.runtime} on {outcome.provider}",
        f"loaded in {outcome.load_ms:.0f} ms, golden samples passed, {outcome.latency_ms:.3g} ms an inference, "
        f"{outcome.rss_mb:.0f} MB",
        *([f"answer to the first golden sample: {outcome.answer}"] if outcome.answer else []),
        *(f"passed over: {line}" for line in outcome.passed_over),
    ]


def _tried(name: str, slot: Slot) -> Outcome:
    with tempfile.TemporaryDirectory(prefix="edgeglm-selftest-") as folder:
        task = msgspec.msgpack.encode(_Task(name, pack_slot(slot), folder))
        deaths = []
        for _ in range(_STARTS):
            try:
                child = subprocess.run(
                    [sys.executable, "-m", "edgeglm_agent.selftest"],
                    input=task,
                    stdout=subprocess.DEVNULL,  # what runtimes print
                    stderr=subprocess.PIPE,
                    timeout=slot.start_timeout_s,
                    check=False,
                )
            except subprocess.TimeoutExpired:
                why = f"it was not loaded within start_timeout_s, {slot.start_timeout_s:g} s"
                return Outcome(slot=name, passed=False, why=why)
            written = Path(folder) / "outcome.json"
            if written.exists():
                return msgspec.json.decode(written.read_bytes(), type=Outcome)
            deaths.append(_death(child.returncode, child.stderr))
            if -child.returncode in _STOPPED:
                break
        return Outcome(slot=name, passed=False, why="\n".join(dict.fromkeys(deaths)))


def _death(status: int, said: bytes) -> str:
    lines = said.decode("utf-8", "replace").strip().splitlines()
    last = f": {lines[-1]}" if lines else ""
    if status >= 0:
        return f"the process ended with status {status}{last}"
    try:
        name = signal.Signals(-status).name
    except ValueError:
        name = f"signal {-status}"
    hint = "; memory ran out, or somebody ended it" if -status == signal.SIGKILL else ""
    return f"the process died of {name}{hint}{last}"


def _child() -> None:
    """Load the model of one slot, and run it; write what came of it."""
    from edgeglm_agent.offline import go_offline

    go_offline()
    task = msgspec.msgpack.decode(sys.stdin.buffer.read(), type=_Task)
    folder = Path(task.folder)
    outcome = _loaded(task.name, unpack_slot(task.slot), folder)
    draft = folder / "outcome.draft"
    draft.write_bytes(msgspec.json.encode(outcome))
    draft.rename(folder / "outcome.json")


def _loaded(name: str, slot: Slot, state_dir: Path) -> Outcome:
    from edgeglm_agent.board.processes import usage
    from edgeglm_agent.engines import EngineError
    from edgeglm_agent.worker.model import ModelRefusedError, load_model

    try:
        model = load_model(Path(slot.model), slot=slot, state_dir=state_dir)
        latency_ms, answer = _inferred(model, Path(slot.model))
    except (ModelRefusedError, EngineError) as error:
        return Outcome(slot=name, passed=False, why=str(error))
    used = usage(os.getpid())
    return Outcome(
        slot=name,
        passed=True,
        model=f"{model.manifest.name} {model.manifest.version}".strip(),
        artifact=model.artifact.path,
        scheme=model.artifact.scheme,
        runtime=model.runtime,
        provider=model.provider,
        load_ms=round(model.load_ms, 1),
        latency_ms=round(latency_ms, 4),
        rss_mb=round(used.rss_kb / 1000, 1) if used is not None else 0.0,
        answer=answer,
        passed_over=list(model.passed_over),
    )


def _inferred(model: Any, folder: Path) -> tuple[float, str]:
    """Return the median time of one golden sample in milliseconds, and the answer to it as JSON."""
    from statistics import median

    from edgeglm_agent.golden import read_golden
    from edgeglm_agent.processing import ProcessingError, cut_to_bucket
    from edgeglm_agent.results.plain import NonFiniteError, encode_answer, plain_result

    golden = read_golden((folder / model.artifact.golden).read_bytes())
    sample = cut_to_bucket({name: values[:1] for name, values in golden.inputs.items()}, model.artifact.buckets)
    times: list[float] = []
    began = time.perf_counter()
    outputs: Any = {}
    while len(times) < _RUNS and time.perf_counter() - began < _SECONDS:
        start = time.perf_counter()
        outputs = model.engine.run(sample)
        times.append(1000 * (time.perf_counter() - start))
    try:
        made = encode_answer(plain_result(model.postprocess.one(outputs, inputs=sample))[0])
        answer = json.dumps(json.loads(made))  # with blanks, at which a line can be broken
    except (ProcessingError, NonFiniteError, KeyError, TypeError):
        answer = ""  # boxes need the image that they are found in, and golden samples hold none
    return median(times), answer if len(answer) <= _ANSWER_CHARACTERS else f"{answer[:_ANSWER_CHARACTERS]}..."


if __name__ == "__main__":
    _child()
