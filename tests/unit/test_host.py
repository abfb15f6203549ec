from __future__ import annotations

import os
from pathlib import Path

import msgspec
import psutil
import pytest

from edgeglm import host
from edgeglm.host import (
    available_memory_bytes,
    cpu_features,
    cpu_model,
    describe_host,
    free_disk_bytes,
    has_fast_int8,
    memory_bytes,
    usable_cores,
)

X86 = """\
processor	: 0
model name	: Intel(R) Core(TM) i7-1185G7 @ 3.00GHz
flags		: fpu avx2 avx512_vnni avx512f sse

processor	: 1
model name	: other
flags		: fpu
"""
PI5 = """\
processor	: 0
Features	: fp asimd evtstrm aes crc32 atomics asimddp
CPU implementer	: 0x41
CPU part	: 0xd0b

Model		: Raspberry Pi 5 Model B Rev 1.0
"""


def test_the_host_is_described_as_the_system_says() -> None:
    described = describe_host()
    assert described.machine == os.uname().machine
    assert described.cores == len(psutil.Process().cpu_affinity())
    assert 0 < described.memory_bytes <= psutil.virtual_memory().total
    assert described.versions["torch"].startswith("2.")
    assert described.cpu
    assert msgspec.json.decode(msgspec.json.encode(described), type=host.Host) == described


def test_cores_are_those_that_this_process_may_use() -> None:
    allowed = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(allowed)})
    try:
        assert usable_cores() == 1
    finally:
        os.sched_setaffinity(0, allowed)


@pytest.mark.parametrize(
    ("text", "model", "features"),
    [
        (X86, "Intel(R) Core(TM) i7-1185G7 @ 3.00GHz", ["avx2", "avx512_vnni"]),
        (PI5, "Cortex-A76 (Raspberry Pi 5 Model B Rev 1.0)", ["asimd", "asimddp"]),
    ],
)
def test_processors_are_recognised(text: str, model: str, features: list[str]) -> None:
    assert cpu_model(text) == model
    assert cpu_features(text) == features


@pytest.mark.parametrize(
    ("machine", "features", "fast"),
    [
        ("x86_64", ["avx2"], False),
        ("x86_64", ["avx2", "avx_vnni"], True),
        ("aarch64", ["asimd"], False),
        ("aarch64", ["asimd", "asimddp"], True),
    ],
)
def test_int8_is_fast_where_there_are_dot_products(machine: str, features: list[str], fast: bool) -> None:
    assert has_fast_int8(features, machine) is fast


def test_a_limit_of_the_control_group_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    files = {
        "/proc/meminfo": "MemTotal: 8000000 kB\nMemAvailable: 6000000 kB\n",
        "/sys/fs/cgroup/memory.max": "2000000000\n",
        "/sys/fs/cgroup/memory.current": "500000000\n",
    }
    monkeypatch.setattr(host, "_read", lambda path: files.get(path, ""))
    assert (memory_bytes(), available_memory_bytes()) == (2_000_000_000, 1_500_000_000)
    files["/sys/fs/cgroup/memory.max"] = "max\n"
    assert (memory_bytes(), available_memory_bytes()) == (8_192_000_000, 6_144_000_000)


def test_free_disk_of_a_folder_that_does_not_exist_is_that_of_its_parent(tmp_path: Path) -> None:
    here = free_disk_bytes(tmp_path)
    assert here > 0
    assert free_disk_bytes(tmp_path / "a" / "b") == pytest.approx(here, rel=0.05)
