"""All slots' workers, as the loop sees them: who comes, what they say, and whose turn it is to be started."""

from __future__ import annotations

import contextlib
import selectors
import time
from typing import TYPE_CHECKING

from edgeglm_agent import ipc
from edgeglm_agent.supervisor.lobby import Lobby, received
from edgeglm_agent.supervisor.slots import SlotKeeper
from edgeglm_agent.wire.telemetry import Result

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable

    from edgeglm_agent.supervisor.head_start import HeadStart
    from edgeglm_agent.supervisor.run import Supervisor

_LEAST_LIMIT_BYTES = 1_000_000_000  # of a worker, where the board does not say how much memory it has


class Workers:
    """The keepers of all slots, and the socket that their workers come to."""

    def __init__(
        self,
        supervisor: Supervisor,
        selector: selectors.BaseSelector,
        *,
        socket_path: str,
        answer: Callable[[ipc.StatusRequest | ipc.RestartRequest], bytes],
    ) -> None:
        """Listen.

        Args:
            supervisor: Whose workers they are; it has settings, state and board by now.
            selector: The supervisor's; it keeps callables.
            socket_path: Where workers come to.
            answer: Returns what is answered to a request.

        Raises:
            OSError: The socket cannot be made.
        """
        self._supervisor = supervisor
        self._selector = selector
        self._socket_path = socket_path
        state, memory_mb = supervisor.state_file, int(supervisor.board.facts().get("memory_mb") or 0)
        self.keepers = {
            name: SlotKeeper(
                name,
                slot,
                supervisor.settings,
                state=state,
                tell=supervisor.records.tell,
                forget=self._forget,
                memory_limit_bytes=memory_mb * 1_000_000 // 2 or _LEAST_LIMIT_BYTES,
            )
            for name, slot in supervisor.settings.slots.items()
        }
        share, own = state.memory.sample_share, supervisor.settings.telemetry
        if share is not None:
            for keeper in self.keepers.values():
                # what was set while the file allowed it
                keeper.adjust(share if own.remote_samples else min(share, own.sample_share))
        self._lobby = Lobby(socket_path, selector, worker=self.greet, answer=answer)

    def spawn(self, now: float, head_start: HeadStart | None = None) -> None:
        """Start those whose time has come; the first may take a process that waits."""
        for keeper in self.keepers.values():
            if keeper.due(now):
                keeper.spawn(self._socket_path, now, head_start)

    def move(self, now: float) -> None:
        """See which have ended, and let those load that were held and need not be any more."""
        for keeper in self.keepers.values():
            if keeper.reap(now):
                self._supervisor.changed()
            keeper.release(now)

    def starts(self, now: float) -> list[float]:
        """Return when there is one to be started, by time.monotonic()."""
        keepers = self.keepers.values()
        return [k.next_start for k in keepers if k.status == "waiting" and not k.pid and k.next_start > now]

    def push(self) -> bool:
        """Send what waits and their sockets take; return whether something is left."""
        left = [keeper.line.push() for keeper in self.keepers.values()]
        return any(left)

    def tick(self, now: float) -> None:
        """Look, once a second, after each, and after who says nothing."""
        for keeper in self.keepers.values():
            if keeper.watch(now):
                self._supervisor.changed()
        self._lobby.tick(now)

    def handled(self) -> int:
        """Return how many samples all of them have answered, or not."""
        return sum(sum(keeper.process.counted()) for keeper in self.keepers.values())

    def close(self) -> None:
        """Listen no more."""
        self._lobby.close()

    def greet(
        self, connection: socket.socket, frames: ipc.Frames, hello: ipc.Hello, more: list[ipc.FromWorker | ipc.ToWorker]
    ) -> bool:
        """Give a worker's connection to its slot, with what came behind its greeting; return whether it is kept."""
        keeper = self.keepers.get(hello.slot)
        if keeper is None or self._supervisor.stopping:
            with contextlib.suppress(OSError):
                connection.sendall(ipc.frame(ipc.NoSlot(tuple(self.keepers)) if keeper is None else ipc.Stop()))
            return False
        now = time.monotonic()
        if keeper.reap(now):  # the one before it, which systemd has replaced before it was looked at
            self._supervisor.changed()
        if not keeper.hello(hello, connection, frames, now):
            return False
        self._selector.register(connection, selectors.EVENT_READ, lambda: self.hear(keeper, connection))
        if hello.rejoins is not None:
            self._supervisor.windows.goes_on(keeper, hello.rejoins.at_ms, hello.rejoins.uptime_ms)
            self._supervisor.changed()
        self._take(keeper, more)
        return True

    def hear(self, keeper: SlotKeeper, connection: socket.socket) -> None:
        """Read what a worker said."""
        if keeper.line.connection is not connection:
            return  # let go since it was found to be readable
        messages = received(connection, keeper.line.frames)
        if messages is None:
            keeper.gone()
        else:
            self._take(keeper, messages)

    def _take(self, keeper: SlotKeeper, messages: list[ipc.FromWorker | ipc.ToWorker]) -> None:
        """Do what a worker's messages are for."""
        answers: list[Result] = []
        for message in messages:
            if isinstance(message, ipc.Happened):
                self._supervisor.records.tell(
                    message.name,
                    keeper.name,
                    message.severity,
                    message.detail,
                    trace_id=message.trace_id,
                    at_ms=message.at_ms,
                    uptime_ms=message.uptime_ms,
                    burst=message.burst,
                    channels=message.channels,
                )
                if keeper.happened(message):
                    self._supervisor.changed()
            elif isinstance(message, ipc.Answered):
                head = (keeper.name, keeper.load)
                answers.append(Result(*head, message.trace_id, message.at_ms, message.answer, message.crop))
            elif isinstance(message, ipc.Part):
                keeper.told(message)
                self._supervisor.windows.part(keeper, message)
            elif isinstance(message, ipc.Serving | ipc.Refused | ipc.Idle):
                keeper.heard(message)
                self._supervisor.changed()
            elif isinstance(message, ipc.InputGone | ipc.Failed):
                keeper.heard(message)
        self._supervisor.records.put_answers(answers)

    def _forget(self, connection: socket.socket) -> None:
        """Listen no more to a connection that will be closed: another one may get its number."""
        with contextlib.suppress(KeyError):
            self._selector.unregister(connection)
