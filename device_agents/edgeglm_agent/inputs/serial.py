"""`kind = "serial"`: lines of numbers from a serial port, by the standard library's termios."""

from __future__ import annotations

import os
import select
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from msgspec import Meta

from edgeglm_agent.inputs._base import Arrival, EndOfInput, Input, InputContext, InputError, InputLostError, Source

if TYPE_CHECKING:
    from edgeglm_agent.inputs.feed import Feed
    from edgeglm_agent.inputs.shared import Tap

_KEPT_LINES = 4096  # for a model that is busy; older ones go, and are counted
_LONGEST_LINE = 65536  # bytes; noise of a wrong speed has no line ends
_TOO_LONG = b"\n"  # stands for such a line: no line holds this
_LOOK_S = 0.2
_QUIET_S = 0.1  # nothing came for so long after opening: the next byte begins a line


class SerialInput(Input, tag="serial", frozen=True, kw_only=True):
    """Lines of numbers from a serial port: each a sample, or a row of the next window."""

    device: str  # better a name that stays: /dev/serial/by-id/...
    baud: Annotated[int, Meta(ge=50)] = 115200  # bits a second, as the sender has it
    parity: Literal["none", "even", "odd"] = "none"  # as the sender has it
    delimiter: Annotated[str, Meta(min_length=1, max_length=1)] = ","  # between numbers; " " stands for any blanks
    length: Annotated[int, Meta(ge=1, le=1_000_000)] | None = None  # lines of one window; none: each line is a sample
    stride: Annotated[int, Meta(ge=1)] = 1  # lines from the start of one window to that of the next

    def check(self) -> None:
        """See ``Input.check``. Raises: InputError: A speed that no port has."""
        self.speed()

    def speed(self) -> int:
        """Return the system's number for the speed. Raises: InputError."""
        import termios

        speed: int | None = getattr(termios, f"B{self.baud}", None)
        if speed is None:
            known = sorted(int(name[1:]) for name in dir(termios) if name[0] == "B" and name[1:].isdigit())
            listed = ", ".join(str(rate) for rate in known if rate >= 1200)
            raise InputError(f"{self.baud} is no speed of a serial port here", key="baud", hint=f"there are {listed}")
        return speed

    def open(self, context: InputContext) -> Source:
        """Open the port. Raises: InputError, InputLostError."""
        from edgeglm_agent.inputs.shared import Tap

        speed = self.speed()

        def start(feed: Feed) -> Port:
            return Port(self.device, speed, self.parity, feed)

        tap = Tap(
            context.runtime_dir,
            device=f"serial {Path(self.device).resolve()}",
            settings=f"{self.baud} {self.parity}".encode(),
            slot=context.slot,
            keep=_KEPT_LINES,
            start=start,
        )
        return Lines(tap, self, takes_texts=context.takes_texts)


class Port:
    """An open port and the thread that reads its lines."""

    def __init__(self, device: str, speed: int, parity: str, feed: Feed) -> None:
        """Open it, raw, for this process alone. Raises: InputError, InputLostError."""
        import fcntl
        import termios

        self._device = device
        self._feed = feed
        try:
            self._port = os.open(device, os.O_RDWR | os.O_NOCTTY | os.O_NONBLOCK | os.O_CLOEXEC)
        except OSError as error:
            if isinstance(error, PermissionError):
                hint = "add the agent's user to the group `dialout`"
                raise InputError(f"{device} may not be opened", key="device", hint=hint) from error
            raise InputLostError(f"{device} cannot be opened: {error.strerror}") from error
        self._wake, self._waker = os.pipe2(os.O_CLOEXEC)
        try:
            if not os.isatty(self._port):
                raise InputError(f"{device} is no serial port", key="device")
            fcntl.ioctl(self._port, termios.TIOCEXCL)
            bits = {"none": 0, "even": termios.PARENB, "odd": termios.PARENB | termios.PARODD}[parity]
            settings: list[Any] = termios.tcgetattr(self._port)
            settings[0] = termios.IGNBRK | (termios.INPCK if bits else 0)
            settings[1] = 0
            settings[2] = termios.CS8 | termios.CREAD | termios.CLOCAL | bits
            settings[3] = 0
            settings[4] = settings[5] = speed
            settings[6][termios.VMIN], settings[6][termios.VTIME] = 1, 0
            termios.tcsetattr(self._port, termios.TCSANOW, settings)
            termios.tcflush(self._port, termios.TCIFLUSH)
        except termios.error as error:
            self._closed()
            raise InputLostError(f"{device} cannot be set up: {error.args[-1]}") from error
        except BaseException:
            self._closed()
            raise
        self._thread = threading.Thread(target=self._read, name="serial", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Let go of the port."""
        os.write(self._waker, b"x")
        self._thread.join()
        self._closed()

    def _closed(self) -> None:
        for number in (self._port, self._wake, self._waker):
            os.close(number)

    def _read(self) -> None:
        opened = time.monotonic()
        rest, whole = bytearray(), False  # whole: the line that comes is there from its first byte on
        try:
            while True:
                ready, _, _ = select.select([self._port, self._wake], [], [])
                if self._wake in ready:
                    return
                data = os.read(self._port, 65536)
                if not data:
                    raise OSError("it has gone")
                if not whole and not rest and time.monotonic() - opened > _QUIET_S:
                    whole = True
                rest += data.replace(b"\r", b"\n")
                *lines, last = rest.split(b"\n")
                for line in lines:
                    if whole and line.strip():
                        self._feed.put(bytes(line))
                    whole = True
                rest = bytearray(last)
                if len(rest) > _LONGEST_LINE:
                    self._feed.put(_TOO_LONG)
                    rest, whole = bytearray(b"?"), False  # what is left of it is no line either
        except BlockingIOError:
            self._feed.end(InputLostError(f"{self._device} said that it can be read, and could not"))
        except OSError as error:
            self._feed.end(InputLostError(f"{self._device}: {error.strerror or error}"))


class Lines:
    """Lines as samples."""

    def __init__(self, tap: Tap, config: SerialInput, *, takes_texts: bool) -> None:
        """Take lines from ``tap``, as texts or as numbers."""
        from edgeglm_agent.inputs import decode
        from edgeglm_agent.inputs.windows import Windows

        self._decode = decode
        self._tap = tap
        self._delimiter = config.delimiter
        self._texts = takes_texts
        self._each = config.length is None
        self._windows = Windows(config.length or 1, config.stride)
        self._joins = tap.joins
        self._dropped = 0
        self._stopped = False

    def read(self, timeout_s: float) -> list[Arrival]:
        """Return the next sample. Raises: InputLostError, EndOfInput."""
        end = time.monotonic() + timeout_s
        while not self._stopped:
            now = time.monotonic()
            got = self._tap.next(max(0.0, min(_LOOK_S, end - now)))
            if got is None:
                if now >= end:
                    return []
                continue
            item, dropped = got
            if self._tap.joins != self._joins:  # nobody knows what came while another took over
                self._joins = self._tap.joins
                self._windows.begin_anew()
            arrival = self._arrival(bytes(item.payload), f"line-{item.number}", item.at_ns, dropped)
            if arrival is not None:
                return [arrival]
        raise EndOfInput("told to stop")

    def stop(self) -> None:
        """Take no line any more."""
        self._stopped = True

    def close(self) -> None:
        """Let go of the port."""
        self._tap.close()

    def _arrival(self, line: bytes, name: str, at_ns: int, dropped: int) -> Arrival | None:
        """Return the sample that this line is, or completes; None: it is empty, or the window is not full yet."""
        if dropped:
            self._dropped += dropped
            self._windows.begin_anew()
        sample: Any = None
        try:
            if line == _TOO_LONG:
                raise self._decode.DamagedError(f"a line of more than {_LONGEST_LINE} bytes: is `baud` the sender's?")
            text = self._decode.text(line)
            if not text.strip():
                return None  # as lines without a byte are
            if self._texts:
                sample = text
            else:
                window = self._windows.add(self._decode.row(text, self._delimiter))
                sample = window[0] if self._each and window is not None else window
        except ValueError as error:  # DamagedError among them
            self._windows.begin_anew()
            return self._told(Arrival(sample=None, name=name, at_ns=at_ns, fault=str(error)))
        return None if sample is None else self._told(Arrival(sample=sample, name=name, at_ns=at_ns))

    def _told(self, arrival: Arrival) -> Arrival:
        arrival.dropped, self._dropped = self._dropped, 0
        return arrival
