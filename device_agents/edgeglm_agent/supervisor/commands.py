"""What a command does to the board; whether, and with which arguments, ``uplink.commands`` has decided before."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from edgeglm_agent import ipc, logs
from edgeglm_agent.board import clock
from edgeglm_agent.wire.commands import (
    Arguments,
    LogsArguments,
    RestartArguments,
    SampleArguments,
    SetArguments,
)

if TYPE_CHECKING:
    from edgeglm_agent.supervisor.run import Supervisor
    from edgeglm_agent.supervisor.slots import SlotKeeper

_Answer = tuple[bool, str, dict[str, Any]]
_ALLOWING = ", unless its settings file says `remote_samples = true` under [telemetry]"


def obey(supervisor: Supervisor, op: str, arguments: Arguments) -> _Answer:
    """Do what is asked; return whether it was done, what is to be said, and figures."""
    match arguments:
        case SampleArguments():
            return _sample(supervisor, arguments)
        case SetArguments():
            return _set(supervisor, arguments)
        case RestartArguments():
            return _restart(supervisor, arguments.slot)
        case LogsArguments():
            return True, "", {"lines": logs.recent(arguments.lines)}
    return _status(supervisor) if op == "status" else _ping(supervisor)


def _ping(supervisor: Supervisor) -> _Answer:
    return True, "", {"uptime_ms": clock.uptime_ms(), "session": supervisor.session}


def _status(supervisor: Supervisor) -> _Answer:
    from edgeglm_agent.supervisor.status import agent_status

    return True, "", msgspec.to_builtins(agent_status(supervisor))


def _sample(supervisor: Supervisor, wanted: SampleArguments) -> _Answer:
    if not supervisor.settings.telemetry.remote_samples:
        return False, f"no command makes this board send its inputs{_ALLOWING}", {}
    keepers = _keepers(supervisor, wanted.slot)
    if not keepers:
        return False, _no_slot(supervisor, wanted.slot), {}
    for keeper in keepers:
        keeper.line.send(ipc.SampleNow(wanted.count))
    return True, "the next answers follow as results", {}


def _set(supervisor: Supervisor, wanted: SetArguments) -> _Answer:
    memory, own = supervisor.state_file.memory, supervisor.settings.telemetry
    if wanted.sample_share is not None and wanted.sample_share > own.sample_share and not own.remote_samples:
        return False, f"`sample_share` is at most {own.sample_share:g} here{_ALLOWING}", {}
    if wanted.window_s is not None:
        memory.window_s = supervisor.window_s = wanted.window_s
        supervisor.windows.window_changed()
        if supervisor.uplink is not None:
            supervisor.uplink.set_window(wanted.window_s)
        supervisor.changed()
    if wanted.sample_share is not None:
        memory.sample_share = wanted.sample_share
        for keeper in supervisor.slots.values():
            keeper.adjust(wanted.sample_share)
    supervisor.state_file.save()
    given = {name: value for name, value in msgspec.structs.asdict(wanted).items() if value is not None}
    supervisor.records.tell("commanded", "", "info", {"op": "set", **given})
    unwritten = supervisor.state_file.unwritten
    return True, f"until the next start only: {unwritten}" if unwritten else "", {}


def _restart(supervisor: Supervisor, slot: str | None) -> _Answer:
    import time

    keepers = _keepers(supervisor, slot)
    if not keepers:
        return False, _no_slot(supervisor, slot), {}
    for keeper in keepers:
        keeper.restart(time.monotonic())
    supervisor.records.tell("commanded", slot or "", "info", {"op": "restart"})
    return True, "", {}


def _keepers(supervisor: Supervisor, slot: str | None) -> list[SlotKeeper]:
    return [keeper for name, keeper in supervisor.slots.items() if slot in (None, name)]


def _no_slot(supervisor: Supervisor, slot: str | None) -> str:
    return f"there is no slot `{slot}`; there are {', '.join(supervisor.slots) or 'none'}"
