"""The board itself: whether the agent can run on it, and whether power and cooling are enough."""

from __future__ import annotations

import platform
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from edgeglm_agent.board.pi import CAPPED, SOFT_LIMIT, THROTTLED, UNDER_VOLTAGE, in_words
from edgeglm_agent.board.read import Board
from edgeglm_agent.doctor._base import Finding

if TYPE_CHECKING:
    from edgeglm_agent.settings.types import Settings
    from edgeglm_agent.wire.telemetry import BoardReading, Scalar

_PYTHONS = ((3, 10), (3, 13))
_ARCHITECTURES = ("aarch64", "x86_64")
_HOT_DECIC = 800  # a Pi slows down from 80 degrees Celsius on, a Jetson above 90
_LITTLE_MEMORY_MB = 150
_SINCE_BOOT = 16  # bits of get_throttled
_POWER = "use the power supply made for this board, with a short thick cable, and fewer USB devices on it"
_COOLING = "give it a heat sink or a fan, or less to do: a slower board answers later"


def look(sysroot: Path, settings: Settings | None) -> list[Finding]:
    """Look at the board."""
    state_dir = Path(settings.state_dir) if settings is not None else Path("/")
    board = Board(state_dir, sysroot)
    facts, reading = board.facts(), board.reading()
    return [
        _model(facts),
        *_python(),
        *_names(settings, str(facts.get("kind", ""))),
        _memory(reading, settings, facts),
        *_heat(reading),
        *_power(reading),
    ]


def _model(facts: dict[str, Scalar]) -> Finding:
    name, arch = "board", str(facts.get("arch", platform.machine()))
    bits = 64 if sys.maxsize > 2**32 else 32
    shown = ", ".join(str(facts[key]) for key in ("model", "os", "kernel") if key in facts)
    detail = f"{shown or 'unknown'}, {arch}, {bits} bit"
    if bits == 32 or arch not in _ARCHITECTURES:
        also = " although its kernel is" if arch in _ARCHITECTURES else ""
        hint = "install the board's 64-bit system (Raspberry Pi OS 64-bit, for one): runtimes are made for it alone"
        return Finding(name, "fail", f"{detail}: this is no 64-bit system{also}", hint)
    return Finding(name, "ok", detail)


def _python() -> list[Finding]:
    version = platform.python_version()
    if _PYTHONS[0] <= sys.version_info[:2] <= _PYTHONS[1]:
        return [Finding("python", "ok", version)]
    hint = "install the agent into an environment of Python 3.10 to 3.13"
    return [Finding("python", "fail", f"{version}; the agent runs on 3.10 to 3.13", hint)]


def _names(settings: Settings | None, kind: str) -> list[Finding]:
    """Warn of a name that every board of a kind has when it comes out of its box."""
    device = settings.device if settings is not None else None
    if device in ("raspberrypi", "localhost", "ubuntu", "jetson", "nvidia-desktop", "tegra-ubuntu", "debian"):
        hint = f'write device = "..." in the settings, or name the host: the next {kind or "board"} is called so, too'
        return [Finding("device", "warn", f"this device is called `{device}`, as many are", hint)]
    return []


def _memory(reading: BoardReading, settings: Settings | None, facts: dict[str, Scalar]) -> Finding:
    free, total = reading.memory_available_mb, facts.get("memory_mb")
    if free is None:
        return Finding("memory", "ok", "unknown")
    detail = f"{free} MB free" + (f" of {total} MB" if total is not None else "")
    limits = sum(slot.memory_mb or 0 for slot in settings.slots.values()) if settings is not None else 0
    if isinstance(total, int) and limits > total:
        hint = "lower memory_mb of the slots, or serve fewer models here"
        return Finding("memory", "warn", f"{detail}; the slots may take {limits} MB together", hint)
    if free < _LITTLE_MEMORY_MB:
        hint = "stop what else runs here; a desktop takes 300 MB, which a board that serves does not need"
        return Finding("memory", "warn", detail, hint)
    return Finding("memory", "ok", detail)


def _heat(reading: BoardReading) -> list[Finding]:
    if reading.temperature_decic is None:
        return []
    degrees = reading.temperature_decic / 10
    if reading.temperature_decic < _HOT_DECIC:
        return [Finding("temperature", "ok", f"{degrees:.1f} C")]
    return [Finding("temperature", "warn", f"{degrees:.1f} C: the board slows itself down, or soon will", _COOLING)]


def _power(reading: BoardReading) -> list[Finding]:
    bits = reading.throttled or 0
    slow = bits & (CAPPED | THROTTLED | SOFT_LIMIT)
    was_slow = bits >> _SINCE_BOOT & (CAPPED | THROTTLED | SOFT_LIMIT)
    findings = []
    if reading.undervoltage or bits & UNDER_VOLTAGE:
        findings.append(Finding("power", "fail", "the supply sags below what the board needs", _POWER))
    elif bits >> _SINCE_BOOT & UNDER_VOLTAGE:
        findings.append(Finding("power", "warn", "the supply has sagged since boot; it holds now", _POWER))
    elif reading.undervoltage is not None or reading.throttled is not None:
        findings.append(Finding("power", "ok", "the supply holds"))
    if slow:
        findings.append(Finding("throttling", "fail", f"the board is slowed down: {in_words(slow)}", _COOLING))
    elif was_slow:
        detail = f"the board was slowed down since boot, and is not now: {in_words(was_slow << _SINCE_BOOT)}"
        findings.append(Finding("throttling", "warn", detail, _COOLING))
    elif reading.throttled is not None:
        findings.append(Finding("throttling", "ok", "not throttled since boot"))
    return findings
