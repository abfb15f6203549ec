"""The worker's process: it asks the supervisor, loads one model, serves, and goes.

The first thread reads, infers and writes. A second one listens to the supervisor; it alone speaks for the worker while
the first is in the runtime's hands.
"""

from __future__ import annotations

import os
import resource
import signal
import sys
import traceback
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING

from edgeglm_agent import ipc, logs
from edgeglm_agent.offline import go_offline
from edgeglm_agent.passwords import hidden
from edgeglm_agent.worker.line import Line, NoSlotError

if TYPE_CHECKING:
    from edgeglm_agent.settings.types import Slot

MODEL_BROKEN = 81  # exit code that the supervisor knows the meaning of
_SETTINGS = 2  # exit code after which systemd starts no other
# numpy's library for matrices starts a thread a core when it is imported: 20 ms of work, and nothing here needs one
_ONE_THREAD = ("OPENBLAS_NUM_THREADS", "1")
_SPARE = 2.0  # of the memory limit: what a process may map to write, thread stacks included, before malloc says no


def import_slot() -> None:
    """Import what serves a slot: numpy, and what comes with it."""
    os.environ.setdefault(*_ONE_THREAD)
    import_module("edgeglm_agent.worker.slot")


def main(socket_path: str, slot: str, *, soon: bool = False) -> int:
    """Run a worker until its input ends, it is told to stop, or its model breaks.

    Args:
        socket_path: The supervisor's.
        slot: Its name in the settings.
        soon: The supervisor will say Start at once; else it may say Hold, and a worker that waits is to be small.

    Returns:
        The exit code: 0, ``MODEL_BROKEN``, or 2 where the settings have no such slot.
    """
    go_offline()
    line = Line(socket_path, slot)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # a terminal's Ctrl-C reaches the supervisor too, which says Stop
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))  # nothing is in hand; a handler that returns ends no wait
    try:
        if soon:
            import_slot()  # while the supervisor reads what this one said: it takes longer
        start = line.wait_for_start()
        signal.signal(signal.SIGTERM, lambda *_: line.stop())
    except NoSlotError as error:
        print(f"edgeglm-agent: {error}", file=sys.stderr)
        return _SETTINGS
    except SystemExit:
        line.send(ipc.Idle("told to stop"))
        return 0
    if start is None:
        return 0
    logs.configure(start.log)
    line.listen(Path(start.state_dir) / "slots" / slot)
    try:
        import_slot()
        from edgeglm_agent.worker.slot import serve_slot

        return serve_slot(line, start)
    except Exception as error:  # of ours, or of a package's input or sink: the supervisor starts another
        said = traceback.format_exc()
        logs.log("error", "worker-failed", slot=slot, why=error, traceback=said)
        line.send(ipc.Failed(hidden(f"{type(error).__name__}: {error} ({_place(error)})")))
        return 1
    finally:
        logs.flush()


def _place(error: Exception) -> str:
    """Return where an error was raised: ``file.py:12``."""
    last = traceback.extract_tb(error.__traceback__)[-1]
    return f"{Path(last.filename).name}:{last.lineno}"


def limit_memory(slot: Slot) -> None:
    """Let allocation fail, in this process alone, far above the limit that the supervisor watches over.

    A model that allocates without end is faster than anyone who looks once a second.
    """
    try:
        Path("/proc/self/oom_score_adj").write_text("500", encoding="ascii")  # this one first, not the supervisor
    except OSError:
        logs.log("warning", "the kernel does not let this process be chosen first when memory runs out")
    if slot.memory_mb is None:
        return
    bytes_ = int(slot.memory_mb * 1_000_000 * _SPARE) + 512_000_000
    _, hard = resource.getrlimit(resource.RLIMIT_DATA)
    resource.setrlimit(
        resource.RLIMIT_DATA, (bytes_, hard) if hard == resource.RLIM_INFINITY else (min(bytes_, hard), hard)
    )
