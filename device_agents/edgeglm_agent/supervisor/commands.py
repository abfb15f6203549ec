"""What a command does to the board; whether, and with which arguments, ``uplink.commands`` has decided before."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from edgeglm_agent import ipc, logs
from edgeglm_agent.board import clock

if TYPE_CHECKING:
    from edgeglm_agent.supervisor.run import Supervisor

_Answer = tuple[bool, str, dict[str, Any]]


class _Sample(msgspec.Struct, forbid_unknown_fields=True):
    slot: str = ""  # empty: every one
    count: int = 1


class _Set(msgspec.Struct, forbid_unknown_fields=True):
    window_s: int | None = None
    sample_share: float | None = None


class _Restart(msgspec.Struct, forbid_unknown_fields=True):
    slot: str = ""


class _Logs(msgspec.Struct, forbid_unknown_fields=True):
    lines: int = 50


def obey(supervisor: Supervisor, op: str, args: dict[str, Any]) -> _Answer:
    """Do what is asked; return whether it was done, what is to be said, and figures."""
    if op not in _OPS:
        return False, f"there is no operation `{op}`; there are {', '.join(_OPS)}", {}
    try:
        return _OPS[op](supervisor, args)
    except msgspec.ValidationError as error:
        return False, f"{op}: {error}", {}


def _ping(supervisor: Supervisor, _: dict[str, Any]) -> _Answer:
    return True, "", {"uptime_ms": clock.uptime_ms(), "session": supervisor.session}


def _status(supervisor: Supervisor, _: dict[str, Any]) -> _Answer:
    from edgeglm_agent.supervisor.status import agent_status

    return True, "", msgspec.to_builtins(agent_status(supervisor))


def _sample(supervisor: Supervisor, args: dict[str, Any]) -> _Answer:
    wanted = msgspec.convert(args, _Sample)
    keepers = _keepers(supervisor, wanted.slot)
    if not keepers:
        return False, _no_slot(supervisor, wanted.slot), {}
    for keeper in keepers:
        keeper.line.send(ipc.SampleNow(wanted.count))
    return True, "the next answers follow as results", {}


def _set(supervisor: Supervisor, args: dict[str, Any]) -> _Answer:
    wanted = msgspec.convert(args, _Set)
    memory = supervisor.state_file.memory
    if wanted.window_s is not None:
        memory.window_s = supervisor.window_s = wanted.window_s
        supervisor.windows.window_changed()
        if supervisor.uplink is not None:
            supervisor.uplink.set_window(wanted.window_s)
    if wanted.sample_share is not None:
        memory.sample_share = wanted.sample_share
        for keeper in supervisor.slots.values():
            keeper.adjust(wanted.sample_share)
    supervisor.state_file.save()
    unwritten = supervisor.state_file.unwritten
    return True, f"until the next start only: {unwritten}" if unwritten else "", {}


def _restart(supervisor: Supervisor, args: dict[str, Any]) -> _Answer:
    import time

    wanted = msgspec.convert(args, _Restart)
    keepers = _keepers(supervisor, wanted.slot)
    if not keepers:
        return False, _no_slot(supervisor, wanted.slot), {}
    for keeper in keepers:
        keeper.restart(time.monotonic())
    supervisor.records.tell("commanded", wanted.slot, "info", {"op": "restart"})
    return True, "", {}


def _logs(_: Supervisor, args: dict[str, Any]) -> _Answer:
    return True, "", {"lines": logs.recent(msgspec.convert(args, _Logs).lines)}


def _keepers(supervisor: Supervisor, slot: str) -> list[Any]:
    return [keeper for name, keeper in supervisor.slots.items() if slot in ("", name)]


def _no_slot(supervisor: Supervisor, slot: str) -> str:
    return f"there is no slot `{slot}`; there are {', '.join(supervisor.slots) or 'none'}"


_OPS = {"ping": _ping, "status": _status, "sample": _sample, "set": _set, "restart": _restart, "logs": _logs}
