"""What a Jetson measures of itself: power rails, GPU load, and how often its supply was too weak.

Sources: NVIDIA Jetson Linux Developer Guide (r35, r36, r38), "Platform Power and Performance"; the kernel's
Documentation/hwmon/ina3221.rst and ina238.rst.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from edgeglm_agent.board.files import hwmon, listed, read_int, read_text, to_int
from edgeglm_agent.wire.telemetry import Power

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

_UNUSED = ("NC", "", "sum of shunt voltages")  # channels that nothing is connected to, or that are no rail
_WHOLE = ("VDD_IN", "VIN", "POM_5V_IN", "5V_IN")  # rails that all others hang from
_FED = ("VDDQ_VDD2_1V8AO",)  # rails that another one here feeds: not to be added to it (VIN_SYS_5V0 on AGX Orin)
_GPU_NODES = ("gpu", "ga10b", "gv11b", "gp10b")  # names in the device tree, by generation


class _Rail(NamedTuple):
    name: str
    power: Path | None  # uW in hwmon (INA238), mW in the older layout
    millivolt: Path | None
    milliampere: Path | None
    per_mw: int  # of ``power``

    def milliwatt(self) -> int | None:
        if self.power is not None:
            power = read_int(self.power)
            if power is not None:
                return power // self.per_mw
        if self.millivolt is None or self.milliampere is None:
            return None
        volt, ampere = read_int(self.millivolt), read_int(self.milliampere)
        return None if volt is None or ampere is None else volt * ampere // 1000


class Jetson:
    """The sensors of a Jetson, found once; the numbers in their paths change from boot to boot."""

    def __init__(self, sysroot: Path) -> None:
        monitors = hwmon(sysroot)
        self._rails = [*_hwmon_rails(monitors), *_iio_rails(sysroot)]
        self._gpu = _gpu_load(sysroot)
        self._alarms = [
            (int(place.name[2]), place)
            for name, folder in monitors
            if name == "soctherm_oc"
            for place in listed(folder, "oc[0-9]_event_cnt")
        ]
        self._orin = "tegra234" in (read_text(sysroot / "proc/device-tree/compatible") or "")

    @property
    def complete(self) -> bool:
        """Whether rails and GPU were found; the GPU's node appears late in the boot."""
        return bool(self._rails) and self._gpu is not None

    def power(self) -> tuple[Power, ...]:
        """Return what each rail carries now, in mW."""
        readings = ((rail.name, rail.milliwatt()) for rail in self._rails)
        return tuple(Power(name, milliwatt) for name, milliwatt in readings if milliwatt is not None)

    def gpu_permille(self) -> int | None:
        """Return how busy the GPU is; None: Thor's driver tells it through NVML alone."""
        load = None if self._gpu is None else read_int(self._gpu)
        return None if load is None else max(0, min(1000, load))

    def over_current(self) -> int | None:
        """Return how often since boot clocks were cut because the board drew too much; None: not counted here."""
        return _sum(read_int(place) for number, place in self._alarms if not self._is_voltage(number))

    def under_voltage(self) -> int | None:
        """Return how often since boot the supply was too low; None: not counted here."""
        return _sum(read_int(place) for number, place in self._alarms if self._is_voltage(number))

    def _is_voltage(self, number: int) -> bool:
        return self._orin and number == 1  # Orin: OC1 under-voltage, OC2 average and OC3 instantaneous over-current


def total_mw(power: Iterable[Power]) -> int | None:
    """Return what all rails carry together: the one that the others hang from, else their sum."""
    rails = {one.rail: one.mw for one in power}
    for name in _WHOLE:
        if name in rails:
            return rails[name]
    return sum(mw for rail, mw in rails.items() if rail not in _FED) if rails else None


def is_jetson(sysroot: Path, model: str | None) -> bool:
    """Return whether this is one, by NVIDIA's release file or the device tree."""
    return l4t_release(sysroot) is not None or "jetson" in (model or "").lower()


def l4t_release(sysroot: Path) -> str | None:
    """Return the release of Jetson Linux: 36.4.3; None where nothing tells it.

    Its first line reads ``# R36 (release), REVISION: 4.3, GCID: ..., BOARD: generic, ...``.
    """
    text = read_text(sysroot / "etc/nv_tegra_release") or ""
    head, _, rest = text.partition("(release)")
    major = to_int(head.strip(" #\t").removeprefix("R"))
    if major is None:
        return None
    revision = rest.partition("REVISION:")[2].partition(",")[0].strip()
    return f"{major}.{revision}" if revision else str(major)


def jetpack(release: str | None) -> int | None:
    """Return the generation of JetPack that a release of Jetson Linux belongs to."""
    major = to_int((release or "").partition(".")[0])
    if major is None:
        return None
    return {32: 4, 34: 5, 35: 5, 36: 6, 38: 7, 39: 7}.get(major)


def _hwmon_rails(monitors: list[tuple[str, Path]]) -> list[_Rail]:
    """Return rails as the kernel's own drivers give them: JetPack 5 and later."""
    rails: list[_Rail] = []
    for name, folder in monitors:
        if name == "ina3221":
            for channel in (1, 2, 3):
                label = read_text(folder / f"in{channel}_label") or ""
                if label not in _UNUSED and read_int(folder / f"in{channel}_enable") != 0:
                    volt, ampere = folder / f"in{channel}_input", folder / f"curr{channel}_input"
                    rails.append(_Rail(label, None, volt, ampere, 1))
        elif name == "ina238":  # Thor's whole input; a board has one
            label = read_text(folder / "power1_label") or read_text(folder / "in1_label") or "VIN"
            rails.append(
                _Rail(label, folder / "power1_input", folder / "in1_input", folder / "curr1_input", per_mw=1000)
            )
    return rails


def _iio_rails(sysroot: Path) -> list[_Rail]:
    """Return rails as NVIDIA's older driver gives them: ``ina3221x/1-0040/iio:device0/rail_name_0``."""
    rails: list[_Rail] = []
    for folder in listed(sysroot / "sys/bus/i2c/drivers/ina3221x", "*-00*/iio*device*"):
        for channel in (0, 1, 2):
            label = read_text(folder / f"rail_name_{channel}") or ""
            if label not in _UNUSED:
                files = [folder / f"in_{what}{channel}_input" for what in ("power", "voltage", "current")]
                rails.append(_Rail(label, files[0], files[1], files[2], 1))
    return rails


def _gpu_load(sysroot: Path) -> Path | None:
    for device in listed(sysroot / "sys/class/devfreq", "*"):
        node = read_text(device / "device/of_node/name")
        named = device.name.rpartition(".")[2]
        load = device / "device/load"
        if (node in _GPU_NODES or named in _GPU_NODES or device.name == "gpu-gpc-0") and read_text(load) is not None:
            return load
    for place in ("sys/devices/platform/gpu.0/load", "sys/devices/gpu.0/load"):
        if read_text(sysroot / place) is not None:
            return sysroot / place
    return None


def _sum(counts: Iterable[int | None]) -> int | None:
    known = [count for count in counts if count is not None]
    return sum(known) if known else None
