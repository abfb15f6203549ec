"""The board over one window: sampled every few seconds, read once a window, and heard at once where it matters."""

from __future__ import annotations

import math
import os
import sys
import time
from collections import deque
from pathlib import Path
from typing import TYPE_CHECKING, Literal, NamedTuple

from edgeglm_agent.board import jetson, linux
from edgeglm_agent.board.alarms import Alarm, Level
from edgeglm_agent.board.clock import StepDetector
from edgeglm_agent.board.jetson import Jetson, total_mw
from edgeglm_agent.board.pi import NAMES, UNDER_VOLTAGE, Pi
from edgeglm_agent.wire.telemetry import BoardReading, Power

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from edgeglm_agent.wire.telemetry import Scalar

DISK_LOW_MB = 200  # below it the outbox, the state and a model's folder may soon not fit
DISK_OK_MB = 300
QUIET_S = 600.0  # how long something must have been gone before it is news again
_ASK_PI_S = 60.0  # a program is run for it
_ASK_PI_SOON_S = 10.0  # where something is to be expected
_HOT_DECIC = 800  # a Pi slows down from 80 degrees on
_IDLE_SAMPLES = 64
_LEAST_IDLE = 5


class BoardEvent(NamedTuple):
    """Something about the board that is told at once."""

    name: str  # one of ``wire.telemetry.EVENTS``
    severity: Literal["info", "warning", "error"]
    detail: dict[str, Scalar]


class _Spread:
    """Count, mean and variance of readings. Source: Welford 1962, Technometrics 4(3)."""

    __slots__ = ("_squares", "mean", "n")

    def __init__(self, values: Iterable[float] = ()) -> None:
        self.n, self.mean, self._squares = 0, 0.0, 0.0
        for value in values:
            self.add(value)

    def add(self, value: float) -> None:
        self.n += 1
        apart = value - self.mean
        self.mean += apart / self.n
        self._squares += apart * (value - self.mean)

    @property
    def error(self) -> float:
        """The standard error of the mean."""
        return math.sqrt(self._squares / (self.n - 1) / self.n) if self.n > 1 else math.inf


class _Window:
    """What was sampled since the last reading."""

    def __init__(self, began: float) -> None:
        self.began = began
        self.memory: int | None = None
        self.disk: int | None = None
        self.temperature: int | None = None
        self.throttled: int | None = None
        self.undervoltage: bool | None = None
        self.gpu = _Spread()
        self.rails: dict[str, _Spread] = {}
        self.total = _Spread()


class Board:
    """The readers of whatever board this is. One thread; nothing here raises for what a file says or lacks."""

    def __init__(
        self,
        state_dir: Path,
        sysroot: Path = Path("/"),
        *,
        disk_low_mb: int = DISK_LOW_MB,
        clock: Callable[[], float] = time.monotonic,
        steps: StepDetector | None = None,
    ) -> None:
        self._root, self._state_dir, self._clock = sysroot, state_dir, clock
        self._model = linux.device_tree_model(sysroot)
        self._is_jetson = jetson.is_jetson(sysroot, self._model)
        self._is_pi = "raspberry pi" in (self._model or "").lower()
        self._thermometers = linux.Thermometers(sysroot)
        self._heat = linux.HeatLimits(sysroot)
        self._pi = Pi(sysroot) if self._is_pi else None
        self._jetson = Jetson(sysroot) if self._is_jetson else None
        self._steps = steps or StepDetector()
        self._cpu = linux.cpu_times(sysroot)
        self._idle: deque[int] = deque(maxlen=_IDLE_SAMPLES)  # mW of the whole board, when no model worked
        self._bits: int | None = None  # of a Pi, when last asked
        self._asked = -math.inf
        self._counts: dict[str, int] = {}  # of a Jetson's alarms
        self._slowed, self._sagged = Alarm(QUIET_S), Alarm(QUIET_S)
        self._disk = Level(disk_low_mb, disk_low_mb * DISK_OK_MB / DISK_LOW_MB)
        self._events: list[BoardEvent] = []
        self._window = self._last = _Window(clock())
        self._last_ms = 0

    def facts(self) -> dict[str, Scalar]:
        """Return what does not change before the next boot, for ``State.board``; nothing that names the owner."""
        release = jetson.l4t_release(self._root)
        found: dict[str, Scalar] = {
            "model": self._model or linux.pc_model(self._root),
            "kind": "raspberry-pi" if self._is_pi else "jetson" if self._is_jetson else "other",
            "os": linux.operating_system(self._root),
            "kernel": linux.kernel(self._root),
            "arch": os.uname().machine,
            "python": ".".join(map(str, sys.version_info[:3])),
            "cores": linux.cores(self._root),
            "memory_mb": linux.memory_mb(self._root)[0],
            "l4t": release,
            "jetpack": jetson.jetpack(release),
        }
        return {name: value for name, value in found.items() if value is not None}

    def sample(self, *, idle: bool = False) -> None:
        """Look at what changes quickly; to be called every few seconds. Costs small files alone, but for a Pi's bits.

        Args:
            idle: Nothing was loaded and no sample was answered since the last call, in any slot: what the board draws
                now is what it draws without us.
        """
        now, window = self._clock(), self._window
        window.memory = _least(window.memory, linux.memory_mb(self._root)[1])
        self._look_at_disk()
        temperature = self._thermometers.hottest_decic()
        window.temperature = _most(window.temperature, temperature)
        reasons = ["heat"] if self._heat.active() else []
        if self._pi is not None:
            reasons += self._look_at_pi(self._pi, now, temperature)
        if self._jetson is not None:
            reasons += self._look_at_jetson(self._jetson, now, idle=idle)
        if self._slowed.begins(bool(reasons), now):
            detail: dict[str, Scalar] = {"why": ", ".join(dict.fromkeys(reasons))}
            if temperature is not None:
                detail["temperature"] = temperature / 10
            self._events.append(BoardEvent("throttled", "warning", detail))
        step = self._steps.stepped()
        if step is not None:
            self._events.append(BoardEvent("clock-stepped", "info", {"by_s": round(step, 3)}))

    def reading(self) -> BoardReading:
        """Return the board over the time since the last reading, and begin the next window; samples once more."""
        self.sample()
        window, cpu = self._window, linux.cpu_times(self._root)
        reading = BoardReading(
            cpu_permille=linux.cpu_permille(self._cpu, cpu),
            memory_available_mb=window.memory,
            disk_free_mb=window.disk,
            temperature_decic=window.temperature,
            throttled=window.throttled,
            undervoltage=window.undervoltage,
            gpu_permille=round(window.gpu.mean) if window.gpu.n else None,
            power=tuple(Power(rail, round(spread.mean)) for rail, spread in window.rails.items()),
        )
        now = self._clock()
        self._cpu, self._last, self._last_ms = cpu, window, round((now - window.began) * 1000)
        self._window = _Window(now)
        if self._jetson is not None and not self._jetson.complete:
            self._jetson = Jetson(self._root)
        return reading

    def events(self) -> list[BoardEvent]:
        """Return what has happened since the last call."""
        events, self._events = self._events, []
        return events

    def energy_uj(self, inferences: int, share: float = 1.0) -> int | None:
        """Return the energy of one inference over the last reading's window, in microjoules, above idle.

        None: there are no rails, the board was never seen idle, or it drew no more than idle by two standard errors.

        Args:
            inferences: How many a slot answered in that window.
            share: The slot's part (0 to 1) of the time that all slots spent inferring.
        """
        idle, busy = _Spread(self._idle), self._last.total
        if inferences < 1 or idle.n < _LEAST_IDLE or busy.n < 2:
            return None
        above = busy.mean - idle.mean
        if above <= 2.0 * math.hypot(idle.error, busy.error):
            return None
        return round(above * self._last_ms * share / inferences)  # mW x ms

    def _look_at_disk(self) -> None:
        free = linux.disk_free_mb(self._state_dir)
        self._window.disk = _least(self._window.disk, free)
        if free is not None and self._disk.crossed(free):
            low = self._disk.is_low
            event = BoardEvent("disk-low", "error", {}) if low else BoardEvent("disk-ok", "info", {})
            self._events.append(event._replace(detail={"free_mb": free}))

    def _look_at_pi(self, pi: Pi, now: float, temperature: int | None) -> list[str]:
        """Return why the processor is slowed down, if it is."""
        alarm = pi.under_voltage()
        since_boot = self._asked == -math.inf
        fresh = 0  # bits that are set now, or were set since the firmware was last asked
        soon = alarm or (temperature or 0) >= _HOT_DECIC
        if now - self._asked >= (_ASK_PI_SOON_S if soon else _ASK_PI_S):
            self._asked = now
            bits = pi.throttled()
            if bits is not None:
                fresh = bits & 0xF | (bits & ~(self._bits or 0)) >> 16
                self._window.throttled = (self._window.throttled or 0) | bits
                self._bits = bits
        if alarm is not None or self._bits is not None:
            sags = bool(alarm) or bool(fresh & UNDER_VOLTAGE)
            before = sags and since_boot and not alarm and not (self._bits or 0) & UNDER_VOLTAGE
            self._sag(sags, now, {"now": not before}, before=before)
        return [name for bit, name in NAMES.items() if fresh & bit and bit != UNDER_VOLTAGE]

    def _look_at_jetson(self, board: Jetson, now: float, *, idle: bool) -> list[str]:
        """Return why the clocks are cut, if they are."""
        window = self._window
        load = board.gpu_permille()
        if load is not None:
            window.gpu.add(load)
        power = board.power()
        for rail in power:
            window.rails.setdefault(rail.rail, _Spread()).add(rail.mw)
        total = total_mw(power)
        if total is not None:
            window.total.add(total)
            if idle:
                self._idle.append(total)
        sags = self._rose("under-voltage", board.under_voltage())
        if sags is not None:
            self._sag(sags > 0, now, {"times": sags})
        draws = self._rose("over-current", board.over_current())
        return ["over-current"] if draws else []

    def _sag(self, active: bool, now: float, detail: dict[str, Scalar], *, before: bool = False) -> None:
        """Take note of a supply that sags, or did ``before`` the agent came."""
        self._window.undervoltage = bool(self._window.undervoltage) or (active and not before)
        if self._sagged.begins(active, now):
            self._events.append(BoardEvent("undervoltage", "warning", detail))

    def _rose(self, what: str, count: int | None) -> int | None:
        """Return by how much a count of the kernel rose since the last sample; the first one is where it begins."""
        if count is None:
            return None
        before = self._counts.get(what, count)
        self._counts[what] = count
        return max(0, count - before)


def _least(one: int | None, other: int | None) -> int | None:
    return other if one is None else one if other is None else min(one, other)


def _most(one: int | None, other: int | None) -> int | None:
    return other if one is None else one if other is None else max(one, other)
