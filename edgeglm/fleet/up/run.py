"""Broker, collector and page: started one after the other, started again when one dies, ended the other way round."""

from __future__ import annotations

import selectors
import time
from typing import TYPE_CHECKING

from edgeglm.errors import WorkerError
from edgeglm.fleet.processes import check_port, held, how
from edgeglm.fleet.up.child import Child

if TYPE_CHECKING:
    import threading
    from collections.abc import Callable
    from pathlib import Path

    from edgeglm.fleet.up.parts import Part
    from edgeglm.log import Log

_TICK_S = 0.2
_START_PATIENCE_S = 300.0  # a broker may have much to read from the disk
_STOP_PATIENCE_S = 60.0  # or to write


class Up:
    """Keeps all parts of one folder running."""

    def __init__(self, folder: Path, parts: list[Part], log: Log, *, stop: threading.Event) -> None:
        """Take what it needs; nothing is started.

        Args:
            folder: One `up` each.
            parts: What is started, in this order; each waits until the one before is ready.
            log: Where it says what happens, with the lines of the parts.
            stop: Ends it.
        """
        self._folder = folder
        self._parts = parts
        self._log = log
        self._stop = stop
        self._pipes = selectors.DefaultSelector()

    def run(self, ready: Callable[[dict[str, str]], None]) -> None:
        """Run until `stop` is set. Call it from the main thread: the parts end with the thread that starts them.

        Args:
            ready: Is called once, with what each part has printed: its address.

        Raises:
            BusyError: Another one runs on this folder.
            EnvironmentFailedError: Something else listens on a port.
            WorkerError: A part ended before it was ready.
            StorageError: The folder cannot be written.
        """
        children: list[Child] = []
        with self._pipes, held(self._folder, "`edgeglm fleet up`", code="fleet-running") as lock:
            for port in (part.port for part in self._parts if part.port):
                check_port(port.host, port.number, option=port.option, code=port.code)
            try:
                for part in self._parts:
                    if self._stop.is_set():
                        break
                    self._log.stage(f"starting the {part.name}")
                    children.append(Child(part, self._pipes, self._log, lock))
                    self._until_ready(children)
                if not self._stop.is_set():
                    ready({child.name: child.address for child in children})
                while not self._stop.is_set():
                    self._listen()
                    for child in children:
                        child.start_again_when_due()
            finally:
                for child in reversed(children):
                    self._end(child)
        self._log.stage("stopped")

    def _listen(self) -> None:
        """Pass on what the parts say, for a moment."""
        if not self._pipes.get_map():  # all of them have ended
            time.sleep(_TICK_S)
        for key, _ in self._pipes.select(_TICK_S):
            key.data.read()

    def _until_ready(self, children: list[Child]) -> None:
        """Wait until the newest prints its address, or all is to stop. Raises: WorkerError."""
        *others, child = children
        give_up = time.monotonic() + _START_PATIENCE_S
        while not child.address and not self._stop.is_set():
            code = child.process.poll()
            if code is not None:
                child.hear()
            if (code is not None and not child.address) or time.monotonic() > give_up:
                late = f"is not ready after {_START_PATIENCE_S:g} s"
                raise WorkerError(
                    f"the {child.name} {late if code is None else how(code) + ' before it was ready'}",
                    where=str(self._folder),
                    hint="its own lines, above, say why",
                    code="fleet-part-failed",
                )
            for other in others:  # it may wait for them
                other.start_again_when_due()
            self._listen()

    def _end(self, child: Child) -> None:
        """End it in order, hearing what it says meanwhile; kill one that does not end."""
        if child.process.poll() is None:
            self._log.stage(f"ending the {child.name}")
            child.process.terminate()
        give_up = time.monotonic() + _STOP_PATIENCE_S
        while child.process.poll() is None:
            if time.monotonic() > give_up:
                self._log.warn(f"the {child.name} does not end: it is killed")
                child.process.kill()
            self._listen()
        child.hear()
