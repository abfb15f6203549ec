"""Where a slot's answers go: one file a kind, and those of packages (group ``edgeglm_agent.results``).

A new kind is its file and one line of the table.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from edgeglm_agent.kinds import all_kinds, imported_kind

if TYPE_CHECKING:
    from edgeglm_agent.settings.types import ResultConfig

__all__ = ["GROUP", "KINDS", "result_type", "result_types"]

GROUP = "edgeglm_agent.results"
KINDS: dict[str, str] = {  # kind -> module:Class; imported when a file names it
    "jsonl": "edgeglm_agent.results.jsonl:Jsonl",
    "mqtt": "edgeglm_agent.results.mqtt:MqttResults",
}


def result_types() -> dict[str, str]:
    """Return kind -> ``module:Class``: ours, then those of installed packages. Raises: KindError."""
    return all_kinds(KINDS, GROUP)


def result_type(kind: str) -> type[ResultConfig]:
    """Return the struct of a kind. Raises: KindError: There is none, or it cannot be imported."""
    from edgeglm_agent.settings.types import ResultConfig

    return imported_kind(kind, KINDS, GROUP, ResultConfig)
