"""What doctor finds: one thing that was looked at, and how to mend it."""

from __future__ import annotations

from typing import Literal, TypeAlias

import msgspec

Status: TypeAlias = Literal["ok", "warn", "fail"]


class Finding(msgspec.Struct, frozen=True):
    """One thing that was looked at."""

    name: str
    status: Status
    detail: str
    hint: str = ""  # how to mend it; empty when nothing needs it
