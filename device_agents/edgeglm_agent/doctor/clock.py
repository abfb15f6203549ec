"""Whether the clock can be trusted: certificates are judged by it, and records carry its time."""

from __future__ import annotations

from datetime import datetime, timezone
from typing import TYPE_CHECKING

from edgeglm_agent.board import clock
from edgeglm_agent.doctor._base import Finding

if TYPE_CHECKING:
    from pathlib import Path

_NAME = "clock"


def look(sysroot: Path) -> list[Finding]:
    """Look at the clock."""
    now = datetime.now(timezone.utc).strftime("%Y-%m-%d %H:%M UTC")
    hint = "timedatectl set-ntp true, and let the board reach an NTP server (UDP port 123)"
    if not clock.plausible():
        detail = f"it shows {now}, which is long past: no certificate will be accepted"
        return [Finding(_NAME, "fail", detail, f"{hint}; a battery for the board's clock keeps it over power cuts")]
    if clock.synchronised(sysroot):
        return [Finding(_NAME, "ok", f"{now}, synchronised")]
    if clock.kernel_synchronised() is None:
        detail = f"{now}; whether it is synchronised cannot be told here"
        return [Finding(_NAME, "warn", detail, "a container sees no adjtimex: look at the clock of its host")]
    return [Finding(_NAME, "warn", f"{now}, and nothing synchronises it: it drifts by seconds a day", hint)]
