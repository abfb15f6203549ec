"""What a board answered, as text."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec
from edgeglm_agent.status import AgentStatus
from edgeglm_agent.status_text import duration
from edgeglm_agent.status_text import render as render_status

from edgeglm.fleet.plain import json_text, pairs, plain, plain_values

if TYPE_CHECKING:
    from edgeglm_agent.wire.commands import Reply

_LONGEST_LINE = 8000


def answer_text(device: str, reply: Reply, took_s: float) -> str:
    """Return what is told of an answer that says that it was done."""
    said = plain(reply.said, 500)
    if reply.op == "logs":
        lines = reply.values.get("lines")
        return "\n".join(plain(line, _LONGEST_LINE) for line in lines) if isinstance(lines, list) else ""
    if reply.op == "status":
        return _status(reply.values)
    if reply.op == "ping":
        uptime_ms = reply.values.get("uptime_ms")
        up = f"; up {duration(uptime_ms / 1000)}" if isinstance(uptime_ms, int) else ""
        return f"{plain(device)} answered in {took_s:.2f} s{up}"
    more = pairs(reply.values) if reply.values else ""
    return "; ".join(part for part in (f"{plain(device)}: done", said, more) if part)


def _status(values: dict[str, Any]) -> str:
    shown = plain_values(values)
    try:
        return render_status(msgspec.convert(shown, AgentStatus))
    except (msgspec.ValidationError, ValueError):  # of another version than this one
        return json_text(shown)
