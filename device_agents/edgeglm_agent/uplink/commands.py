"""Which commands are obeyed: for this board, in time, once, live, and asking for something that can be asked.

What obeying means is the supervisor's affair.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, NamedTuple

from edgeglm_agent.wire import WireError
from edgeglm_agent.wire.commands import Arguments, Command, check_args, decode_command
from edgeglm_agent.wire.topics import NAME, OPS

if TYPE_CHECKING:
    from collections.abc import Callable

LONGEST_S = 7 * 86_400  # a deadline further away is refused: ids are remembered until then
_LATEST_ACKS = 16


class Order(NamedTuple):
    """A command that is to be obeyed; ``Uplink.reply`` answers it."""

    op: str  # ping, status, sample, set, restart, logs
    command: Command
    arguments: Arguments  # of that operation


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
    try:
        arguments = check_args(op, command.args)
    except WireError as error:
        return Refusal("bad-args", str(error), request, op)
    new = remember(request, command.deadline_ms, now_ms)
    if new is None:
        return Refusal("full", "the disk does not take its id, so a replay could not be told", request, op)
    return Order(op, command, arguments) if new else Refusal("replayed")
