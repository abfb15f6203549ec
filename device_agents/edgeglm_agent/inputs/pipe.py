"""A program that writes frames to its standard output, read into a feed."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import signal
import subprocess
import threading
from collections import deque
from typing import TYPE_CHECKING, Annotated, Literal

from msgspec import Meta

from edgeglm_agent.inputs._base import EndOfInput, Input, InputContext, InputLostError
from edgeglm_agent.inputs.frames import Frames, Layout
from edgeglm_agent.passwords import hidden

if TYPE_CHECKING:
    from collections.abc import Sequence

    from edgeglm_agent.inputs.feed import Feed
    from edgeglm_agent.inputs.shared import Reader

_PIPE_BYTES = 1 << 20  # fewer turns for large frames; the kernel's own default is 64 KiB
_SET_PIPE_SIZE = 1031  # F_SETPIPE_SZ of <fcntl.h>
_END_S = 2.0  # that a program has to end when it is asked to
_LINES, _LINE = 5, 300  # of stderr that an error shows


class FrameInput(Input, frozen=True, kw_only=True):
    """What inputs have in common that give frames."""

    mode: Literal["auto", "rgb", "grey"] = "auto"  # channels that the model is given; auto: what it takes
    silence_s: Annotated[float, Meta(gt=0)] = 10.0  # no frame for so long: the camera counts as gone, is opened anew

    def frames(
        self,
        context: InputContext,
        argv: Sequence[str],
        layout: Layout,
        *,
        device: str,
        called: str,
        once: bool = False,
    ) -> Frames:
        """Return the frames that a program writes; slots that name the same device share one program.

        Args:
            context: Of the slot.
            argv: The program and its arguments.
            layout: How frames follow each other.
            device: What may be opened once only.
            called: What errors call it.
            once: The program's end is the input's, and it is this slot's alone.

        Raises:
            InputError: Another slot uses the device in another way.
            InputLostError: It cannot be started now.
        """
        from edgeglm_agent.inputs.shared import Tap

        layout.check()

        def start(feed: Feed) -> Reader:
            return Program(argv, layout, feed, called=called, once=once)

        tap = Tap(
            context.runtime_dir,
            device=f"{device} of {context.slot}" if once else device,
            settings=repr((list(argv), layout)).encode(),
            slot=context.slot,
            keep=1,
            start=start,
            called=hidden(device),  # a command line may hold a password
        )
        mode = context.image_mode if self.mode == "auto" else self.mode
        return Frames(tap, layout, mode, called=called, silence_s=self.silence_s)


class Program:
    """A running program and the threads that read it."""

    def __init__(self, argv: Sequence[str], layout: Layout, feed: Feed, *, called: str, once: bool = False) -> None:
        """Start it, in a session of its own. Raises: InputLostError: It cannot be started."""
        self._called, self._once = called, once
        self._feed = feed
        self._said: deque[str] = deque(maxlen=_LINES)
        self._closing = False
        # the kernel ends it with this process, however that ends; without setpriv, writing to the broken pipe does
        leash = ["setpriv", "--pdeathsig", "KILL", "--"] if shutil.which("setpriv") else []
        try:
            self._process = subprocess.Popen(
                [*leash, *argv],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                bufsize=0,
                start_new_session=True,
            )
        except OSError as error:
            raise InputLostError(f"{called} cannot be started: {error}") from error
        assert self._process.stdout is not None  # both are pipes
        with contextlib.suppress(OSError):
            import fcntl

            fcntl.fcntl(self._process.stdout, _SET_PIPE_SIZE, _PIPE_BYTES)
        self._threads = [
            threading.Thread(target=self._read_frames, args=(layout,), name="frames", daemon=True),
            threading.Thread(target=self._read_errors, name="stderr", daemon=True),
        ]
        for thread in reversed(self._threads):  # at the end of the frames the errors' thread is waited for
            thread.start()

    def close(self) -> None:
        """End it, and what it has started."""
        self._closing = True
        for number in (signal.SIGTERM, signal.SIGKILL):
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(self._process.pid, number)
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(_END_S)
                break
        for thread in self._threads:
            thread.join(_END_S)
        for stream in (self._process.stdout, self._process.stderr):
            if stream is not None:
                stream.close()

    def _read_frames(self, layout: Layout) -> None:
        stream = self._process.stdout
        assert stream is not None  # a pipe
        try:
            for frame in layout.cut(stream):
                self._feed.put(frame)
        except (OSError, ValueError):  # closed under the reader
            pass
        if not self._closing:
            self._feed.end(self._reason())

    def _read_errors(self) -> None:
        stream = self._process.stderr
        assert stream is not None  # a pipe
        rest = b""
        with contextlib.suppress(OSError, ValueError):
            while data := stream.read(4096):
                *lines, rest = re.split(rb"[\r\n]+", (rest + data)[-_LINE * _LINES * 2 :])
                self._said.extend(_told(line) for line in lines if line.strip())
        if rest.strip():
            self._said.append(_told(rest))

    def _reason(self) -> Exception:
        try:
            status: int | None = self._process.wait(_END_S)
        except subprocess.TimeoutExpired:
            status = None
        self._threads[1].join(_END_S)  # its last words
        if self._once and status == 0:
            return EndOfInput(f"{self._called} has ended")
        if status is None:
            how = "has closed its output"
        else:
            how = f"was ended by signal {-status}" if status < 0 else f"has ended with status {status}"
        said = "; ".join(self._said)
        return InputLostError(f"{self._called} {how}" + (f": {said}" if said else ""))


def _told(line: bytes) -> str:
    """Return a line as it may be shown: what is cut first may lack the `@` by which a password is found."""
    return hidden(line.decode("utf-8", "replace"))[:_LINE]
