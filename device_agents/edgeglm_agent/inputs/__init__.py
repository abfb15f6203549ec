"""Where a slot's samples come from: one file a kind, and those of packages (group ``edgeglm_agent.inputs``).

A new kind is its file and one line of the table.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from edgeglm_agent.kinds import all_kinds, imported_kind

if TYPE_CHECKING:
    from edgeglm_agent.settings.types import InputConfig

__all__ = ["GROUP", "KINDS", "input_type", "input_types"]

GROUP = "edgeglm_agent.inputs"
KINDS: dict[str, str] = {  # kind -> module:Class; imported when a file names it
    "camera": "edgeglm_agent.inputs.camera:CameraInput",
    "command": "edgeglm_agent.inputs.command:CommandInput",
    "directory": "edgeglm_agent.inputs.directory:DirectoryInput",
    "gstreamer": "edgeglm_agent.inputs.gstreamer:GstreamerInput",
    "http": "edgeglm_agent.inputs.http:HttpInput",
    "mqtt": "edgeglm_agent.inputs.mqtt:MqttInput",
    "replay": "edgeglm_agent.inputs.replay:ReplayInput",
    "rpicam": "edgeglm_agent.inputs.rpicam:RpicamInput",
    "rtsp": "edgeglm_agent.inputs.rtsp:RtspInput",
    "serial": "edgeglm_agent.inputs.serial:SerialInput",
}


def input_types() -> dict[str, str]:
    """Return kind -> ``module:Class``: ours, then those of installed packages. Raises: KindError."""
    return all_kinds(KINDS, GROUP)


def input_type(kind: str) -> type[InputConfig]:
    """Return the struct of a kind. Raises: KindError: There is none, or it cannot be imported."""
    from edgeglm_agent.settings.types import InputConfig

    return imported_kind(kind, KINDS, GROUP, InputConfig)
