"""`edgeglm-agent doctor`: what is wrong with board, clock, disk, runtimes, inputs, certificate and broker.

Each thing comes with how to mend it.

One file an area. Each looks by itself, so that one that cannot look takes none of the others with it.
"""

from __future__ import annotations

import textwrap
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgeglm_agent.doctor._base import Finding, Status
from edgeglm_agent.errors import SettingsError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from edgeglm_agent.settings.types import Settings

__all__ = ["Finding", "Status", "diagnose", "render"]

_WIDTH = 80


def diagnose(path: Path | None, *, sysroot: Path = Path("/")) -> list[Finding]:
    """Look at this board, and at what a settings file needs of it.

    Args:
        path: The settings; None: only the board, its clock and Python are looked at.
        sysroot: Where /proc and /sys are looked for.

    Returns:
        What was found, in the order to read it.
    """
    settings, findings = _settings(path)
    findings += _looked("board", lambda area: area.look(sysroot, settings))
    findings += _looked("clock", lambda area: area.look(sysroot))
    if settings is not None:
        for name in ("disk", "runtimes", "inputs", "certificate", "broker"):
            findings += _looked(name, lambda area: area.look(settings))
    return findings


def render(findings: Sequence[Finding]) -> str:
    """Return the findings as lines of at most 80 characters, with a verdict at the end."""
    indent = max(len(finding.name) for finding in findings) + 8
    lines = []
    for finding in findings:
        first = f"{finding.status:4}  {finding.name}".ljust(indent)
        lines += textwrap.wrap(finding.detail, _WIDTH, initial_indent=first, subsequent_indent=" " * indent)
        hint = f"-> {finding.hint}"
        if finding.hint:
            lines += textwrap.wrap(hint, _WIDTH, initial_indent=" " * indent, subsequent_indent=" " * (indent + 3))
    failed, warned = (sum(finding.status == status for finding in findings) for status in ("fail", "warn"))
    verdict = f"{failed} failed, {warned} to look at" if failed or warned else "nothing is wrong"
    return "\n".join([*lines, "", verdict])


def _settings(path: Path | None) -> tuple[Settings | None, list[Finding]]:
    if path is None:
        hint = "edgeglm-agent doctor FILE looks at disk, runtimes, inputs, certificate and broker, too"
        return None, [Finding("settings", "warn", "none given", hint)]
    from edgeglm_agent.settings.load import load_settings

    try:
        settings = load_settings(path)
    except SettingsError as error:
        return None, [
            Finding("settings", "fail", f"{problem.where}: {problem.message}", problem.hint)
            for problem in error.problems
        ]
    if not settings.slots:
        hint = "add a table [slots.main] with a model and an input"
        return settings, [Finding("settings", "warn", f"{path} has no slot: no model is served", hint)]
    slots = ", ".join(settings.slots)
    return settings, [Finding("settings", "ok", f"{path}: device {settings.device}, slots {slots}")]


def _looked(name: str, look: Callable[[Any], list[Finding]]) -> list[Finding]:
    """Return what a module of this package finds; whatever is broken on this machine must not hide what else is."""
    try:
        return look(import_module(f"edgeglm_agent.doctor.{name}"))
    except ImportError as error:
        hint = "install the agent anew: pip install --force-reinstall edgeglm-agent"
        return [Finding(name, "fail", f"a part of the agent cannot be imported: {error}", hint)]
    except Exception as error:  # of any part of this machine
        hint = "this is a fault of doctor itself; what it could not look at may be all right"
        return [Finding(name, "warn", f"cannot be looked at: {type(error).__name__}: {error}", hint)]
