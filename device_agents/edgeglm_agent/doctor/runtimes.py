"""Whether what a model's manifest needs is installed here; no model is loaded."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

from edgeglm_agent.doctor._base import Finding
from edgeglm_agent.settings.checks import MANIFEST
from edgeglm_agent.wire.manifest import decode_manifest

if TYPE_CHECKING:
    from edgeglm_agent.settings.types import Settings, Slot
    from edgeglm_agent.wire.manifest import Artifact

_EXTRAS = {"onnx": "onnx", "tflite": "litert", "openvino": "openvino"}  # format -> extra of this package


def look(settings: Settings) -> list[Finding]:
    """Look at every slot's model."""
    return [_slot(name, slot) for name, slot in settings.slots.items()]


def _slot(name: str, slot: Slot) -> Finding:
    title = f"model {name}"
    manifest = decode_manifest((Path(slot.model) / MANIFEST).read_bytes())
    what = f"{manifest.name} {manifest.version}"
    wanted = [artifact for artifact in manifest.artifacts if not slot.artifacts or artifact.path in slot.artifacts]
    if not wanted:
        return Finding(title, "fail", f"{what} has no artifact", "make it again with `edgeglm compress`")
    faults: list[str] = []
    for artifact in wanted:
        runtime, fault = _runtime(artifact)
        if not fault:
            rest = f"; passed over: {'; '.join(faults)}" if faults else ""
            detail = f"{what}: {artifact.path} ({artifact.scheme}) for {runtime}{rest}"
            return Finding(title, "ok", detail)
        faults.append(f"{artifact.path}: {fault}")
    extra = next((_EXTRAS[artifact.format] for artifact in wanted if artifact.format in _EXTRAS), "")
    first = wanted[0].runtime
    hint = f"pip install --upgrade 'edgeglm-agent[{extra}]'" if extra else f"install {first.name} {first.least_version}"
    return Finding(title, "fail", f"{what}: none of its artifacts can run here: {'; '.join(faults)}", hint)


def _runtime(artifact: Artifact) -> tuple[str, str]:
    """Return the installed runtime of an artifact, and what is wrong with it."""
    from edgeglm_agent.engines import EngineError, engine_types, runtime_of

    try:
        runtime = runtime_of(artifact.format)
        if not runtime and artifact.format not in engine_types():
            return "", f"no engine is known for the format {artifact.format}"
    except EngineError as error:
        return "", str(error)
    except ImportError as error:
        return "", f"{artifact.runtime.name} cannot be imported: {error}"
    name, _, version = runtime.partition(" ")
    least = artifact.runtime.least_version
    if name == artifact.runtime.name and _numbers(version) < _numbers(least):
        return runtime, f"it needs {name} {least} or newer, here is {version}"
    return runtime or f"the engine of {artifact.format}", ""


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in re.findall(r"\d+", re.split(r"[-+ ]", version)[0]))
