"""The machine that this runs on: processor, memory, disk, versions. Its figures are never the board's."""

from __future__ import annotations

import os
import platform
import shutil
from functools import cache
from importlib import metadata
from pathlib import Path

from edgeglm.boards import architecture
from edgeglm.report.types import Host

INT8_FEATURES = ("avx2", "avx_vnni", "avx512_vnni", "avx512_bf16", "amx_int8", "amx_bf16")  # x86-64
INT8_FEATURES_ARM = ("asimd", "asimddp", "i8mm", "bf16", "sve")
PACKAGES = (
    "edgeglm",
    "edgeglm-agent",
    "torch",
    "torch-pruning",
    "numpy",
    "msgspec",
    "safetensors",
    "onnx",
    "onnxruntime",
    "onnxscript",
    "onnxslim",
    "transformers",
    "tokenizers",
    "ai-edge-litert",
    "openvino",
    "nncf",
    "ai-edge-quantizer",
    "litert-torch",
    "litert-converter",
)


def describe_host() -> Host:
    """Return what a report says of the machine that measured."""
    return Host(
        machine=platform.machine(),
        cpu=cpu_model(),
        cores=usable_cores(),
        memory_bytes=memory_bytes(),
        features=cpu_features(),
        system=system(),
        python=platform.python_version(),
        versions=package_versions(),
    )


def usable_cores() -> int:
    """Return how many cores this process may run on, which in a container is fewer than the machine has."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def cpu_model(cpuinfo: str | None = None) -> str:
    """Return the processor's name, of an ARM board with the board's: ``Cortex-A76 (Raspberry Pi 5 Model B)``."""
    fields = _cpuinfo_fields(_read("/proc/cpuinfo") if cpuinfo is None else cpuinfo)
    board = _read("/proc/device-tree/model").strip("\0\n ") if cpuinfo is None else fields.get("Model", "")
    part = _ARM_PARTS.get((fields.get("CPU implementer", ""), fields.get("CPU part", "")), "")
    name = fields.get("model name") or part
    if name and board:
        return f"{name} ({board})"
    return name or board or platform.processor() or platform.machine()


def cpu_features(cpuinfo: str | None = None) -> list[str]:
    """Return the instruction sets of this processor that decide how fast INT8 and BF16 run."""
    fields = _cpuinfo_fields(_read("/proc/cpuinfo") if cpuinfo is None else cpuinfo)
    present = set((fields.get("flags") or fields.get("Features") or "").split())
    return [name for name in (*INT8_FEATURES, *INT8_FEATURES_ARM) if name in present]


def has_fast_int8(features: list[str], machine: str) -> bool:
    """Return whether INT8 products add up in one instruction; without, INT8 may be no faster than FP32."""
    fast = ("asimddp", "i8mm") if architecture(machine) == "aarch64" else ("avx_vnni", "avx512_vnni", "amx_int8")
    return any(name in features for name in fast)


def memory_bytes() -> int:
    """Return the memory that this process may use at most: the machine's, or its control group's when that is less."""
    total = _meminfo("MemTotal") or os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    limit = _cgroup_limit()
    return min(total, limit) if limit else total


def available_memory_bytes() -> int:
    """Return the memory that can be taken now without swapping."""
    available = _meminfo("MemAvailable") or memory_bytes()
    limit = _cgroup_limit()
    if limit:
        used = _number(_read("/sys/fs/cgroup/memory.current"))
        available = min(available, max(0, limit - (used or 0)))
    return available


def free_disk_bytes(path: Path) -> int:
    """Return the free space of the file system that `path`, which need not exist yet, lies or would lie on."""
    place = path.absolute()
    while not place.exists() and place != place.parent:
        place = place.parent
    return shutil.disk_usage(place).free


def system() -> str:
    """Return the operating system: ``Debian GNU/Linux 12 (bookworm), Linux 6.1.0``."""
    kernel = f"{platform.system()} {platform.release()}"
    try:
        return f"{platform.freedesktop_os_release()['PRETTY_NAME']}, {kernel}"
    except (OSError, KeyError):
        return kernel


@cache
def package_version(name: str) -> str:
    """Return the installed version of a distribution, or "" when it is not installed."""
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return ""


def package_versions() -> dict[str, str]:
    """Return the versions of the packages that results depend on, of those that are installed."""
    return {name: version for name in PACKAGES if (version := package_version(name))}


def module_versions(module: str) -> dict[str, str]:
    """Return the versions of the distributions that a module's top-level package belongs to; none for loose files."""
    names = metadata.packages_distributions().get(module.partition(".")[0], [])
    return {name: metadata.version(name) for name in sorted(set(names))}


def entry_point_versions(group: str, name: str) -> dict[str, str]:
    """Return the versions of the distributions that offer an entry point; none for what comes with edgeglm."""
    dists = [point.dist for point in metadata.entry_points(group=group, name=name)]
    return {dist.name: dist.version for dist in dists if dist is not None}


def entry_point_packages(group: str, name: str) -> list[str]:
    """Return ``name version`` of every distribution that offers an entry point."""
    return sorted(f"{dist} {version}" for dist, version in entry_point_versions(group, name).items())


def nvidia_devices() -> list[str]:
    """Return the NVIDIA devices that the driver shows; torch sees them when it is a CUDA build."""
    cards = sorted(str(path) for path in Path("/dev").glob("nvidia[0-9]*"))
    return cards or [str(path) for path in Path("/dev").glob("nvhost-gpu")]  # Jetson


_ARM_PARTS = {
    ("0x41", "0xd03"): "Cortex-A53",
    ("0x41", "0xd08"): "Cortex-A72",
    ("0x41", "0xd0b"): "Cortex-A76",
    ("0x41", "0xd42"): "Cortex-A78AE",
    ("0x41", "0xd40"): "Neoverse-V1",
    ("0x41", "0xd4f"): "Neoverse-V2",
    ("0x41", "0xd0c"): "Neoverse-N1",
    ("0x41", "0xd49"): "Neoverse-N2",
}


def _cpuinfo_fields(text: str) -> dict[str, str]:
    """Return the fields of /proc/cpuinfo, each from the first processor that has it."""
    fields: dict[str, str] = {}
    for line in text.splitlines():
        name, colon, value = line.partition(":")
        if colon:
            fields.setdefault(name.strip(), value.strip())
    return fields


def _meminfo(name: str) -> int:
    for line in _read("/proc/meminfo").splitlines():
        if line.startswith(f"{name}:"):
            return int(line.split()[1]) * 1024
    return 0


def _cgroup_limit() -> int:
    """Return the memory limit of this control group in bytes, or 0 for none."""
    return _number(_read("/sys/fs/cgroup/memory.max")) or 0


def _number(text: str) -> int | None:
    return int(text) if text.strip().isdigit() else None


def _read(path: str) -> str:
    try:
        return Path(path).read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
