"""The model of a slot: the first artifact of a manifest that this machine loads, and that answers as it should."""

from __future__ import annotations

import re
import time
from typing import TYPE_CHECKING

from edgeglm_agent.engines import OURS, EngineError, load_engine, runtime_of
from edgeglm_agent.engines._base import plain
from edgeglm_agent.golden import GoldenError
from edgeglm_agent.processing import Postprocess, Preprocess, ProcessingError
from edgeglm_agent.processing.tokenize import Tokenize
from edgeglm_agent.worker.arrangement import Arrangement, MismatchError
from edgeglm_agent.worker.deaths import LIMIT, Deaths
from edgeglm_agent.worker.folder import FolderError, ModelFolder, open_folder
from edgeglm_agent.worker.inference import Arrays, Model
from edgeglm_agent.worker.memory import settle
from edgeglm_agent.worker.soundness import golden_of, missed

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from edgeglm_agent.settings.types import Slot
    from edgeglm_agent.wire import Artifact, Manifest, TensorSpec

__all__ = ["Arrays", "Model", "ModelRefusedError", "load_model"]


class ModelRefusedError(ValueError):
    """No artifact of a model can be served here; trying again changes nothing.

    Attributes:
        lines: One for each artifact (of ONNX: and provider) that was tried, and why not; or why none was.
    """

    def __init__(self, lines: Sequence[str]) -> None:
        self.lines = tuple(lines)
        super().__init__("\n".join(self.lines))


def load_model(folder: Path, *, slot: Slot, state_dir: Path) -> Model:
    """Return the first artifact of a folder that this machine loads and that passes its golden samples.

    Every file is held against the manifest's sha256 before a runtime sees it. One model to a process: memory is set up
    for its serving.

    Args:
        folder: With a ``manifest.json``.
        slot: Its ``artifacts``, ``providers`` and ``threads`` are looked at.
        state_dir: The slot's: what it took to load is noted there, and engines that TensorRT builds here are kept.

    Raises:
        ModelRefusedError: None can be served.
    """
    try:
        opened = open_folder(folder)
        opened.check_preprocess_files()
        order = _in_order(opened.manifest, slot.artifacts)
        for op in Preprocess(opened.manifest.preprocess, folder=folder).ops:
            if isinstance(op, Tokenize):
                op.check(folder)
        Postprocess(opened.manifest.postprocess, opened.manifest.labels)
    except (FolderError, ProcessingError, MismatchError) as error:
        raise ModelRefusedError([str(error)]) from error
    deaths = Deaths(state_dir, opened.manifest_sha256)
    tries = [
        (artifact, provider)
        for artifact in order
        for provider in (slot.providers if artifact.format == "onnx" and slot.providers else ("cpu",))
    ]
    deadly = [one for one in tries if deaths.of(_called(*one)) >= LIMIT]
    passed_over = [f"{_called(*one)}: the process died of it {deaths.of(_called(*one))} times" for one in deadly]
    for artifact, provider in [*(one for one in tries if one not in deadly), *deadly]:
        called = _called(artifact, provider)
        try:
            with deaths.watching(called):
                model = _loaded(opened, artifact, slot.threads, provider, state_dir, passed_over)
        except (FolderError, GoldenError, EngineError, ProcessingError, MismatchError) as error:
            passed_over.append(f"{called}: {str(error).removeprefix(f'{artifact.path}: ')}")
        except Exception as error:
            if artifact.format in OURS:
                raise
            passed_over.append(f"{called}: the package's engine failed: {type(error).__name__}: {plain(error)}")
        else:
            settle()
            return model
    raise ModelRefusedError(passed_over)


def _called(artifact: Artifact, provider: str) -> str:
    on = f" on {provider}" if provider != "cpu" else ""
    return f"{artifact.path} ({artifact.format}, {artifact.scheme}){on}"


def _in_order(manifest: Manifest, paths: Sequence[str]) -> Sequence[Artifact]:
    """Return the artifacts in the order to try. Raises: MismatchError."""
    if not manifest.artifacts:
        raise MismatchError("the manifest lists no artifact")
    known = {artifact.path: artifact for artifact in manifest.artifacts}
    for path in paths:
        if path not in known:
            raise MismatchError(f"the manifest lists no artifact {path!r}; it lists {', '.join(known)}")
    return [known[path] for path in paths] or manifest.artifacts


def _loaded(
    folder: ModelFolder,
    artifact: Artifact,
    threads: int,
    provider: str,
    state_dir: Path,
    passed_over: Sequence[str],
) -> Model:
    start = time.perf_counter()
    file = folder.artifact_file(artifact)
    golden = golden_of(folder, artifact)
    _check_version(runtime_of(artifact.format), artifact)
    engine = load_engine(file, format=artifact.format, threads=threads, provider=provider, cache=state_dir / "tensorrt")
    _check_version(engine.runtime, artifact)
    _check_specs("input", artifact.inputs, engine.inputs)
    _check_specs("output", artifact.outputs, engine.outputs)
    arrangement = Arrangement(folder.manifest.inputs, artifact)
    said = missed(engine, golden, artifact, max(1, folder.manifest.serve_batch))
    if said:
        raise GoldenError(f"it does not give its golden outputs in {engine.runtime}: {said}")
    model = Model(folder, artifact, engine, arrangement, passed_over=passed_over)
    model.load_ms = 1000 * (time.perf_counter() - start)
    return model


def _check_version(runtime: str, artifact: Artifact) -> None:
    """Refuse a runtime that is older than the file needs; one of another name has only the golden samples to pass."""
    name, _, version = runtime.partition(" ")
    least = artifact.runtime.least_version
    if name == artifact.runtime.name and _numbers(version) < _numbers(least):
        raise EngineError(f"it needs {name} {least} or newer, here is {version}", fault="no-runtime")


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in re.findall(r"\d+", re.split(r"[-+ ]", version)[0]))


def _check_specs(what: str, listed: Sequence[TensorSpec], found: Sequence[TensorSpec]) -> None:
    """Refuse a file that has not the inputs or outputs of its manifest. Raises: MismatchError."""

    def alike(one: TensorSpec, other: TensorSpec) -> bool:
        return (one.dtype, len(one.shape)) == (other.dtype, len(other.shape)) and all(
            -1 in (mine, its) or mine == its for mine, its in zip(one.shape, other.shape, strict=True)
        )

    there = {spec.name: spec for spec in found}
    if {spec.name for spec in listed} != set(there) or not all(alike(spec, there[spec.name]) for spec in listed):
        raise MismatchError(f"its {what}s are {_text(found)}, and by the manifest {_text(listed)}")


def _text(specs: Sequence[TensorSpec]) -> str:
    return (
        ", ".join(f"`{spec.name}` {spec.dtype} {'x'.join(map(str, spec.shape))}".rstrip() for spec in specs) or "none"
    )
