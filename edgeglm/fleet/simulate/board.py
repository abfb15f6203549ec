"""One simulated board: what it measures and what happens to it, as rows in the order of time. No network in here."""

from __future__ import annotations

import heapq
from typing import TYPE_CHECKING

import msgspec
from edgeglm_agent import __version__
from edgeglm_agent.wire.commands import STATE_SCHEMA, State
from edgeglm_agent.wire.telemetry import BoardReading, Drift, Event, Gap, Result, Window, pack_runs

from edgeglm.boards import LEAST_RUNTIMES
from edgeglm.fleet.simulate.dice import Dice
from edgeglm.fleet.simulate.faults import (
    CrashLooping,
    Drifting,
    Erroring,
    Hot,
    Losing,
    Throttled,
    UnsetClock,
)
from edgeglm.fleet.simulate.figures import VARIANTS
from edgeglm.fleet.simulate.fleet import facts
from edgeglm.fleet.simulate.readings import PLACES, READINGS, drift_of, js_of, readings
from edgeglm.fleet.simulate.slot import Slot

if TYPE_CHECKING:
    from collections.abc import Callable

    from edgeglm_agent.wire.telemetry import Body, Scalar, Severity

    from edgeglm.fleet.simulate.faults import Fault
    from edgeglm.fleet.simulate.fleet import Fleet

_THROTTLED, _SINCE_BOOT = 0x4, 16  # a bit of a Pi's get_throttled, and by how much the bits of "since boot" are shifted
_LONGEST_UPTIME_S = 30 * 86_400
LIMIT, _CLEAR, _IN_A_ROW = (
    0.25,
    0.4,
    2,
)  # of drift, as edgeglm_agent.drift judges it


class Board:
    """What one board is, and what it has to say. Times are seconds since the run began.

    Attributes:
        changed: What the birth says is no longer what was told.
    """

    def __init__(self, fleet: Fleet, index: int, put: Callable[[Body], None], skip: Callable[[int], int]) -> None:
        """Make it.

        Args:
            fleet: All boards.
            index: Which of them this is.
            put: Takes a row.
            skip: Leaves out so many sequence numbers, and returns the first of them.
        """
        profile = fleet.profile
        self._fleet, self._put, self._skip = fleet, put, skip
        self.name = fleet.name(index)
        dice = self._dice = Dice("device", profile.seed, index)
        self.kind = fleet.board(dice)
        self.slots = [Slot(name, fleet.model(dice), profile.window_s) for name in profile.slots]
        self.faults = fleet.faults(index)
        self._uptime_ms = round((3600 + dice.unit() * (_LONGEST_UPTIME_S - 3600)) * 1000)  # when the run begins
        self.epoch = fleet.random_bytes("epoch", self.name)[:8]  # as if made with its outbox
        self._readings = readings(self.kind, dice.below(PLACES))
        self._duration_ms = max(1, round(profile.window_s * 1000))
        self.clock_is_set = not any(isinstance(fault, UnsetClock) for fault in self.faults)
        self._drifting = [fault for fault in self.faults if isinstance(fault, Drifting)]
        self._beyond = self._back = 0
        self._drift_raised = False
        self.changed = False
        self.boot_id = fleet.random_bytes("boot", self.name).hex()[:32]
        self.session = fleet.random_bytes("session", self.name).hex()[:16]
        self._agenda: list[tuple[float, int, Fault | None]] = [(0.0, -1, None)]
        for number, fault in enumerate(self.faults):
            if isinstance(fault, CrashLooping | Throttled):
                self._agenda.append((fault.after_s, number, fault))
            elif isinstance(fault, Losing):
                self._agenda.append((fault.after_s + fault.every_s * dice.unit(), number, fault))
        heapq.heapify(self._agenda)
        # windows of a fleet do not end together, and those of one board as they would had it run for days
        self._next_window = (0.05 + 0.95 * dice.unit()) * profile.window_s

    @property
    def next_at(self) -> float:
        """When there is something to say next."""
        return min(self._next_window, self._agenda[0][0]) if self._agenda else self._next_window

    def live(self, until: float, most: int) -> None:
        """Put the rows of everything up to a time, in its order; at most about so many of them."""
        put = 0
        while self.next_at <= until and put < most:
            if self._agenda and self._agenda[0][0] <= self._next_window:
                at, number, fault = heapq.heappop(self._agenda)
                self._happens(at, number, fault)
            else:
                self.window(self._next_window)
                self._next_window += self._fleet.profile.window_s
            put += 1

    def window(self, at: float) -> None:
        """Put what each slot did in the window that ends at this time, and some answers of it."""
        profile, dice = self._fleet.profile, self._dice
        reading = self._reading(at)
        for slot in self.slots:
            self._put(self._window(slot, at, reading))
            if profile.results_per_window:
                whole, rest = divmod(profile.results_per_window, 1)
                for _ in range(int(whole) + (dice.unit() < rest)):
                    self._put(self._result(slot, at))

    def state(self, *, online: bool = True) -> State:
        """Return the birth; not ``online``: the last will."""
        return State(
            STATE_SCHEMA,
            self.name,
            self.boot_id,
            self.session,
            online=online,
            epoch=self.epoch.hex(),
            agent=__version__,
            since_ms=self._wall_ms(0.0),
            clock_synchronised=self.clock_is_set,
            window_s=max(1, round(self._fleet.profile.window_s)),
            board=facts(self.kind),
            slots={slot.name: slot.state() for slot in self.slots},
        )

    def uptime_ms(self, at: float) -> int:
        """Return how long it has been running."""
        return self._uptime_ms + round(at * 1000)

    def _wall_ms(self, at: float) -> int:
        return self._fleet.start_ms + round(at * 1000) if self.clock_is_set else self.uptime_ms(at)

    # what is measured

    def _window(self, slot: Slot, at: float, reading: BoardReading) -> Window:
        noise = self._dice.bits()
        drift = self._drift(slot, at, noise) if self._drifting else slot.calm[noise & 15]
        began = at - self._fleet.profile.window_s
        start_ms, uptime_ms = self._wall_ms(began), max(0, self.uptime_ms(began))
        head = (slot.name, slot.load, f"{noise:016x}", start_ms, uptime_ms, self._duration_ms, self.clock_is_set)
        if slot.status != "serving":
            return Window(*head, 0, board=reading)
        slowness = self.kind.slowness
        errors: dict[str, int] = {}
        for fault in self.faults:
            if isinstance(fault, Throttled) and fault.active(at):
                slowness *= fault.slowness
            elif isinstance(fault, Erroring) and fault.active(at):
                errors[fault.error] = max(1, round(slot.n * fault.rate))
        told = slot.figures(slowness, drifted=drift[0].psi_milli >= LIMIT * 1000)[noise >> 8 & VARIANTS - 1]
        return Window(
            *head,
            told.inferences,
            errors,
            told.latency_ms,
            told.total_ms,
            cpu_permille=min(1000, round(slot.model.per_second * slot.model.latency_ms.p50 * slowness)),
            rss_kb=60_000 + (noise >> 16 & 1023),
            confidence=told.confidence,
            classes=told.classes,
            drift=drift,
            board=reading,
        )

    def _reading(self, at: float) -> BoardReading:
        reading = self._readings[self._dice.bits() & READINGS - 1]
        temperature, throttled = reading.temperature_decic, 0
        for fault in self.faults:
            if isinstance(fault, Hot) and fault.active(at):
                temperature = round(fault.temperature_c * 10) + (reading.cpu_permille or 0) % 10
            elif isinstance(fault, Throttled) and fault.after_s <= at:
                throttled |= _THROTTLED | _THROTTLED << _SINCE_BOOT if fault.active(at) else _THROTTLED << _SINCE_BOOT
        if temperature == reading.temperature_decic and not throttled:
            return reading
        told = throttled if reading.throttled is not None else None
        return msgspec.structs.replace(reading, temperature_decic=temperature, throttled=told)

    def _drift(self, slot: Slot, at: float, noise: int) -> tuple[Drift, ...]:
        """Return how far each feature has moved, worst first; tell of one that is beyond the limit, or back."""
        found = {drift.feature: drift.psi_milli / 1000 for drift in slot.calm[noise & 15]}
        for fault in self._drifting:
            share = min(1.0, (at - fault.after_s) / fault.over_s) if fault.over_s else 1.0
            moved = fault.psi * share if fault.active(at) else 0.0
            found[fault.feature] = moved + 0.001 * (noise >> 4 & 15)
            if slot is self.slots[0]:
                self._judge(slot, fault.feature, found[fault.feature], at)
        ordered = sorted(found.items(), key=lambda item: -item[1])
        return tuple(drift_of(feature, psi, slot.n) for feature, psi in ordered)

    def _judge(self, slot: Slot, feature: str, psi: float, at: float) -> None:
        self._beyond = self._beyond + 1 if psi >= LIMIT else 0
        self._back = self._back + 1 if psi < _CLEAR * LIMIT else 0
        if (self._back if self._drift_raised else self._beyond) < _IN_A_ROW:
            return
        self._drift_raised = not self._drift_raised
        detail: dict[str, Scalar] = {
            "feature": feature,
            "psi": round(psi, 3),
            "js": round(js_of(psi), 3),
            "limit": LIMIT,
            "n": slot.n,
        }
        if self._drift_raised:
            self._tell("drift-raised", "warning", detail, at, slot.name)
        else:
            self._tell("drift-cleared", "info", detail, at, slot.name)

    def _result(self, slot: Slot, at: float) -> Result:
        dice = self._dice
        label, score = dice.below(max(1, slot.model.classes)), round(slot.model.confidence, 3)
        answer = b'{"label":"%d","score":%.3f}' % (label, score)
        return Result(slot.name, slot.load, f"{dice.bits():016x}", self._wall_ms(at), answer)

    # what happens

    def _tell(self, name: str, severity: Severity, detail: dict[str, Scalar], at: float, slot: str = "") -> None:
        trace_id = f"{self._dice.bits():016x}"
        head = (name, slot, trace_id, self._wall_ms(at), self.uptime_ms(at), self.clock_is_set)
        self._put(Event(*head, severity, detail))

    def _happens(self, at: float, number: int, fault: Fault | None) -> None:
        again_s: float | None = None
        if fault is None:
            self._tell("agent-started", "info", {"agent": __version__, "device": self.name}, at)
            for slot in self.slots:
                self._loaded(slot, at)
        elif isinstance(fault, Throttled):
            self._tell("throttled", "warning", {"why": "throttled", "temperature": 85.0}, at)
        elif isinstance(fault, Losing):
            first = self._skip(fault.rows)
            lost = pack_runs([(first, first + fault.rows - 1)])
            self._put(Gap(fault.reason, lost, {"Window": fault.rows}))
            again_s = fault.every_s
        elif isinstance(fault, CrashLooping):
            again_s = self._crashes(fault, at)
        if again_s is not None and fault is not None and fault.active(at + again_s):
            heapq.heappush(self._agenda, (at + again_s, number, fault))

    def _crashes(self, fault: CrashLooping, at: float) -> float | None:
        """Let the first slot's process die; return after how long it does so again, None: it is quarantined."""
        slot = self.slots[0]
        slot.failures += 1
        why = "ended by SIGSEGV"
        detail: dict[str, Scalar] = {"why": why, "failures": slot.failures, "uncounted": 0}
        self._tell("worker-crashed", "error", detail, at, slot.name)
        self.changed = True
        if slot.failures >= fault.failures:
            slot.status, slot.why = "quarantined", f"{slot.failures} failures in a row, the last: {why}"
            self._tell("worker-quarantined", "error", {"why": slot.why}, at, slot.name)
            return None
        slot.load += 1
        self._loaded(slot, at)
        return fault.every_s

    def _loaded(self, slot: Slot, at: float) -> None:
        runtime = LEAST_RUNTIMES["onnx"]
        detail: dict[str, Scalar] = {
            "model": f"{slot.model.name} {slot.model.version}",
            "artifact": "model.onnx",
            "runtime": f"{runtime.name} {runtime.least_version}",
            "load": slot.load,
        }
        self._tell("model-loaded", "info", detail, at, slot.name)
