"""A whole run: in this process, or divided among several; and what came of it."""

from __future__ import annotations

import asyncio
import contextlib
import os
import secrets
import subprocess
import sys
import threading
import time
from importlib import import_module
from typing import TYPE_CHECKING, BinaryIO, cast

import msgspec

from edgeglm.errors import EnvironmentFailedError, MissingExtraError, Problem, UserError, WorkerError
from edgeglm.fleet.addresses import parse_broker
from edgeglm.fleet.simulate.fleet import Fleet
from edgeglm.fleet.simulate.profile import Profile, from_json, to_json
from edgeglm.fleet.simulate.summary import Summary, progress, summarize
from edgeglm.fleet.simulate.tally import Tally, added

if TYPE_CHECKING:
    from collections.abc import Callable

    from edgeglm.log import Log

_LINE_S = 10.0  # between lines about a run that goes on
_LAST_S = 120.0  # for a process to say goodbye for all its devices


class Job(msgspec.Struct, frozen=True):
    """What one process of a run is to do."""

    profile: msgspec.Raw
    broker: str
    run: str
    start_ms: int
    part: int
    parts: int


class Report(msgspec.Struct, frozen=True):
    """What a process says, once a second."""

    tally: Tally
    done: bool = False
    problems: tuple[Problem, ...] = ()  # why it could not go on
    exit_code: int = 0


def simulate(
    profile: Profile, broker: str, *, processes: int = 1, log: Log, stop: threading.Event | None = None
) -> Summary:
    """Let the devices of a profile speak to a broker, for as long as it says, or until told to stop.

    Args:
        profile: What to simulate.
        broker: Its address: ``mqtt://HOST:PORT``.
        processes: Among how many the devices are divided.
        log: Is told how it goes.
        stop: Ends the run.

    Raises:
        UserError: The address is none, or a file that it names cannot be used.
        EnvironmentFailedError: Not one device could connect, or there are more than this machine holds.
    """
    stop = stop or threading.Event()
    address = parse_broker(broker)
    if warning := address.warning():
        log.warn(warning)
    told = [0.0]

    def on_second(tally: Tally, seconds: float) -> None:
        if seconds - told[0] >= _LINE_S:
            told[0] = seconds
            log.note(progress(tally, seconds))

    log.stage(f"{profile.devices:,} devices of the fleet `{profile.fleet}` speak to {address}")
    # importing takes a process a second, and several on a busy machine: the run begins when all are ready
    if processes == 1:
        load_runtime()
        began = time.time()
        tally = work(_jobs(profile, broker, began, 1)[0], stop, on_second)
    else:
        children = _Processes(processes)
        began = time.time()
        tally = children.watch(_jobs(profile, broker, began, processes), stop, on_second)
    return summarize(tally, seconds=time.time() - began, processes=processes)


def _jobs(profile: Profile, broker: str, began: float, parts: int) -> list[Job]:
    run = secrets.token_hex(8)
    return [Job(msgspec.Raw(to_json(profile)), broker, run, round(began * 1000), part, parts) for part in range(parts)]


def load_runtime() -> None:
    """Import what a run needs. Raises: MissingExtraError: It is not installed."""
    try:
        import_module("edgeglm.fleet.simulate.run")
    except ModuleNotFoundError as error:
        if error.name is None or error.name.partition(".")[0] != "gmqtt":
            raise
        raise MissingExtraError(
            "gmqtt is not installed", hint='pip install "edgeglm[fleet]"', code="missing-extra"
        ) from error


def work(job: Job, stop: threading.Event, on_second: Callable[[Tally, float], None]) -> Tally:
    """Do one process's part in this process. Raises: as ``simulate``."""
    load_runtime()
    from edgeglm.fleet.simulate.link import Target
    from edgeglm.fleet.simulate.run import Run

    profile = from_json(bytes(job.profile))
    fleet = Fleet(profile, run=job.run, start_ms=job.start_ms)
    target = Target(parse_broker(job.broker), keepalive_s=min(65_535, max(60, round(2 * profile.window_s))))
    return asyncio.run(Run(fleet, target, part=job.part, parts=job.parts).go(stop, on_second))


class _Processes:
    """The processes of a run; they end when this one does, since their input ends then."""

    def __init__(self, count: int) -> None:
        """Start them, and wait until they are ready."""
        command = [sys.executable, "-P", "-m", "edgeglm.fleet.simulate.process"]
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "start_new_session": True}
        self._children = [subprocess.Popen(command, **pipes) for _ in range(count)]  # type: ignore[call-overload]
        self._reports: dict[int, Report] = {}
        self._readers = [
            threading.Thread(target=self._read, args=(number, child.stdout), daemon=True)
            for number, child in enumerate(self._children)
        ]
        for child in self._children:
            child.stdout.readline()  # nothing, where it died: that is seen when it is to report

    def watch(self, jobs: list[Job], stop: threading.Event, on_second: Callable[[Tally, float], None]) -> Tally:
        """Let them do their jobs; return what they did together."""
        for child, job, reader in zip(self._children, jobs, self._readers, strict=True):
            with contextlib.suppress(BrokenPipeError):
                child.stdin.write(msgspec.json.encode(job) + b"\n")
                child.stdin.flush()
            reader.start()
        began = time.monotonic()
        try:
            while any(reader.is_alive() for reader in self._readers) and not self._failed():
                if stop.wait(1.0):
                    break
                on_second(self._together(), time.monotonic() - began)
        finally:
            self._end()
        if (failed := self._failed()) is not None:
            problems = list(failed.problems)
            raise UserError.of(problems) if failed.exit_code == 2 else EnvironmentFailedError.of(problems)
        if not all(report.done for report in self._reports.values()) or len(self._reports) < len(self._children):
            raise WorkerError(
                "a process of the simulation died", hint="look above for what it said, and at the memory that is free",
                code="worker-died",
            )  # fmt: skip
        return self._together()

    def _end(self) -> None:
        for child in self._children:
            with contextlib.suppress(BrokenPipeError):
                child.stdin.close()  # tells it to end
        until = time.monotonic() + _LAST_S
        for child, reader in zip(self._children, self._readers, strict=True):
            reader.join(max(0.0, until - time.monotonic()))
            if reader.is_alive():
                child.kill()
            child.wait()

    def _failed(self) -> Report | None:
        return next((report for report in [*self._reports.values()] if report.problems), None)

    def _together(self) -> Tally:
        return added([report.tally for report in [*self._reports.values()]])

    def _read(self, number: int, lines: BinaryIO) -> None:
        for line in lines:
            self._reports[number] = msgspec.json.decode(line, type=Report)


def serve_as_process() -> None:
    """Do the job that comes on stdin, say how it goes on stdout, and end when stdin does."""
    from edgeglm.errors import EdgeglmError

    stop, requests, replies = threading.Event(), sys.stdin.buffer, cast("BinaryIO", sys.stdout.buffer)
    with contextlib.suppress(EdgeglmError):  # it is said when there is a job
        load_runtime()
    replies.write(b"ready\n")
    replies.flush()
    line = requests.readline()
    if not line:  # whoever started it is gone
        return
    job = msgspec.json.decode(line, type=Job)

    def listen() -> None:
        while os.read(0, 4096):  # not by way of `requests`, whose lock this thread would hold when Python ends
            pass
        stop.set()

    def say(report: Report) -> None:
        try:
            replies.write(msgspec.json.encode(report) + b"\n")
            replies.flush()
        except BrokenPipeError:  # nobody is there any more
            stop.set()

    threading.Thread(target=listen, daemon=True).start()
    try:
        say(Report(work(job, stop, lambda tally, _: say(Report(tally))), done=True))
    except EdgeglmError as error:
        say(Report(Tally(), problems=error.problems, exit_code=error.exit_code))
