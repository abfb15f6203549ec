"""A model in a child process: run it, time it, ask for its memory."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import tempfile
from typing import TYPE_CHECKING, TypeVar

import msgspec

from edgeglm.errors import EdgeglmError, ExportError, MissingExtraError, WorkerError
from edgeglm.files import temporary_folder_is_full
from edgeglm.formats import SUFFIXES
from edgeglm.measure import frames
from edgeglm.measure.children import take_child

if TYPE_CHECKING:
    from pathlib import Path
    from types import TracebackType
    from typing import Self

    from edgeglm_agent.wire import TensorSpec

    from edgeglm.data.splits import Arrays

_CRASHES = (signal.SIGSEGV, signal.SIGABRT, signal.SIGBUS, signal.SIGFPE, signal.SIGILL)
_EXIT_WAIT_S = 10.0  # after its stdin has closed, before it is killed
_STDERR_TAIL_BYTES = 2000
_Answer = TypeVar("_Answer", bound=frames.Reply)


class Runner:
    """One model file in a child process of its own; a context manager.

    The child starts at once, and loads while its parent goes on; entering the context waits for it. So several can
    load side by side. The child dies with the thread that made it: make a runner where it is used.

    Args:
        path: The file; errors name it as given.
        format: ``onnx``, ``tflite`` or ``openvino``.
        threads: Threads of the runtime, at least 1; they do not spin.

    Raises, on entering:
        ExportError: The runtime does not load the file (``file-unloadable``).
        MissingExtraError: The runtime is not installed here.
        WorkerError: The child died (``worker-died``).
    """

    def __init__(self, path: Path, *, format: str, threads: int = 1) -> None:  # noqa: A002 - the manifest's word
        self.path = path
        self.format = format
        self.threads = threads
        self._child = take_child(format, threads)
        self._process, self._stderr = self._child.process, self._child.stderr
        self._requests, self._replies = self._child.requests, self._child.replies
        with contextlib.suppress(BrokenPipeError):  # it is dead: entering the context says so
            frames.write_frame(self._requests, frames.Load(str(path.absolute())))
        self.runtime = ""  # from here on known once the context is entered
        self.inputs: tuple[TensorSpec, ...] = ()
        self.outputs: tuple[TensorSpec, ...] = ()
        self.batch: int | None = None  # the one batch size of the file; None: any

    @property
    def pid(self) -> int:
        """Process id of the child."""
        return self._process.pid

    def run(self, inputs: Arrays) -> Arrays:
        """Return the outputs by name, float32, for inputs by name in the file's own layout; any number of rows.

        Raises:
            ExportError: The inputs do not fit (``input-mismatch``), or the runtime failed (``run-failed``).
            WorkerError: The child died.
        """
        self._request(frames.Run(frames.heads(inputs)), inputs)
        listed = self._reply(frames.Outputs).arrays
        try:
            return frames.read_arrays(self._replies, listed)
        except EOFError as error:
            raise self._death(loading=False) from error

    def time_ms(self, inputs: Arrays, *, runs: int, warmup: int = 0) -> list[float]:
        """Return how long each of ``runs`` runs took, in milliseconds, measured in the child. Raises: as ``run``."""
        self._request(frames.Time(frames.heads(inputs), runs, warmup), inputs)
        return self._reply(frames.Times).ms

    def peak_rss_bytes(self) -> int:
        """Return the most memory that the child had resident so far. Raises: WorkerError."""
        self._request(frames.AskPeakRss())
        return self._reply(frames.PeakRss).size_bytes

    def operators(self) -> list[frames.Operator]:
        """Return every operator that the runtime executes. Raises: as ``run``."""
        if self.format != "onnx":
            self._request(frames.AskOperators())
            return self._reply(frames.Operators).nodes
        from edgeglm.measure.onnx_execution import onnx_operators

        with tempfile.TemporaryDirectory(prefix="edgeglm-") as folder:  # read here, where onnx is imported already
            self._request(frames.WriteOptimized(folder))
            self._reply(frames.Written)
            return onnx_operators(self.path, folder)

    def profile(self, inputs: Arrays, *, runs: int, warmup: int = 0) -> list[tuple[str, int, float]]:
        """Return type, number and milliseconds a run of the operators, as the runtime tells. Raises: as ``run``."""
        self._request(frames.Profile(frames.heads(inputs), runs, warmup), inputs)
        return self._reply(frames.Profiled).types

    def close(self, *, kill: bool = False) -> None:
        """End the child and wait for it; with ``kill`` at once, otherwise when it has read to the end."""
        self._child.close(kill=kill)

    def __enter__(self) -> Self:
        try:
            self._child.await_idle()
            ready = self._reply(frames.Ready, loading=True)
        except EdgeglmError:
            self.close()  # it said why, or is dead: let it end by itself
            raise
        except BaseException:
            self.close(kill=True)
            raise
        self.runtime, self.inputs, self.outputs, self.batch = ready.runtime, ready.inputs, ready.outputs, ready.batch
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close(kill=error is not None)

    def _request(self, request: frames.Request, arrays: Arrays | None = None) -> None:
        try:
            frames.write_frame(self._requests, request, arrays)
        except BrokenPipeError as error:
            raise self._death(loading=False) from error

    def _reply(self, kind: type[_Answer], *, loading: bool = False) -> _Answer:
        try:
            reply = frames.reply_decoder.decode(frames.read_message(self._replies))
        except (EOFError, msgspec.DecodeError) as error:
            raise self._death(loading=loading) from error
        if isinstance(reply, frames.Failed):
            raise self._failure(reply)
        if isinstance(reply, frames.StorageFull):
            raise temporary_folder_is_full()
        assert isinstance(reply, kind), f"{type(reply).__name__} for {kind.__name__}"
        return reply

    def _failure(self, reply: frames.Failed) -> EdgeglmError:
        """Return the error for what the engine said."""
        where = str(self.path)
        if reply.fault == "no-runtime":
            hint = f"install it: pip install 'edgeglm[{self.format}]'"
            if self.format not in SUFFIXES:
                hint = "install, or mend, the package that has an engine for this format"
            return MissingExtraError(reply.message, hint=hint, where=where)
        if reply.fault == "bad-file":
            hint = "the file is damaged, or not of this format; make it again"
            return ExportError(reply.message, hint=hint, where=where, code="file-unloadable")
        if reply.fault == "bad-input":
            hint = "see what the file takes: edgeglm inspect"
            return ExportError(reply.message, hint=hint, where=where, code="input-mismatch")
        hint = "look for values or shapes in the data that the network was not made for"
        return ExportError(reply.message, hint=hint, where=where, code="run-failed")

    def _death(self, *, loading: bool) -> EdgeglmError:
        """Return the error for a child that is gone: how it died, and the last it said."""
        try:
            status = self._process.wait(_EXIT_WAIT_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            status = self._process.wait()
        said = self._said()
        doing = "was loading it" if loading else "ran it"
        how = f"was ended by {_signal_name(-status)}" if status < 0 else f"ended with exit code {status}"
        message = f"the process that {doing} {how}" + (f":\n{said}" if said else "")
        if loading and -status in _CRASHES:
            hint = "the runtime crashed on this file: it is damaged, or uses what this version cannot do"
            return ExportError(message, hint=hint, where=str(self.path), code="file-unloadable")
        hint = "run it again; if it stays, see whether another program ends processes here"
        if status == -signal.SIGKILL:
            hint = "the kernel ends a process like this when memory is short: close other programs, or use less data"
        return WorkerError(message, hint=hint, where=str(self.path))

    def _said(self) -> str:
        size = self._stderr.seek(0, os.SEEK_END)
        self._stderr.seek(max(0, size - _STDERR_TAIL_BYTES))
        return self._stderr.read().decode(errors="replace").strip()


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"
