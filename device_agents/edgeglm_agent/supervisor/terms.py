"""What a worker is told with its start, and which of that cannot be changed while it serves."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

from edgeglm_agent import ipc
from edgeglm_agent.settings.packed import pack_slot

if TYPE_CHECKING:
    from edgeglm_agent.settings.types import Settings, Slot


def terms_of(slot: Slot, settings: Settings) -> str:
    """Return a digest of what a worker cannot be told while it serves."""
    others = (settings.telemetry.drift, settings.state_dir, settings.runtime_dir)
    terms = (pack_slot(slot), repr(others).encode())
    return hashlib.sha256(b"\0".join(terms)).hexdigest()


def start_of(slot: Slot, settings: Settings, load: int, sample_share: float) -> ipc.Start:
    """Return the order to load the slot's model."""
    return ipc.Start(
        pack_slot(slot),
        load,
        sample_share,
        settings.log,
        settings.telemetry.drift,
        settings.state_dir,
        settings.runtime_dir,
        terms_of(slot, settings),
        settings.workers == "external",
    )
