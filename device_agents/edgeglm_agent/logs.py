"""Lines on stderr, which journald or a container keeps: one event each, as JSON or as text.

What must not be read there is taken out: values whose name says that they are secret, secrets that ``hide`` was told
of, and passwords within addresses and pipelines. A line that repeats without end is written ten times a minute, then
counted.
"""

from __future__ import annotations

import os
import re
import threading
import time
from collections import deque
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

import msgspec

from edgeglm_agent.passwords import HIDDEN, hidden

if TYPE_CHECKING:
    from edgeglm_agent.settings.types import Log

Level: TypeAlias = Literal["debug", "info", "warning", "error"]
_LEVELS = {"debug": 0, "info": 1, "warning": 2, "error": 3}
_JOURNAL = {"debug": "<7>", "info": "<6>", "warning": "<4>", "error": "<3>"}  # sd-daemon(3)
_SECRET_NAME = re.compile(
    r"password|passwd|passphrase|(^|[_-])pass$|secret|token|credential|authori[sz]ation|cookie|api[_-]?key|private",
    re.IGNORECASE,
)
_SHORTEST_SECRET = 4  # shorter ones would take pieces out of common words
_BURST, _PERIOD_S = 10, 60.0  # of one message
_MOST_MESSAGES = 256  # whose repetitions are watched at a time
_KEPT_LINES = 200  # for the command `logs`
_INT64 = 2**63
_MOST_CHARACTERS = 8_000  # of one value


class _Repeated:
    """How often one message came since its period began."""

    __slots__ = ("began", "held_back", "level", "written")

    def __init__(self, began: float, level: Level) -> None:
        self.began = began
        self.level = level
        self.written = 0
        self.held_back = 0


class Logger:
    """Writes lines to a file descriptor. Any thread may call it; it never raises for what it is given."""

    def __init__(self, settings: Log | None = None, *, descriptor: int = 2) -> None:
        self._descriptor = descriptor
        self._lock = threading.RLock()  # of the same thread too: a signal's handler may write while a line is written
        self._secrets: tuple[str, ...] = ()
        self._repeated: dict[str, _Repeated] = {}
        self._kept: deque[str] = deque(maxlen=_KEPT_LINES)
        self._least = _LEVELS["info"]
        self._json = True
        self._journal = False
        self.unwritten = 0  # lines that stderr did not take
        if settings is not None:
            self.configure(settings)

    def configure(self, settings: Log) -> None:
        """Write from now on as the settings say."""
        self._least = _LEVELS[settings.level]
        self._json = settings.format == "json"
        self._journal = _goes_to_journal(self._descriptor)

    def hide(self, secret: str) -> None:
        """Never write this value (a password, a token), wherever it may stand in a line."""
        if len(secret) >= _SHORTEST_SECRET and secret not in self._secrets:
            with self._lock:
                self._secrets = tuple(sorted((*self._secrets, secret), key=len, reverse=True))

    def recent(self, count: int = _KEPT_LINES) -> list[str]:
        """Return the newest lines of this process, oldest first."""
        with self._lock:
            return list(self._kept)[-count:] if count > 0 else []

    def log(self, level: Level, message: str, *, trace_id: str = "", **fields: Any) -> None:
        """Write one line.

        Args:
            level: Lines below the level of the settings are dropped.
            message: The same words for the same event; what differs goes into ``fields``, so that repetitions can be
                counted.
            trace_id: Of the sample, window or event that this is about.
            **fields: Numbers, texts, lists and dicts. A value whose name says that it is secret is not written.
        """
        if _LEVELS[level] < self._least:
            return
        now = time.monotonic()
        with self._lock:
            self._tell_held_back(now)
            if self._may_write(level, message, now):
                self._write(level, message, trace_id, fields)

    def flush(self) -> None:
        """Write how often lines were held back, though their minute has not passed."""
        with self._lock:
            self._tell_held_back(float("inf"))

    def _may_write(self, level: Level, message: str, now: float) -> bool:
        seen = self._repeated.get(message)
        if seen is None:
            if len(self._repeated) >= _MOST_MESSAGES:
                self._tell_held_back(float("inf"))  # and begin anew: memory is bounded
            seen = self._repeated[message] = _Repeated(now, level)
        if seen.written < _BURST:
            seen.written += 1
            return True
        seen.held_back += 1
        return False

    def _tell_held_back(self, now: float) -> None:
        over = [message for message, seen in self._repeated.items() if now - seen.began >= _PERIOD_S]
        for message in over:
            seen = self._repeated.pop(message)
            if seen.held_back:
                self._write(seen.level, message, "", {"held_back": seen.held_back})

    def _write(self, level: Level, message: str, trace_id: str, fields: dict[str, Any]) -> None:
        at = datetime.now(timezone.utc).isoformat(timespec="milliseconds").replace("+00:00", "Z")
        said = self._plain(message)
        values = {name: self._plain(value, name) for name, value in fields.items()}
        if self._json:
            document = {"at": at, "level": level, "message": said}
            if trace_id:
                document["trace_id"] = trace_id
            for name, value in values.items():
                document[f"{name}_" if name in document else name] = value
            line = msgspec.json.encode(document).decode()
        else:
            shown = [f"{name}={_as_text(value)}" for name, value in values.items()]
            shown += [f"trace_id={trace_id}"] if trace_id else []
            line = "  ".join([at, f"{level:7}", said.replace("\n", " "), *shown])
        self._kept.append(line)
        prefix = _JOURNAL[level] if self._journal else ""
        try:
            os.write(self._descriptor, f"{prefix}{line}\n".encode("utf-8", "replace"))
        except OSError:  # closed, full, or its reader has gone: no reason to stop serving
            self.unwritten += 1

    def _plain(self, value: Any, name: str = "") -> Any:
        """Return a value as JSON can hold it, without what is secret."""
        if value is None or isinstance(value, float) or (isinstance(value, int) and -_INT64 <= value < _INT64):
            return value  # a count of tokens is no token
        if name and _SECRET_NAME.search(name):
            return HIDDEN
        if isinstance(value, dict):
            return {str(key): self._plain(item, str(key)) for key, item in value.items()}
        if isinstance(value, list | tuple | set | frozenset):
            return [self._plain(item) for item in value]
        if isinstance(value, bytes | bytearray | memoryview):
            return f"{len(value)} bytes"
        text = str(value) if not isinstance(value, BaseException) else f"{type(value).__name__}: {value}"
        for secret in self._secrets:
            text = text.replace(secret, HIDDEN)
        text = hidden(text).encode("utf-8", "replace").decode()
        return text if len(text) <= _MOST_CHARACTERS else f"{text[:_MOST_CHARACTERS]}... ({len(text)} characters)"


def _as_text(value: Any) -> str:
    text = value if isinstance(value, str) else msgspec.json.encode(value).decode()
    return f'"{text}"' if not text or any(character.isspace() for character in text) else text


def _goes_to_journal(descriptor: int) -> bool:
    """Tell whether journald reads this descriptor: it takes the level from the first characters, and drops them."""
    device, _, inode = os.environ.get("JOURNAL_STREAM", "").partition(":")
    if not inode:
        return False
    try:
        found = os.fstat(descriptor)
    except OSError:
        return False
    return (str(found.st_dev), str(found.st_ino)) == (device, inode)


def configure(settings: Log) -> None:
    """Write from now on as the settings say: this process alone; a worker is told when it may start."""
    _process.configure(settings)


_process = Logger()
hide = _process.hide
log = _process.log
flush = _process.flush
recent = _process.recent
