"""Whether what inputs, results and preprocessing of the slots need is installed; no device is opened."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from edgeglm_agent.doctor._base import Finding
from edgeglm_agent.inputs._base import Input
from edgeglm_agent.results._base import SinkConfig
from edgeglm_agent.settings.checks import MANIFEST
from edgeglm_agent.wire.manifest import WireError, decode_manifest

if TYPE_CHECKING:
    from edgeglm_agent.needs import Need
    from edgeglm_agent.settings.types import Settings, Slot


def look(settings: Settings) -> list[Finding]:
    """Look at every slot's input, results, and what its model's manifest does to a sample."""
    return [finding for name, slot in settings.slots.items() for finding in _slot(name, slot)]


def _slot(name: str, slot: Slot) -> list[Finding]:
    kind = str(slot.input.__struct_config__.tag)
    title = f"input {name}"
    needs = [(f"`{kind}`", need) for need in slot.input.needs()] if isinstance(slot.input, Input) else []
    for result in slot.results:
        if isinstance(result, SinkConfig):
            needs += [(f"the result `{result.__struct_config__.tag}`", need) for need in result.needs()]
    needs += _of_preprocessing(Path(slot.model))
    lacks = [(who, need) for who, need in needs if not need.met]
    found = [
        Finding(title, "fail", f"{who} needs {need.called}, which is not installed", need.hint) for who, need in lacks
    ]
    found += _device(title, str(getattr(slot.input, "device", "")))
    there = ", ".join(dict.fromkeys(need.called for _, need in needs))
    return found or [Finding(title, "ok", f"{kind}, with {there}" if there else kind)]


def _of_preprocessing(model: Path) -> list[tuple[str, Need]]:
    """Return what the operations of a manifest need; one that cannot be read is told with the runtimes."""
    from edgeglm_agent.processing import PRE_OPERATIONS

    try:
        steps = decode_manifest((model / MANIFEST).read_bytes()).preprocess
    except (OSError, WireError):
        return []
    return [
        (f"`{step.op}` of the model", need)
        for step in steps
        if step.op in PRE_OPERATIONS
        for need in PRE_OPERATIONS[step.op].needs
    ]


def _device(title: str, device: str) -> list[Finding]:
    """Look at the file that an input reads, where it names one."""
    if not device.startswith("/"):
        return []
    if not Path(device).exists():
        hint = "plug it in; the worker opens it once it is there. Names below /dev/.../by-id/ stay the same"
        return [Finding(title, "warn", f"{device} is not there", hint)]
    if not os.access(device, os.R_OK | os.W_OK):
        hint = f"add the agent's user to its group: sudo usermod -aG {_group(device)} USER"
        return [Finding(title, "fail", f"{device} may not be opened by this user", hint)]
    return []


def _group(path: str) -> str:
    import grp

    number = Path(path).stat().st_gid
    try:
        return grp.getgrgid(number).gr_name
    except KeyError:
        return str(number)
