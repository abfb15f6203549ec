"""Which commands are obeyed: for this board, in time, once, live, and asking for something that can be asked.

What obeying means is the supervisor's affair.
"""

from __future__ import annotations

import math
from collections import deque
from typing import TYPE_CHECKING, Any, NamedTuple

from edgeglm_agent.wire import WireError
from edgeglm_agent.wire.commands import Command, decode_command
from edgeglm_agent.wire.topics import NAME, OPS

if TYPE_CHECKING:
    from collections.abc import Callable

LONGEST_S = 7 * 86_400  # a deadline further away is refused: ids are remembered until then
_LATEST_ACKS = 16


class Order(NamedTuple):
    """A command that is to be obeyed; ``Uplink.reply`` answers it."""

    op: str  # ping, status, sample, set, restart, logs
    command: Command


class Refusal(NamedTuple):
    """A command that is not obeyed."""

    reason: str  # malformed, retained, foreign, unknown-op, expired, too-far, no-clock, replayed, full, bad-args
    said: str = ""  # for whoever asked; empty: no answer is given
    id: str = ""
    op: str = ""


class Clock:
    """What time it is: by this board where its clock is synchronised, else by the collector's acknowledgements."""

    def __init__(self, *, synchronised: Callable[[], bool], wall: Callable[[], float]) -> None:
        """Take what says whether the board's clock is right, and its clock in seconds."""
        self._synchronised = synchronised
        self._wall = wall
        self._ahead: deque[float] = deque(maxlen=_LATEST_ACKS)  # the collector's clock less the monotonic one

    def learn(self, collector_ms: int, now: float) -> None:
        """Take the collector's clock from an acknowledgement that came at ``now`` (seconds, monotonic)."""
        if collector_ms > 0:
            self._ahead.append(collector_ms / 1000 - now)

    def now_ms(self, now: float) -> int | None:
        """Return Unix milliseconds; None: nobody has told."""
        if self._synchronised():
            return int(self._wall() * 1000)
        # an acknowledgement that took long is behind: the one that came quickest is nearest
        return int((max(self._ahead) + now) * 1000) if self._ahead else None


def judge(
    op: str,
    payload: bytes,
    *,
    device: str,
    retained: bool,
    now_ms: int | None,
    remember: Callable[[str, int, int], bool | None],
) -> Order | Refusal:
    """Return what to obey, or why not.

    Args:
        op: The last level of the topic.
        payload: What came.
        device: This board's name.
        retained: The broker kept it: it is not live.
        now_ms: Unix milliseconds; None: unknown.
        remember: Keeps (id, deadline, now) and says whether the id is new; None: it cannot be kept.
    """
    if retained:
        return Refusal("retained")
    try:
        command = decode_command(payload)
    except WireError as error:
        return Refusal("malformed", str(error)[:200])
    request = command.id
    if not NAME.match(request) or not 0 <= command.deadline_ms < 1 << 53:
        return Refusal("malformed", "its id is not 1 to 63 of letters, digits, dot, hyphen and underscore")
    if command.device != device:
        return Refusal("foreign")
    if op not in OPS:
        return Refusal("unknown-op", f"this version knows {', '.join(OPS)}", request, op)
    if now_ms is None:
        said = "this board's clock is not synchronised, and no acknowledgement has told it the time yet"
        return Refusal("no-clock", said, request, op)
    if command.deadline_ms < now_ms:
        return Refusal("expired")
    if command.deadline_ms > now_ms + LONGEST_S * 1000:
        return Refusal("too-far", "its deadline is more than seven days away", request, op)
    problem = check_arguments(op, command.args)
    if problem:
        return Refusal("bad-args", problem, request, op)
    new = remember(request, command.deadline_ms, now_ms)
    if new is None:
        return Refusal("full", "the disk does not take its id, so a replay could not be told", request, op)
    return Order(op, command) if new else Refusal("replayed")


def check_arguments(op: str, arguments: dict[str, Any]) -> str:
    """Return what is wrong with a command's arguments; empty: nothing."""
    known = _ARGUMENTS[op]
    for key in arguments:
        if key not in known:
            takes = f"takes {', '.join(f'`{name}`' for name in known)}" if known else "takes no arguments"
            return f"unknown argument `{key}`: `{op}` {takes}"
    for key, value in arguments.items():
        problem = known[key](value)
        if problem:
            return f"`{key}` is {value!r:.80}: {problem}"
    if op == "set" and not arguments:
        return f"nothing to set: {', '.join(f'`{name}`' for name in known)}"
    return ""


def _whole(low: int, high: int) -> Callable[[Any], str]:
    def check(value: Any) -> str:
        good = isinstance(value, int) and not isinstance(value, bool) and low <= value <= high
        return "" if good else f"a whole number from {low} to {high}"

    return check


def _share(value: Any) -> str:
    good = isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)
    return "" if good and 0 <= value <= 1 else "a share from 0 to 1"


def _slot(value: Any) -> str:
    return "" if isinstance(value, str) and NAME.match(value) else "the name of a slot"


_ARGUMENTS: dict[str, dict[str, Callable[[Any], str]]] = {
    "ping": {},
    "status": {},
    "sample": {"slot": _slot, "count": _whole(1, 100)},
    "set": {"window_s": _whole(1, 86_400), "sample_share": _share},
    "restart": {"slot": _slot},
    "logs": {"lines": _whole(1, 200)},
}
