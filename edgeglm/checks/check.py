"""`edgeglm check`: is the recipe right, are its files there, what can this host build.

Neither torch nor anything of the user's is imported.
"""

from __future__ import annotations

import platform
from dataclasses import dataclass, replace
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from edgeglm.artifacts.capability import PACKAGES, capability
from edgeglm.boards import BOARDS, LEAST_RUNTIMES, Board
from edgeglm.checks.omissions import omissions
from edgeglm.choice.candidates import unsuitable
from edgeglm.errors import RecipeError
from edgeglm.host import available_memory_bytes, free_disk_bytes
from edgeglm.recipe import LoadedRecipe, load_recipe
from edgeglm.recipe.files import file_problems
from edgeglm.recipe.types import FEW_SAMPLES, Quantize
from edgeglm.sources import HfModel
from edgeglm.steps import step_name
from edgeglm.tasks import ObjectDetection

if TYPE_CHECKING:
    from collections.abc import Sequence

    from edgeglm.recipe import ArtifactConfig, Recipe

LOW_MEMORY_BYTES = 3 * 10**9  # torch, the TFLite converter and a small network together
LOW_DISK_BYTES = 10**9
_CONVERTER_PLATFORMS = (("Linux", "x86_64"), ("Darwin", "arm64"))  # that litert-converter has wheels for


@dataclass(frozen=True)
class ArtifactCheck:
    """Whether this host can build one artifact of the recipe."""

    format: str
    scheme: str
    missing: tuple[str, ...]  # packages that are not installed; empty: it can be built
    hint: str = ""
    optional: bool = False  # one of the formats that `format: auto` tries: without it, the others are

    @property
    def buildable(self) -> bool:
        """Whether nothing is missing."""
        return not self.missing


@dataclass(frozen=True)
class Advice:
    """Something that runs, and is likely not what was meant."""

    message: str
    hint: str
    where: str = ""  # as in an error


@dataclass(frozen=True)
class CheckResult:
    """What `edgeglm check` found in a recipe that is right."""

    loaded: LoadedRecipe
    artifacts: tuple[ArtifactCheck, ...]
    warnings: tuple[Advice, ...]
    memory_bytes: int  # available now
    disk_bytes: int  # free where the result would go

    @property
    def buildable(self) -> bool:
        """Whether this host can build every artifact, and for `format: auto` one at least."""
        several = [artifact.buildable for artifact in self.artifacts if artifact.optional]
        one = not several or any(several)
        return one and all(artifact.buildable for artifact in self.artifacts if not artifact.optional)

    def text(self) -> str:
        """Return what the command prints."""
        recipe = self.loaded.recipe
        board = BOARDS[recipe.target]
        steps = ", ".join(step_name(step) for step in recipe.steps) or "none"
        lines = [
            f"{self.loaded.path}: the recipe is right, and the files it names are there",
            "",
            f"name       {recipe.name}",
            f"steps      {steps}",
            f"target     {board.name}: {board.os}, {board.arch}, {board.threads} cores, {board.memory_mb} MB",
            *(f"           {fact}" for fact in _target_facts(board, {artifact.format for artifact in self.artifacts})),
            "",
            "this host can build",
        ]
        for artifact in self.artifacts:
            state = "yes" if artifact.buildable else f"no: {', '.join(artifact.missing)} not installed"
            lines.append(f"  {artifact.format:<8} {artifact.scheme:<16} {state}")
            if artifact.hint:
                lines.append(f"  {'':<25} hint: {artifact.hint}")
        lines.append(f"  memory {self.memory_bytes / 1e9:.1f} GB available, disk {self.disk_bytes / 1e9:.1f} GB free")
        for warning in self.warnings:
            place = f"{warning.where}: " if warning.where else ""
            lines += ["", f"warning: {place}{warning.message}", f"hint: {warning.hint}"]
        return "\n".join(lines)


def check_recipe(path: Path | str, overrides: Sequence[str] = ()) -> CheckResult:
    """Validate a recipe and the files it names, and say what this host can build.

    Neither torch nor anything of the user's is imported: entries are looked up in the source of their files, weights
    are looked at without being loaded.

    Args:
        path: The recipe.
        overrides: As after ``--set``.

    Raises:
        RecipeError: Every problem found: of the recipe itself, or else of the files it names.
    """
    loaded = load_recipe(path, overrides=overrides)
    if problems := file_problems(loaded):
        raise RecipeError.of(problems)
    folder = Path("build") / loaded.recipe.name
    memory, disk = available_memory_bytes(), free_disk_bytes(folder)
    recipe = loaded.recipe
    artifacts = tuple(found for artifact in recipe.artifacts for found in _check_formats(artifact, recipe))
    warnings = (*_recipe_warnings(loaded), *_host_warnings(memory, disk, folder))
    return CheckResult(loaded, artifacts, warnings, memory, disk)


def _check_formats(artifact: ArtifactConfig, recipe: Recipe) -> list[ArtifactCheck]:
    """Return the check of one artifact; of `format: auto` one for each format that board and model leave."""
    if artifact.format != "auto":
        return [check_artifact(artifact)]
    board = BOARDS[recipe.target]
    formats = [name for name in PACKAGES if not unsuitable(name, board, recipe.model.gives)]
    return [replace(check_artifact(msgspec.structs.replace(artifact, format=name)), optional=True) for name in formats]


def check_artifact(artifact: ArtifactConfig) -> ArtifactCheck:
    """Return whether the packages that one artifact needs are installed, without importing them."""
    missing = tuple(capability(artifact.format))
    hint = ""
    if missing:
        hint = f"pip install 'edgeglm[{artifact.format}]'"
        if "litert-converter" in missing and not converter_exists_here():
            hint = (
                "litert-converter has no wheel for this platform: build tflite artifacts on Linux x86-64 or macOS arm64"
            )
    return ArtifactCheck(artifact.format, artifact.scheme, missing, hint)


def converter_exists_here() -> bool:
    """Return whether litert-converter, which writes TFLite files, has a wheel for this platform."""
    return (platform.system(), platform.machine()) in _CONVERTER_PLATFORMS


def _target_facts(board: Board, formats: set[str]) -> list[str]:
    facts = []
    if "onnx" in formats:
        facts.append(
            f"onnx: opset {board.opset} at most, onnxruntime {board.onnxruntime}, activations of static-int8 "
            f"are {board.activation_type}"
        )
    if "tflite" in formats:
        facts.append(f"tflite: litert {board.litert}")
    if "openvino" in formats:
        facts.append(f"openvino: {LEAST_RUNTIMES['openvino'].least_version} or newer")
    if board.note:
        facts.append(board.note)
    return facts


def _recipe_warnings(loaded: LoadedRecipe) -> list[Advice]:
    recipe = loaded.recipe
    found: list[Advice] = []
    board = BOARDS[recipe.target]
    if recipe.budget.peak_rss_mb is not None and recipe.budget.peak_rss_mb > board.memory_mb:
        found.append(
            Advice(
                f"{recipe.budget.peak_rss_mb:g} MB is more than {recipe.target} has ({board.memory_mb} MB)",
                "lower it, or choose another target",
                loaded.where("budget.peak_rss_mb"),
            )
        )
    if not board.is_like(platform.machine()) and recipe.budget.host_latency_p95_ms is not None:
        found.append(
            Advice(
                f"judged on this host ({platform.machine()}), not on {recipe.target} ({board.arch})",
                "a host's latency says little about the board's: measure there before you rely on it",
                loaded.where("budget.host_latency_p95_ms"),
            )
        )
    for index, artifact in enumerate(recipe.artifacts):
        chosen = artifact.quantization
        calibration = chosen.calibration_samples
        if isinstance(chosen, Quantize) and chosen.calibrated and calibration < FEW_SAMPLES:
            found.append(
                Advice(
                    f"ranges measured on {calibration} samples may miss values that occur",
                    "use 100 to 500 samples",
                    loaded.where(f"artifacts[{index}].quantize.calibration"),
                )
            )
    needed = [("transformers", "model.source", "hf")] if isinstance(recipe.model, HfModel) else []
    needed += [("pycocotools", "task.kind", "detection")] if isinstance(recipe.task, ObjectDetection) else []
    needed += [
        ("tokenizers", f"preprocess[{index}].tokenize", "hf")
        for index, operation in enumerate(recipe.preprocess)
        if operation.op == "tokenize"
    ]
    found += [
        Advice(f"{package} is not installed here", f"pip install 'edgeglm[{extra}]'", loaded.where(key))
        for package, key, extra in needed
        if find_spec(package) is None
    ]
    found += [Advice(one.message, one.hint, loaded.where(one.key)) for one in omissions(recipe)]
    return found


def _host_warnings(memory: int, disk: int, folder: Path) -> list[Advice]:
    found: list[Advice] = []
    if memory < LOW_MEMORY_BYTES:
        found.append(
            Advice(
                f"{memory / 1e9:.1f} GB of memory are available; a run takes about {LOW_MEMORY_BYTES / 1e9:.0f} GB",
                "close other programs, or run on a larger machine",
            )
        )
    if disk < LOW_DISK_BYTES:
        found.append(
            Advice(
                f"{disk / 1e9:.2f} GB are free where {folder} would be written",
                "free some space, or name another folder with -o",
            )
        )
    return found
