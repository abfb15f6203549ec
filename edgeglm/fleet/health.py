"""What is wrong with a board, told by what it said last. Pure: a summary in, problems out, each with its reason."""

from __future__ import annotations

from collections import Counter
from functools import lru_cache
from typing import TYPE_CHECKING, Literal, NamedTuple, TypeAlias, get_args

import msgspec
from edgeglm_agent.board.pi import NAMES as THROTTLED
from edgeglm_agent.status_text import duration
from edgeglm_agent.wire import WireError
from edgeglm_agent.wire.sketch import Sketch

from edgeglm.fleet.plain import plain

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from edgeglm_agent.wire.commands import SlotState
    from edgeglm_agent.wire.telemetry import Window

    from edgeglm.fleet.store.types import DeviceSummary, SlotSummary

# the worst first
Kind: TypeAlias = Literal[
    "silent",
    "down",
    "no-input",
    "erroring",
    "throttled",
    "hot",
    "drifting",
    "slow",
    "busy",
    "gaps",
    "restored",
    "clock",
    "wrong-model",  # as all boards are that have a roll-out before them, or behind them
]
KINDS: tuple[Kind, ...] = get_args(Kind)


class Thresholds(msgspec.Struct, frozen=True, kw_only=True):
    """From where on something is a problem; alert rules are written from the same figures."""

    silent_windows: int = 3  # of the board's own length without one
    least_silence_s: int = 15  # windows of a second come unevenly
    p95_ms: float = 500.0  # from input to result handed out
    error_share: float = 0.01  # of samples
    least_samples: int = 20  # of a window; one of fewer is erring only where more than half of them failed
    cpu_share: float = 0.80  # of all cores
    temperature_c: float = 80.0  # the firmware of a Raspberry Pi begins to slow it down here
    drift_psi: float = 0.25  # edgeglm_agent.drift.LIMIT, which cannot be imported without numpy
    clock_ahead_s: float = 60.0
    clock_behind_s: float = 7200.0  # more, since the way is in it: a board over its byte budget lets windows wait
    gap_lately_h: float = 24.0
    least_majority: int = 3  # boards that run the same, before another is wrong
    crashes: int = 2  # of a worker in a row; one alone is in its windows


THRESHOLDS = Thresholds()
_MOST_PSI = 999.0  # that is shown: a board may tell any number
WINDOW_S = 300  # of a board that has not said: the agent's own default


class HealthProblem(msgspec.Struct, frozen=True):
    """One thing that is wrong with one board."""

    kind: Kind
    reason: str  # in words and numbers; nothing in it moves a cursor
    slot: str = ""  # empty: the board itself


class Usual(NamedTuple):
    """What most boards of a fleet run in a slot."""

    manifest_sha256: str
    model: str
    boards: int  # that run it
    of: int  # that say what they run


def usual_models(
    summaries: Iterable[DeviceSummary], thresholds: Thresholds = THRESHOLDS
) -> dict[tuple[str, str], Usual]:
    """Return, by fleet and slot, what more than half of the boards run, where enough say so."""
    found: dict[tuple[str, str], Counter[str]] = {}
    models: dict[str, str] = {}
    for summary in summaries:
        for name, slot in (summary.state.slots if summary.state else {}).items():
            if slot.manifest_sha256:
                found.setdefault((summary.device.fleet, name), Counter())[slot.manifest_sha256] += 1
                models.setdefault(slot.manifest_sha256, slot.model)
    usual: dict[tuple[str, str], Usual] = {}
    for key, counts in found.items():
        sha256, boards = counts.most_common(1)[0]
        if boards >= thresholds.least_majority and 2 * boards > counts.total():
            usual[key] = Usual(sha256, models[sha256], boards, counts.total())
    return usual


def problems(
    summary: DeviceSummary,
    now_ms: int,
    usual: Mapping[tuple[str, str], Usual] | None = None,
    thresholds: Thresholds = THRESHOLDS,
) -> list[HealthProblem]:
    """Return what is wrong with a board, the worst first; of what its windows say, the newest of each slot counts.

    Drift is what the board has raised and not cleared, each after two windows in a row.

    Args:
        summary: What the store knows of it.
        now_ms: By the clock that ``received_ms`` is of.
        usual: See ``usual_models``; without it no model is wrong for being another than most boards run.
        thresholds: From where on something is a problem.
    """
    found = [
        *_silent(summary, now_ms, thresholds),
        *_slots(summary, thresholds),
        *_wrong_models(summary, usual or {}),
        *_board(summary, thresholds),
        *_gaps(summary, now_ms, thresholds),
        *_restored(summary, now_ms, thresholds),
        *_clock(summary, thresholds),
    ]
    for slot in current_slots(summary):
        found += _slot(slot.window, thresholds)
        found += _drifting(slot, now_ms, thresholds)
    return sorted(found, key=lambda problem: KINDS.index(problem.kind))


def current_slots(summary: DeviceSummary) -> list[SlotSummary]:
    """Return what the slots did last that the board still has: one that was taken out of its settings says no more."""
    state = summary.state
    return [slot for name, slot in summary.slots.items() if state is None or not state.slots or name in state.slots]


def newest(summary: DeviceSummary) -> SlotSummary | None:
    """Return the window that came last."""
    return max(current_slots(summary), key=lambda slot: (slot.received_ms, slot.at_ms), default=None)


def offline(summary: DeviceSummary) -> bool:
    """Tell whether its last will is the last that was heard of the board."""
    heard = max((slot.received_ms for slot in summary.slots.values()), default=0)
    return summary.state is not None and not summary.state.online and summary.state_ms >= heard


def heard_ms(summary: DeviceSummary) -> int:
    """Return when a board last sent a window, or said that it is there."""
    last, state = newest(summary), summary.state
    heard = [last.received_ms] if last else []
    heard += [summary.state_ms] if state and state.online else []
    return max(heard, default=summary.last_seen_ms)


def due_s(summary: DeviceSummary) -> int:
    """Return how long a board may take from one message to the next."""
    state = summary.state
    return ((state.window_s if state else 0) or WINDOW_S) * (state.windows_at_once if state else 1)


@lru_cache(maxsize=16_384)  # newest windows are asked again and again, by lists and by rules
def quantile_ms(packed: bytes, share: float) -> float | None:
    """Return a percentile of a packed sketch; None: it is empty or damaged."""
    try:
        return Sketch.unpack(packed).quantile(share)
    except WireError:
        return None


def error_share(window: Window) -> float | None:
    """Return which share of samples failed; None: there were none."""
    failed = sum(window.errors.values())
    return failed / (failed + window.inferences) if failed + window.inferences > 0 else None


def _silent(summary: DeviceSummary, now_ms: int, limits: Thresholds) -> Iterator[HealthProblem]:
    last = newest(summary)
    came = f"its last window came {ago(last.received_ms, now_ms)}" if last else "no window ever came"
    if offline(summary):
        yield HealthProblem("silent", f"offline: its connection ended {ago(summary.state_ms, now_ms)}; {came}")
        return
    state, window_s = summary.state, due_s(summary)
    silence_s = (now_ms - heard_ms(summary)) / 1000
    if silence_s > max(limits.silent_windows * window_s, limits.least_silence_s):
        stands = "; as far as the broker knows it is connected" if state and state.online else ""
        yield HealthProblem("silent", f"{came}: something is due every {duration(window_s)}{stands}")


def _slots(summary: DeviceSummary, limits: Thresholds) -> Iterator[HealthProblem]:
    """Tell of slots that do not do their work, as the board says of itself."""
    for name, slot in (summary.state.slots if summary.state else {}).items():
        why = f": {plain(slot.why, 120)}" if slot.why else ""
        what = f"{plain(slot.model, 60)} is" if slot.model else "it is"
        if slot.status in ("quarantined", "refused"):
            yield HealthProblem("down", f"{what} {slot.status}{why}", name)
        elif slot.failures >= limits.crashes:
            yield HealthProblem(
                "down", f"its worker failed {slot.failures} times in a row; {what} {slot.status}{why}", name
            )
        if slot.input_lost:
            yield HealthProblem("no-input", f"nothing comes in: {plain(slot.input_lost, 120)}", name)


def _wrong_models(summary: DeviceSummary, usual: Mapping[tuple[str, str], Usual]) -> Iterator[HealthProblem]:
    for name, slot in (summary.state.slots if summary.state else {}).items():
        due = usual.get((summary.device.fleet, name))
        runs_other = slot.manifest_sha256 or slot.model  # one that never came up may have no manifest to tell
        if due is None or runs_other in ("", due.manifest_sha256, due.model):
            continue
        runs = (
            f"it runs {_model(slot.model, slot.manifest_sha256)}"
            if slot.manifest_sha256
            else f"it is given {plain(slot.model, 60)}"
        )
        right = f"{due.boards} of {due.of} boards run {_model(due.model, due.manifest_sha256)}"
        yield HealthProblem("wrong-model", f"{runs}; {right}", name)


def _model(model: str, sha256: str) -> str:
    return f"{plain(model, 60)} (manifest {plain(sha256[:8])})"


def _board(summary: DeviceSummary, limits: Thresholds) -> Iterator[HealthProblem]:
    last = newest(summary)
    board = last.window.board if last else None
    if board is None:
        return
    now = [name for bit, name in THROTTLED.items() if (board.throttled or 0) & bit]
    if board.undervoltage and "under-voltage" not in now:
        now.insert(0, "under-voltage")
    degrees = None if board.temperature_decic is None else board.temperature_decic / 10
    if now:
        yield HealthProblem("throttled", f"{', '.join(now)}{'' if degrees is None else f', at {degrees:.1f} C'}")
    if degrees is not None and degrees >= limits.temperature_c:
        yield HealthProblem("hot", f"{degrees:.1f} C; the limit is {limits.temperature_c:g} C")
    if board.cpu_permille is not None and board.cpu_permille > limits.cpu_share * 1000:
        yield HealthProblem(
            "busy",
            f"its processors are busy for {board.cpu_permille / 10:.3g} %; the limit is {limits.cpu_share * 100:.3g} %",
        )


def _slot(window: Window, limits: Thresholds) -> Iterator[HealthProblem]:
    share, failed = error_share(window), sum(window.errors.values())
    few = failed + window.inferences < limits.least_samples
    if share is not None and share > (max(0.5, limits.error_share) if few else limits.error_share):
        worst = Counter(window.errors).most_common(3)
        kinds = ", ".join(f"{plain(kind, 30)} {count}" for kind, count in worst)
        yield HealthProblem(
            "erroring",
            f"{failed} of {failed + window.inferences} samples failed ({share * 100:.3g} %; the limit is "
            f"{limits.error_share * 100:.3g} %): {kinds}",
            window.slot,
        )
    p95 = quantile_ms(window.total_ms or window.latency_ms, 0.95)
    if p95 is not None and p95 > limits.p95_ms:
        yield HealthProblem("slow", f"p95 is {p95:.3g} ms; the limit is {limits.p95_ms:g} ms", window.slot)


def _drifting(slot: SlotSummary, now_ms: int, limits: Thresholds) -> Iterator[HealthProblem]:
    now = {drift.feature: drift.psi_milli / 1000 for drift in slot.window.drift}
    stand = [alarm for alarm in slot.alarms if alarm.psi is None or alarm.psi >= limits.drift_psi]
    if not stand:
        return
    worst = max(stand, key=lambda alarm: max(now.get(alarm.feature, 0.0), alarm.psi or 0.0))
    raised = f"raised {ago(worst.since_ms, now_ms)}"
    at = raised if worst.psi is None else f"stability index {min(_MOST_PSI, worst.psi):.2f}, {raised}"
    newest_psi = f", {min(_MOST_PSI, now[worst.feature]):.2f} in the newest window" if worst.feature in now else ""
    others = f", and {len(stand) - 1} more" if len(stand) > 1 else ""
    yield HealthProblem(
        "drifting",
        f"{plain(worst.feature, 60)} has moved from what the model was proved on: {at}{newest_psi}; "
        f"the limit is {worst.limit or limits.drift_psi:g}{others}",
        slot.slot,
    )


def _gaps(summary: DeviceSummary, now_ms: int, limits: Thresholds) -> Iterator[HealthProblem]:
    if summary.lost_rows and now_ms - summary.lost_at_ms < limits.gap_lately_h * 3_600_000:
        rows = "1 row is" if summary.lost_rows == 1 else f"{summary.lost_rows} rows are"
        yield HealthProblem("gaps", f"{rows} lost for good, ever; it last said so {ago(summary.lost_at_ms, now_ms)}")


def _restored(summary: DeviceSummary, now_ms: int, limits: Thresholds) -> Iterator[HealthProblem]:
    if summary.taken_back and now_ms - summary.taken_back_at_ms < limits.gap_lately_h * 3_600_000:
        rows = "1 row" if summary.taken_back == 1 else f"{summary.taken_back} rows"
        yield HealthProblem(
            "restored",
            f"{rows} came under numbers that it had given before, the last {ago(summary.taken_back_at_ms, now_ms)}: "
            "was its card restored from an old image, or copied? They are kept apart",
        )


def _clock(summary: DeviceSummary, limits: Thresholds) -> Iterator[HealthProblem]:
    off_s = (summary.clock_off_ms or 0) / 1000
    if off_s > limits.clock_ahead_s:
        yield HealthProblem("clock", f"its clock is {duration(off_s)} ahead of the collector's")
    elif off_s < -limits.clock_behind_s:
        yield HealthProblem("clock", f"its clock is {duration(-off_s)} behind the collector's")


def ago(at_ms: int, now_ms: int) -> str:
    """Return how long ago that was, in words that do not change each second: pages are told of every change."""
    seconds = max(0, now_ms - at_ms) // 1000
    size = next(size for least, size in ((172_800, 3600), (120, 60), (0, 1)) if seconds >= least)
    return f"{duration(seconds // size * size)} ago"


def slot_state(summary: DeviceSummary, slot: str) -> SlotState | None:
    """Return what the board's state says of a slot."""
    return summary.state.slots.get(slot) if summary.state else None
