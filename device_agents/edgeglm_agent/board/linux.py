"""What every Linux says of itself: load, memory, disk, temperature, and what it runs."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, NamedTuple

from edgeglm_agent.board.files import hwmon, listed, read_int, read_text, to_int

if TYPE_CHECKING:
    from pathlib import Path

_PLAUSIBLE = range(-40_000, 150_000)  # thousandths of a degree; a sensor that is off says -256000 or 0 K
# zones that measure no chip, or nothing: an estimate for the fan, a constant of 100 degrees (Jetson Nano), a radio
_NO_CHIP = ("thermal-fan-est", "PMIC-Die", "iwlwifi")
_CHIP_MONITORS = ("coretemp", "k10temp", "cpu_thermal")  # hwmon names, for machines without thermal zones
_HEAT_LIMITS = ("cpufreq", "thermal-cpufreq", "devfreq", "thermal-devfreq")  # cooling that slows a processor down
_VIRTUAL_NAMES = ("", "None", "To Be Filled By O.E.M.", "Default string", "System Product Name")


class CpuTimes(NamedTuple):
    """Time since boot, over all cores, in ticks."""

    busy: int
    total: int


def cpu_times(sysroot: Path) -> CpuTimes | None:
    """Return how long the processor has worked.

    Source: proc_stat(5): user nice system idle iowait irq softirq steal; guest time is within user's.
    """
    text = read_text(sysroot / "proc/stat") or ""
    words = text.split("\n", 1)[0].split()
    if len(words) < 5 or words[0] != "cpu":
        return None
    numbers = [to_int(word) for word in words[1:9]]
    if any(number is None or number < 0 for number in numbers):
        return None
    ticks = [number for number in numbers if number is not None]
    idle = ticks[3] + (ticks[4] if len(ticks) > 4 else 0)
    return CpuTimes(sum(ticks) - idle, sum(ticks))


def cpu_permille(before: CpuTimes | None, after: CpuTimes | None) -> int | None:
    """Return the share of all cores that was busy in between, in thousandths."""
    if before is None or after is None or after.total <= before.total:
        return None
    # iowait can fall (proc_stat(5)), so the share may come out a little beyond its range
    return max(0, min(1000, round(1000 * (after.busy - before.busy) / (after.total - before.total))))


def memory_mb(sysroot: Path) -> tuple[int | None, int | None]:
    """Return memory in all, and what could be had without swapping, in MB of 2**20 bytes."""
    fields: dict[str, int | None] = {}
    for line in (read_text(sysroot / "proc/meminfo") or "").splitlines():
        name, _, rest = line.partition(":")
        words = rest.split()
        if words and (len(words) == 1 or words[1] == "kB"):
            fields[name] = to_int(words[0])
    total, available = fields.get("MemTotal"), fields.get("MemAvailable")
    return (None if total is None else total // 1024, None if available is None else available // 1024)


def disk_free_mb(folder: Path) -> int | None:
    """Return what is free for this user where a folder lies, or will lie, in MB of 2**20 bytes."""
    for place in (folder, *folder.parents):
        try:
            found = os.statvfs(place)
        except OSError:
            continue
        return found.f_bavail * found.f_frsize >> 20
    return None


class Thermometers:
    """Every zone that measures a chip."""

    def __init__(self, sysroot: Path) -> None:
        self._places = [
            zone / "temp"
            for zone in listed(sysroot / "sys/class/thermal", "thermal_zone*")
            if not (read_text(zone / "type") or "").startswith(_NO_CHIP)
        ] or [
            place
            for name, folder in hwmon(sysroot)
            if name in _CHIP_MONITORS
            for place in listed(folder, "temp*_input")
        ]

    def hottest_decic(self) -> int | None:
        """Return the highest temperature, in tenths of a degree Celsius; None: nothing tells it."""
        readings = [read_int(place) for place in self._places]
        plausible = [reading for reading in readings if reading is not None and reading in _PLAUSIBLE]
        return round(max(plausible) / 100) if plausible else None


class HeatLimits:
    """Whether the kernel slows processor or GPU down for heat."""

    def __init__(self, sysroot: Path) -> None:
        self._devices = [
            device / "cur_state"
            for device in listed(sysroot / "sys/class/thermal", "cooling_device*")
            if (read_text(device / "type") or "").startswith(_HEAT_LIMITS)
        ]

    def active(self) -> bool | None:
        """Return whether any is above its lowest state; None: the kernel has none."""
        states = [read_int(device) for device in self._devices]
        known = [state for state in states if state is not None]
        return any(state > 0 for state in known) if known else None


def cores(sysroot: Path) -> int | None:
    """Return how many cores are switched on (a Jetson's power mode takes some away)."""
    count = 0
    text = read_text(sysroot / "sys/devices/system/cpu/online") or ""
    for part in text.split(","):
        first, _, last = part.partition("-")
        low, high = to_int(first), to_int(last or first)
        if low is None or high is None or not 0 <= low <= high < 4096:
            break
        count += high - low + 1
    else:
        return count
    lines = (read_text(sysroot / "proc/stat") or "").splitlines()
    named = sum(1 for line in lines if line.startswith("cpu") and line[3:4].isdigit())
    return named or None


def kernel(sysroot: Path) -> str | None:
    """Return the kernel's release."""
    return read_text(sysroot / "proc/sys/kernel/osrelease") or None


def operating_system(sysroot: Path) -> str | None:
    """Return the name that the system gives itself. Source: os-release(5)."""
    for place in ("etc/os-release", "usr/lib/os-release"):
        for line in (read_text(sysroot / place) or "").splitlines():
            key, _, value = line.partition("=")
            if key == "PRETTY_NAME":
                return value.strip().strip("\"'")[:80] or None
    return None


def device_tree_model(sysroot: Path) -> str | None:
    """Return the model that the boot loader told the kernel; None on a machine without a device tree."""
    for place in ("proc/device-tree/model", "sys/firmware/devicetree/base/model"):
        model = read_text(sysroot / place)
        if model:
            return model[:80]
    return None


def pc_model(sysroot: Path) -> str | None:
    """Return a PC's product name, or that of its processor."""
    product = read_text(sysroot / "sys/class/dmi/id/product_name")
    if product is not None and product not in _VIRTUAL_NAMES:
        return product[:80]
    for line in (read_text(sysroot / "proc/cpuinfo") or "").splitlines():
        key, _, value = line.partition(":")
        if key.strip() == "model name":
            return value.strip()[:80] or None
    return None
