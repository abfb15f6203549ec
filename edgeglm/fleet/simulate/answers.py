"""What a simulated device answers to commands: to `ping` and `status` as a board does, to others that it does not."""

from __future__ import annotations

from typing import TYPE_CHECKING

from edgeglm_agent.uplink.commands import Refusal, judge
from edgeglm_agent.wire.commands import COMMAND_SCHEMA, Reply

if TYPE_CHECKING:
    from edgeglm.fleet.simulate.device import Device


class Answers:
    """The answers of one device, and the ids of what it has obeyed."""

    __slots__ = ("_device", "_obeyed")

    def __init__(self, device: Device) -> None:
        self._device = device
        self._obeyed: dict[str, int] = {}  # id -> its deadline

    def to(self, op: str, payload: bytes, now: float, *, retained: bool) -> Reply | None:
        """Return the answer to a command; None: a board gives none.

        Args:
            op: The last level of its topic.
            payload: What came.
            now: Seconds since the run began.
            retained: The broker kept it: it is not live.
        """
        device = self._device
        judged = judge(
            op,
            payload,
            device=device.name,
            retained=retained,
            now_ms=device.wall_ms(now),
            remember=self._remember,
        )
        if isinstance(judged, Refusal):
            if not judged.id:
                return None
            return Reply(COMMAND_SCHEMA, judged.id, judged.op[:63], ok=False, said=judged.said)
        request = judged.command.id
        if op == "ping":
            values: dict[str, object] = {"uptime_ms": device.board.uptime_ms(now), "session": device.board.session}
            return Reply(COMMAND_SCHEMA, request, op, ok=True, values=values)
        if op == "status":
            return Reply(COMMAND_SCHEMA, request, op, ok=True, values=self._status(now))
        said = f"a simulated board obeys ping and status, not {op}"
        return Reply(COMMAND_SCHEMA, request, op, ok=False, said=said)

    def _remember(self, request: str, deadline_ms: int, now_ms: int) -> bool:
        self._obeyed = {name: until for name, until in self._obeyed.items() if until >= now_ms}
        if request in self._obeyed:
            return False
        self._obeyed[request] = deadline_ms
        return True

    def _status(self, now: float) -> dict[str, object]:
        device = self._device
        return {
            "device": device.name,
            "simulated": True,
            "uptime_s": device.board.uptime_ms(now) / 1000,
            "slots": {slot.name: {"status": slot.status, "load": slot.load} for slot in device.board.slots},
            "queue": {"rows": device.waiting},
        }
