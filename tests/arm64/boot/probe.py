"""Tries the agent's units from inside the booted board, and tells the serial line what it saw.

Runs as root, with the standard library alone. Each line that begins with PROBE holds a JSON object: what was done
(``after``), and what was seen once the model had answered again; or, where it never did, why (``failed``). The last one
holds the journal.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import time
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

ADDRESS = "http://127.0.0.1:8080/v1/infer"
UNIT, WORKER_UNIT = "edgeglm-agent.service", "edgeglm-agent-worker@main.service"
SYSTEM = Path("/etc/systemd/system")
INSTALL = "/opt/edgeglm-agent/share/edgeglm-agent/systemd/install.sh"
SETTINGS = Path("/etc/edgeglm-agent/agent.toml")
PATIENCE_S = 300.0  # guards against a hang: emulated, on a machine that others use too, a model takes its time to load
# what the units as they come answer with EPERM ends the process here, and the kernel's log names the call
DENIED_KILLS = "[Service]\nSystemCallErrorNumber=kill\n"
PROPERTIES = "ActiveState,SubState,NRestarts,Result,MainPID,WatchdogTimestampMonotonic"

T = TypeVar("T")


def main() -> None:
    try:
        look("boot")
        kill("worker-killed", worker())
        kill("supervisor-killed", supervisor(), worker())
        hold_supervisor()
        external_workers()
        look("external-workers")
        kill("external-worker-killed", worker())
        kill_supervisor_alone()
        deny_by_killing()
        look("denied-calls-kill")
    except TimeoutError as error:
        say(failed=str(error), unit=shown(UNIT), worker_unit=shown(WORKER_UNIT))
    finally:
        say(journal=run("journalctl", "--no-pager", "--output=short-monotonic", "--boot").splitlines())


def look(after: str) -> None:
    """Wait for an answer and for a sign of life to the watchdog; tell what came, and from whom."""
    until(lambda: supervisor() and worker(), f"no supervisor or no worker after {after}")
    answered = until(answer, f"no answer after {after}")
    heard = watchdog()
    until(lambda: watchdog() > heard, f"the watchdog was not fed after {after}")
    say(
        after=after,
        uptime_s=round(time.monotonic(), 1),
        answer=answered,
        supervisor=process(supervisor()),
        worker=process(worker()),
        unit=shown(UNIT),
        worker_unit=shown(WORKER_UNIT),
    )


def kill(after: str, pid: int, *others: int) -> None:
    """End a process as a crash does; others end with it. Then look."""
    kill_only(pid, *others)
    look(after)


def kill_only(pid: int, *others: int) -> None:
    os.kill(pid, signal.SIGKILL)
    until(lambda: not any(map(alive, (pid, *others))), f"{(pid, *others)} have not all ended")


def hold_supervisor() -> None:
    """Let the supervisor hang: systemd is to notice, to end it, and to start another."""
    both = supervisor(), worker()
    os.kill(both[0], signal.SIGSTOP)
    until(lambda: not any(map(alive, both)), "systemd does not notice that the supervisor hangs")
    look("supervisor-hung")


def external_workers() -> None:
    """Change to a unit for each worker, as docs/agent/install.md says, on a board with a Jetson's socket."""
    socket.socket(socket.AF_UNIX).bind("/tmp/argus_socket")
    SETTINGS.write_text('workers = "external"\n' + SETTINGS.read_text())
    run("sh", INSTALL, "--external-workers")
    run("systemctl", "enable", UNIT, WORKER_UNIT)
    run("systemctl", "restart", UNIT)


def kill_supervisor_alone() -> None:
    """End a supervisor whose workers have units of their own: they join the next one."""
    kill_only(supervisor())
    until(lambda: "worker-rejoined" in run("journalctl", "--output=cat", f"--unit={UNIT}"), "no worker rejoins")
    look("external-supervisor-killed")


def deny_by_killing() -> None:
    """Stop the agent in order, with its worker; start it anew, where a system call that is denied ends the process."""
    run("systemctl", "stop", UNIT)
    until(lambda: shown(WORKER_UNIT)["ActiveState"] == "inactive" and not worker(), "the worker goes on without end")
    for unit in (UNIT, "edgeglm-agent-worker@.service"):
        (SYSTEM / f"{unit}.d").mkdir(exist_ok=True)
        (SYSTEM / f"{unit}.d" / "kill.conf").write_text(DENIED_KILLS)
    run("systemctl", "daemon-reload")
    run("systemctl", "start", UNIT)


def answer() -> object:
    """Return what the model answers, None where it does not: it may still be loaded."""
    sample = Path("/sample.json").read_bytes()
    request = urllib.request.Request(ADDRESS, sample, {"Content-Type": "application/json"})
    try:
        with urllib.request.urlopen(request, timeout=60) as response:
            return json.load(response)
    except OSError:
        return None


def until(holds: Callable[[], T], otherwise: str) -> T:
    """Wait until something holds, and return it. Raises: TimeoutError: It never does."""
    ends = time.monotonic() + PATIENCE_S
    while not (value := holds()):
        if time.monotonic() > ends:
            raise TimeoutError(otherwise)
        time.sleep(1)
    return value


def supervisor() -> int:
    return int(shown(UNIT)["MainPID"])


def worker() -> int:
    """Return the pid of the worker, 0 where there is none."""
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            if b"edgeglm_agent.worker" in (folder / "cmdline").read_bytes():
                return int(folder.name)
        except OSError:
            continue
    return 0


def alive(pid: int) -> bool:
    try:
        return "State:\tZ" not in Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return False


def process(pid: int) -> dict[str, object]:
    """Return what the kernel says of a process: its user, what it may do, where it belongs, where it may write."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    said = {name: value.strip() for name, value in (line.split(":", 1) for line in lines)}
    kept = {name: said[name] for name in ("Pid", "Uid", "CapEff", "NoNewPrivs", "Seccomp")}
    mounts = (line.split() for line in Path(f"/proc/{pid}/mountinfo").read_text().splitlines())
    return {
        **kept,
        "cgroup": Path(f"/proc/{pid}/cgroup").read_text().strip(),
        "writable": sorted({mount[4] for mount in mounts if "rw" in mount[5].split(",")}),
    }


def watchdog() -> int:
    """Return when systemd heard last that the supervisor lives, in microseconds since boot."""
    return int(shown(UNIT)["WatchdogTimestampMonotonic"])


def shown(unit: str) -> dict[str, str]:
    return dict(line.split("=", 1) for line in run("systemctl", "show", unit, f"--property={PROPERTIES}").splitlines())


def run(*command: str) -> str:
    return subprocess.run(command, stdout=subprocess.PIPE, text=True, check=False).stdout


def say(**values: object) -> None:
    print(f"\nPROBE {json.dumps(values)}", flush=True)


if __name__ == "__main__":
    main()
