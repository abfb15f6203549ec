"""The supervisor: one thread that waits for workers, broker, clock and commands, and does a little for each."""

from __future__ import annotations

import contextlib
import os
import secrets
import selectors
import signal
import socket
import time
from pathlib import Path
from typing import TYPE_CHECKING

from edgeglm_agent import __version__, ipc
from edgeglm_agent.board import clock
from edgeglm_agent.board.read import Board
from edgeglm_agent.service import Service
from edgeglm_agent.supervisor.commands import obey
from edgeglm_agent.supervisor.locks import lock_folders
from edgeglm_agent.supervisor.records import Records
from edgeglm_agent.supervisor.state import StateFile
from edgeglm_agent.supervisor.stop_signals import StopSignals
from edgeglm_agent.supervisor.windows import WindowClerk
from edgeglm_agent.supervisor.workers import Workers
from edgeglm_agent.wire.commands import STATE_SCHEMA, RestartArguments, State

if TYPE_CHECKING:
    from collections.abc import Callable

    from edgeglm_agent.settings.types import Settings
    from edgeglm_agent.supervisor.head_start import HeadStart
    from edgeglm_agent.supervisor.slots import SlotKeeper
    from edgeglm_agent.uplink import Uplink
    from edgeglm_agent.wire.telemetry import Scalar, Severity

_TICK_S = 1.0
_BOARD_S = 5.0
_DRAIN_S = 10.0  # for workers to finish what they have in hand
_UNSENT_S = 0.05  # until it is looked again whether a worker takes what waits for it
_ANNOUNCE_S = 2.0  # from a change to its announcement


class Supervisor:
    """Everything the board's agent holds."""

    def __init__(
        self,
        settings: Settings,
        *,
        sysroot: Path = Path("/"),
        head_start: HeadStart | None = None,
        stop: StopSignals | None = None,
    ) -> None:
        """Open state, outbox and socket, and start the workers: they are ready last, whatever comes first.

        Args:
            settings: Checked.
            sysroot: Of the board, where readers look.
            head_start: A process for the first worker that is to start.
            stop: The signals to end, where they are heard already; else ``run`` begins with that.

        Raises:
            AgentRunningError: Another agent holds one of the folders.
            OSError: A folder cannot be made or written.
        """
        self.settings = settings
        self.device = settings.device or socket.gethostname()
        self.began = time.monotonic()
        self.started_ms = time.time_ns() // 1_000_000
        self.session = secrets.token_hex(4)
        state_dir, runtime_dir = Path(settings.state_dir), Path(settings.runtime_dir)
        self._locks = lock_folders(state_dir, runtime_dir)
        self.records = Records(synchronised=self.clock_synchronised)
        self.state_file = StateFile(state_dir / "state.json")
        self.board = Board(state_dir, sysroot)
        self._sysroot = sysroot
        self.window_s = self.state_file.memory.window_s or settings.telemetry.window_s
        self._selector = selectors.DefaultSelector()
        self.workers = Workers(
            self, self._selector, socket_path=str(runtime_dir / "supervisor.sock"), answer=self._answer
        )
        self.slots = self.workers.keepers
        self._wake_out, self._wake_in = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        self._selector.register(self._wake_out, selectors.EVENT_READ, self._woken)
        self._service = Service()
        self._handled = 0  # samples, by all slots, when the board was looked at last
        self._stop = stop
        self._announce_at = 0.0  # time.monotonic(); 0: nothing has changed
        self._stopping = 0.0  # time.monotonic() of the order to stop
        self.workers.spawn(time.monotonic(), head_start)
        if head_start is not None:
            head_start.dismiss()
        try:
            self.outbox = self.records.open(state_dir / "outbox.db", quota_bytes=settings.outbox.quota_mb * 1_000_000)
            self.windows = WindowClerk(self)
            self.uplink = self._uplink()
        except BaseException:
            for keeper in self.slots.values():
                keeper.process.kill()
            raise

    def run(self) -> int:
        """Serve until SIGTERM or SIGINT; return the exit code."""
        stop = self._stop or StopSignals()
        signal.set_wakeup_fd(self._wake_in, warn_on_full_buffer=False)
        signal.signal(signal.SIGCHLD, lambda *_: None)  # a worker's end: its byte in the pipe ends the wait
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
        share = next((keeper.sample_share for keeper in self.slots.values()), 0.0)
        begun: dict[str, Scalar] = {"agent": __version__, "device": self.device, "window_s": self.window_s}
        self.records.tell("agent-started", "", "info", {**begun, "sample_share": share})
        if self.state_file.damaged is not None:
            self.records.tell("state-rebuilt", "", "error", {"kept": self.state_file.damaged.name})
        if self.uplink is not None:
            self.uplink.start()
        self._service.ready(self._in_words())
        try:
            self._until_stopped(stop)
        finally:
            self._close()
        return 0

    def clock_synchronised(self) -> bool:
        """Return whether the wall clock was set from outside since boot."""
        return clock.synchronised(self._sysroot)

    def birth(self, *, online: bool = True) -> State:
        """Return what the board says of itself for as long as it runs."""
        return State(
            STATE_SCHEMA,
            self.device,
            clock.boot_id(),
            self.session,
            online=online,
            epoch=self.outbox.epoch.hex(),
            agent=__version__,
            since_ms=self.started_ms,
            clock_synchronised=self.clock_synchronised(),
            window_s=self.window_s,
            windows_at_once=self.settings.telemetry.windows_at_once,
            board=self.board.facts(),
            slots={name: keeper.state for name, keeper in self.slots.items()},
        )

    @property
    def stopping(self) -> bool:
        """Whether workers were told to finish, and no others may come."""
        return self._stopping > 0

    def wake(self) -> None:
        """End the wait; may be called from any thread."""
        with contextlib.suppress(BlockingIOError):
            os.write(self._wake_in, b"\0")

    def _until_stopped(self, stop: StopSignals) -> None:
        next_tick = next_board = time.monotonic()
        while True:
            if stop.came and not self._stopping:
                self._order_to_stop()
            now = time.monotonic()
            if now >= next_tick:
                next_tick = now + _TICK_S
                self._tick(now)
            if now >= next_board:
                next_board = now + _BOARD_S
                self._look_at_board()
            self._move(now)
            if self._stopping and (not any(k.pid for k in self.slots.values()) or now - self._stopping > _DRAIN_S):
                return
            wait = min([next_tick, self.windows.next_at, *self.workers.starts(now)]) - time.monotonic()
            longest = _UNSENT_S if self.workers.push() else _TICK_S
            for key, _ in self._selector.select(max(0.0, min(wait, longest))):
                act: Callable[[], None] = key.data
                act()

    def _move(self, now: float) -> None:
        """Do what is due: workers that ended or are to start, the window's end, what came from the broker."""
        self.workers.move(now)
        if not self._stopping:
            self.workers.spawn(now)
        self.windows.move(now)
        if self._announce_at and now >= self._announce_at:
            self._announce()
        if self.uplink is not None:
            for order in self.uplink.poll(now):
                ok, said, values = obey(self, order.op, order.arguments)
                self.uplink.reply(order, ok=ok, said=said, values=values)
            for message in self.uplink.messages():
                for keeper in self._hearers(message.topic):
                    keeper.line.hand_over(message)

    def _tick(self, now: float) -> None:
        self._service.alive()
        self.workers.tick(now)

    def _look_at_board(self) -> None:
        handled = self.workers.handled()
        starting = any(keeper.status == "starting" for keeper in self.slots.values())
        self.board.sample(idle=handled == self._handled and not starting)
        self._handled = handled
        self._service.status(self._in_words())
        for name, severity, detail in self.board.events():
            self.records.tell(name, "", severity, detail)

    def _in_words(self) -> str:
        """Return how things are in a line; anybody on the machine may read it, so it says no reasons."""
        words = [keeper.in_words() for keeper in self.slots.values()] or ["no slots"]
        if self.uplink is not None:
            words.append(f"broker {self.uplink.link_status().state}")
        waiting = sum(self.outbox.waiting.values())
        return "; ".join([*words, f"{waiting} row{'' if waiting == 1 else 's'} waiting"])

    def _answer(self, request: ipc.StatusRequest | ipc.RestartRequest) -> bytes:
        """Return what somebody is told who came to ask."""
        if isinstance(request, ipc.RestartRequest):
            _, said, _ = obey(self, "restart", RestartArguments(request.slot or None))
            return ipc.frame(ipc.RestartReport(said))
        from edgeglm_agent.status import report
        from edgeglm_agent.supervisor.status import agent_status

        return report(agent_status(self))

    def changed(self) -> None:
        """Announce what the board says of itself anew: once for all that changes within a moment, at 2 KB each time."""
        self._announce_at = self._announce_at or time.monotonic() + _ANNOUNCE_S

    def _announce(self) -> None:
        self._announce_at = 0.0
        if self.uplink is not None:
            self.uplink.announce()

    def _woken(self) -> None:
        with contextlib.suppress(BlockingIOError):
            while os.read(self._wake_out, 4096):
                pass

    def _order_to_stop(self) -> None:
        self._stopping = time.monotonic()
        self._service.stopping("stops: workers finish what they have in hand")
        self.windows.flush_now(self._stopping)
        for keeper in self.slots.values():
            keeper.stop()

    def _uplink(self) -> Uplink | None:
        if self.settings.mqtt is None:
            return None
        from edgeglm_agent.uplink import Uplink

        uplink = Uplink(
            self.settings,
            self.outbox,
            wake=self.wake,
            birth=self.birth,
            tell=self._uplink_event,
            synchronised=self.clock_synchronised,
        )
        uplink.set_window(self.window_s)
        uplink.subscribe_inputs(topic for keeper in self.slots.values() if (topic := keeper.topic))
        return uplink

    def _uplink_event(self, name: str, severity: Severity, detail: dict[str, Scalar]) -> None:
        self.records.tell(name, "", severity, detail)

    def _hearers(self, topic: str) -> list[SlotKeeper]:
        """Return the slots whose input is this topic."""
        from paho.mqtt.client import topic_matches_sub  # loaded by the uplink already

        return [k for k in self.slots.values() if k.topic and topic_matches_sub(k.topic, topic)]

    def _close(self) -> None:
        for keeper in self.slots.values():
            keeper.give_up()
        self.records.tell("shutdown", "", "info", {})
        if self.uplink is not None:
            self.uplink.stop()
        self.outbox.close()
        self.workers.close()
        for lock in self._locks:
            os.close(lock)
