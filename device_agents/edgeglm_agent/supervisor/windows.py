"""One record a window and slot: what the workers counted, with time and board around it."""

from __future__ import annotations

import secrets
import time
from typing import TYPE_CHECKING, TypeAlias

from edgeglm_agent.board import clock
from edgeglm_agent.wire.telemetry import BoardReading, Window

if TYPE_CHECKING:
    from edgeglm_agent import ipc
    from edgeglm_agent.supervisor.run import Supervisor
    from edgeglm_agent.supervisor.slots import SlotKeeper

_Span: TypeAlias = tuple[int, int, int]  # start by the wall clock and since boot, duration; milliseconds
_PART_S = 5.0  # how long a part is waited for; one that comes later counts in the next window


class WindowClerk:
    """Ends windows when their time has come, and files what comes in."""

    def __init__(self, supervisor: Supervisor) -> None:
        self._supervisor = supervisor
        self._ends = 0.0
        self._begin(time.monotonic())
        self._owing: dict[str, SlotKeeper] = {}
        self._owing_until = 0.0
        self._cpu: dict[str, tuple[int, float]] = {}  # by slot: milliseconds in the window, and its share of all
        self._spans: dict[str, _Span] = {}  # by slot: of the part that is waited for
        self._since: dict[str, _Span] = {}  # by slot: what was told last ends here; else the window's begin
        self.reading = BoardReading()  # over the newest window
        self.last: dict[str, Window] = {}  # by slot: the newest that is filed

    @property
    def next_at(self) -> float:
        """When there is something to do, by time.monotonic()."""
        return self._owing_until if self._owing else self._ends

    def move(self, now: float) -> None:
        """End the window, where its time has come; give up waiting for parts that do not come."""
        if self._owing and now >= self._owing_until:
            for keeper in list(self._owing.values()):
                self._file(keeper, None)
        if now >= self._ends and not self._owing:
            self.flush_now(now)

    def flush_now(self, now: float) -> None:
        """End the window, and ask for everyone's part."""
        whole = self._now_since(self._began)
        self.reading = self._supervisor.board.reading()
        since, began, self._since = self._since, self._began, {}
        self._begin(now)
        self._owing_until = now + _PART_S
        keepers = self._supervisor.slots.values()
        cpu_ms = {keeper.name: keeper.process.take_cpu_ms() for keeper in keepers}
        everyone = sum(cpu_ms.values()) or 1
        for keeper in keepers:
            self._owing[keeper.name] = keeper
            self._spans[keeper.name] = self._now_since(since.pop(keeper.name, began))
            self._cpu[keeper.name] = (cpu_ms[keeper.name], cpu_ms[keeper.name] / everyone)
            if not keeper.flush(now):
                self._file(keeper, None)
        if not self._supervisor.slots:
            self._put(Window("", 0, secrets.token_hex(8), *whole, self._synchronised(), 0, board=self.reading))

    def part(self, keeper: SlotKeeper, part: ipc.Part) -> None:
        """Take a worker's part; one that was not asked for is the last of a worker that ends."""
        if keeper.name not in self._owing:
            self._spans[keeper.name] = self._now_since(self._since.get(keeper.name, self._began))
            self._since[keeper.name] = _now()
        self._file(keeper, part)

    def goes_on(self, keeper: SlotKeeper, at_ms: int, uptime_ms: int) -> None:
        """A worker has joined that counts since then: its next part is of all that time."""
        self._since[keeper.name] = (at_ms, uptime_ms, 0)

    def window_changed(self) -> None:
        """Take a new length of the window from now on."""
        self._ends = min(self._ends, time.monotonic() + self._supervisor.window_s)

    def _begin(self, now: float) -> None:
        self._began = _now()
        self._ends = now + self._supervisor.window_s

    def _file(self, keeper: SlotKeeper, part: ipc.Part | None) -> None:
        self._owing.pop(keeper.name, None)
        span = self._spans[keeper.name]
        head = (keeper.name, keeper.load)
        cpu_ms, share = self._cpu.get(keeper.name, (0, 1.0))
        if part is None:
            silent = {"no-part": 1} if keeper.status == "serving" else {}
            window = Window(*head, secrets.token_hex(8), *span, self._synchronised(), 0, silent, board=self.reading)
        else:
            window = Window(
                *head,
                part.trace_id or secrets.token_hex(8),
                *span,
                self._synchronised(),
                part.inferences,
                part.errors,
                part.latency_ms,
                part.total_ms,
                cpu_permille=round(cpu_ms * 1000 / span[2]),
                rss_kb=keeper.process.take_rss_kb(),
                energy_uj=self._supervisor.board.energy_uj(part.inferences, share),
                confidence=part.confidence,
                classes=part.classes,
                drift=part.drift,
                board=self.reading,
            )
        self._put(window)

    @staticmethod
    def _now_since(began: _Span) -> _Span:
        return (began[0], began[1], max(1, clock.uptime_ms() - began[1]))

    def _put(self, window: Window) -> None:
        self.last[window.slot] = window
        self._supervisor.records.put_window(window)

    def _synchronised(self) -> bool:
        return self._supervisor.clock_synchronised()


def _now() -> _Span:
    return (time.time_ns() // 1_000_000, clock.uptime_ms(), 0)
