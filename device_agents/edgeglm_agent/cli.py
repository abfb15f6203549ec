"""The command ``edgeglm-agent``: parse, call, print. No verb imports what another needs; none but selftest numpy.

Exit codes: 0 done, 1 a bug of ours (with its traceback), 2 the settings or the command line are at fault, 4 the machine
is, or no agent runs here, 130 and 143 stopped by Ctrl-C and SIGTERM. The systemd units start nothing again that ended
with 2: only an edit mends it.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import re
import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from edgeglm_agent import __version__

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from edgeglm_agent.errors import UnavailableError
    from edgeglm_agent.supervisor.head_start import HeadStart
    from edgeglm_agent.supervisor.stop_signals import StopSignals

DEFAULT_SETTINGS = Path("/etc/edgeglm-agent/agent.toml")
DEFAULT_RUNTIME_DIR = Path("/run/edgeglm-agent")
_EXTERNAL = re.compile(rb"""^\s*workers\s*=\s*["']external["']""", re.MULTILINE)
_MAY_COME = {"settings-file", "settings-unreadable"}  # a disk that is mounted late mends these, and no edit need do
_STOPPED = {signal.SIGINT: 130, signal.SIGTERM: 143}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one verb and return the exit code (entry point)."""
    if sys.stderr is None:  # closed by the caller (`2>&-`): print() would take stdout instead
        sys.stderr = open(os.devnull, "w", encoding="utf-8")  # noqa: PTH123, SIM115 - for the rest of the process
    parser = _parser()
    given = parser.parse_args(arguments)
    verb: Callable[[argparse.Namespace], int] | None = getattr(given, "verb", None)
    if verb is None:
        parser.print_help(sys.stderr)
        return 2
    try:
        code = verb(given)
        sys.stdout.flush()
    except BrokenPipeError:  # the reader of stdout has left (`| head`)
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except KeyboardInterrupt:
        return _STOPPED[signal.SIGINT]
    except Exception as error:
        from edgeglm_agent.errors import AgentError  # msgspec: a verb that starts a process first has no time for it

        if not isinstance(error, AgentError):
            raise
        print(error, file=sys.stderr)
        return error.exit_code
    return code


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="edgeglm-agent", description="Serve models on this board, and tell the fleet how they do."
    )
    parser.add_argument("--version", action="version", version=f"edgeglm-agent {__version__}")
    verbs = parser.add_subparsers(title="verbs", metavar="VERB")

    run = verbs.add_parser("run", help="serve the models of a settings file until SIGTERM")
    run.add_argument("settings", metavar="FILE", type=Path, help="the settings: a TOML file")
    run.set_defaults(verb=_run)

    check = verbs.add_parser("check", help="say whether a settings file is right, and what it sets")
    check.add_argument("settings", metavar="FILE", type=Path, help="the settings: a TOML file")
    check.set_defaults(verb=_check)

    status = verbs.add_parser("status", help="say how the agent that runs here is doing")
    status.add_argument("settings", metavar="FILE", type=Path, nargs="?", help=f"its settings; else {DEFAULT_SETTINGS}")
    status.add_argument("--json", action="store_true", help="print JSON")
    status.set_defaults(verb=_status)

    restart = verbs.add_parser(
        "restart", help="let slots of the agent that runs here begin anew, out of quarantine too"
    )
    restart.add_argument(
        "settings", metavar="FILE", type=Path, nargs="?", help=f"its settings; else {DEFAULT_SETTINGS}"
    )
    restart.add_argument("--slot", default="", metavar="NAME", help="this slot alone")
    restart.set_defaults(verb=_restart)

    doctor = verbs.add_parser("doctor", help="say what is wrong here, and how to mend it; exit 4 where something fails")
    doctor.add_argument("settings", metavar="FILE", type=Path, nargs="?", help="look at what these settings need, too")
    doctor.add_argument("--json", action="store_true", help="print JSON")
    doctor.set_defaults(verb=_doctor)

    selftest = verbs.add_parser("selftest", help="load every slot's model, hold it against its golden samples, run it")
    selftest.add_argument("settings", metavar="FILE", type=Path, help="the settings: a TOML file")
    selftest.add_argument("--slot", action="append", metavar="NAME", help="this slot alone; can be repeated")
    selftest.add_argument("--json", action="store_true", help="print JSON")
    selftest.set_defaults(verb=_selftest)

    worker = verbs.add_parser("worker", help="be the worker of one slot; started by the supervisor or by systemd")
    worker.add_argument("--socket", required=True, metavar="PATH", help="the supervisor's")
    worker.add_argument("--slot", required=True, metavar="NAME", help="which slot of the settings")
    worker.set_defaults(verb=_worker)
    return parser


def _run(given: argparse.Namespace) -> int:
    from edgeglm_agent.supervisor.stop_signals import StopSignals

    with StopSignals() as stop:
        from contextlib import nullcontext

        from edgeglm_agent.supervisor.head_start import HeadStart

        # first of all: what takes longest until a model answers is a worker's imports
        with nullcontext() if _external(given.settings) else HeadStart() as head_start:
            return _supervise(given.settings, head_start, stop)


def _external(path: Path) -> bool:
    """Return whether the settings seem to want no workers of ours: a look at the text, which is read in full later."""
    try:
        return _EXTERNAL.search(path.read_bytes()) is not None
    except OSError:  # is told of where it is read in full
        return False


def _supervise(path: Path, head_start: HeadStart | None, stop: StopSignals) -> int:
    from edgeglm_agent import logs
    from edgeglm_agent.errors import Problem, SettingsError, UnavailableError
    from edgeglm_agent.settings.load import load_settings

    try:
        settings = load_settings(path, models=False)  # a damaged model is its worker's, and reported
    except SettingsError as error:
        if all(problem.code in _MAY_COME for problem in error.problems):
            raise UnavailableError(error.problems) from None
        raise
    logs.configure(settings.log)
    from edgeglm_agent.supervisor.locks import AgentRunningError
    from edgeglm_agent.supervisor.run import Supervisor

    try:
        supervisor = Supervisor(settings, head_start=head_start, stop=stop)
    except AgentRunningError as error:
        hint = f"stop the other one (`edgeglm-agent status` shows its pid), or give each a {error.setting} of its own"
        problem = Problem(message=str(error), hint=hint, where=str(error.folder), code="agent-running")
        raise UnavailableError([problem]) from None
    except OSError as error:
        raise _refused(error, settings.state_dir, settings.runtime_dir) from error
    code = supervisor.run()
    logs.flush()
    return code


def _check(given: argparse.Namespace) -> int:
    from edgeglm_agent.settings.load import load_settings

    settings = load_settings(given.settings)
    broker = settings.mqtt.host if settings.mqtt is not None else "no broker"
    print(f"{given.settings}: device {settings.device} of fleet {settings.fleet}, {broker}")
    for name, slot in settings.slots.items():
        results = ", ".join(_kind(result) for result in slot.results) or "nothing"
        print(f"  {name}: {slot.model}, from {_kind(slot.input)}, to {results}")
    return 0


def _status(given: argparse.Namespace) -> int:
    _end_on_sigterm()
    from edgeglm_agent.status import ask

    with _asking(given.settings) as runtime_dir:
        status = ask(runtime_dir)
    if given.json:
        _print_json(status)
    else:
        from edgeglm_agent.status_text import render

        print(render(status))
    return 0


def _restart(given: argparse.Namespace) -> int:
    _end_on_sigterm()
    from edgeglm_agent.status import restart

    with _asking(given.settings) as runtime_dir:
        refused = restart(runtime_dir, given.slot)
    if refused:
        from edgeglm_agent.errors import Problem, UsageError

        hint = "`edgeglm-agent status` shows them"
        raise UsageError([Problem(message=refused, hint=hint, where=str(runtime_dir), code="settings-no-slot")])
    print(f"{given.slot or 'every slot'} begins anew")
    return 0


@contextlib.contextmanager
def _asking(settings: Path | None) -> Iterator[Path]:
    """Give the folder of the sockets of the agent that runs here; what goes wrong there is an error for people."""
    runtime_dir = _runtime_dir(settings)
    try:
        yield runtime_dir
    except PermissionError:
        hint = "run it as the agent's user: sudo -u edgeglm-agent edgeglm-agent ..."
        raise _unavailable("this user may not ask the agent", hint, runtime_dir, "agent-no-access") from None
    except (FileNotFoundError, ConnectionRefusedError):
        hint = "start it (systemctl start edgeglm-agent, or edgeglm-agent run FILE), or name its settings file"
        raise _unavailable("no agent runs here", hint, runtime_dir, "agent-not-running") from None
    except OSError as error:
        hint = "look at its log: it may be starting, stopping or stuck"
        message = f"the agent gives no answer: {error}"
        raise _unavailable(message, hint, runtime_dir, "agent-no-answer") from None


def _doctor(given: argparse.Namespace) -> int:
    _end_on_sigterm()
    from edgeglm_agent.doctor import diagnose, render

    path = given.settings or (DEFAULT_SETTINGS if DEFAULT_SETTINGS.exists() else None)
    findings = diagnose(path)
    if given.json:
        _print_json(findings)
    else:
        print(render(findings))
    return 4 if any(finding.status == "fail" for finding in findings) else 0


def _selftest(given: argparse.Namespace) -> int:
    _end_on_sigterm()
    from edgeglm_agent.selftest import render, try_slots
    from edgeglm_agent.settings.load import load_settings

    outcomes = try_slots(load_settings(given.settings), given.slot)
    if given.json:
        _print_json(outcomes)
    else:
        print(render(outcomes))
    return 0 if all(outcome.passed for outcome in outcomes) else 4


def _worker(given: argparse.Namespace) -> int:
    from edgeglm_agent.worker.run import main as serve

    return serve(given.socket, given.slot)


def _runtime_dir(path: Path | None) -> Path:
    from edgeglm_agent.settings.load import runtime_dir_of

    if path is not None:
        return runtime_dir_of(path)
    return runtime_dir_of(DEFAULT_SETTINGS) if DEFAULT_SETTINGS.exists() else DEFAULT_RUNTIME_DIR


def _kind(config: object) -> str:
    import msgspec

    return str(msgspec.to_builtins(config)["kind"])


def _print_json(document: object) -> None:
    import msgspec

    print(msgspec.json.format(msgspec.json.encode(document), indent=2).decode())


def _unavailable(message: str, hint: str, runtime_dir: Path, code: str) -> UnavailableError:
    from edgeglm_agent.errors import Problem, UnavailableError

    return UnavailableError([Problem(message=message, hint=hint, where=str(runtime_dir), code=code)])


def _refused(error: OSError, *folders: str) -> UnavailableError:
    where = str(error.filename or " or ".join(folders))
    hint = "let the agent's user write there, or name other folders by state_dir and runtime_dir"
    message = f"cannot be used: {error.strerror or error}"
    from edgeglm_agent.errors import Problem, UnavailableError

    return UnavailableError([Problem(message=message, hint=hint, where=where, code="agent-folder")])


def _end_on_sigterm() -> None:
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(_STOPPED[signal.SIGTERM]))
