"""Trees of /proc, /sys and /etc as boards have them, for readers that take a sysroot.

Built from the kernel's documents (Documentation/hwmon/{ina3221,ina238,raspberrypi-hwmon}.rst, ABI/testing/
sysfs-class-thermal, proc(5)), Raspberry Pi's and NVIDIA's documentation, and from what owners of the boards posted:
paths, names, units and final newlines are theirs. As on a board, /sys/class holds links into /sys/devices.
"""

from __future__ import annotations

import os
from pathlib import Path

STAT = """\
cpu  {user} 0 3000 {idle} 1000 0 200 0 0 0
cpu0 25000 0 750 225000 250 0 50 0 0 0
cpu1 25000 0 750 225000 250 0 50 0 0 0
cpu2 25000 0 750 225000 250 0 50 0 0 0
cpu3 25000 0 750 225000 250 0 50 0 0 0
intr 123456789 0 0 0
ctxt 987654321
btime 1760000000
processes 4242
procs_running 1
procs_blocked 0
"""
MEMINFO = """\
MemTotal:       {total} kB
MemFree:          100000 kB
MemAvailable:    {available} kB
HugePages_Total:       0
"""


class Sysroot:
    """A tree that is written file by file, and may change under its readers."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def write(self, path: str, content: str) -> None:
        """Write one file; text as the kernel ends it is the caller's."""
        place = self.root / path
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_text(content)

    def fails(self, path: str) -> None:
        """Make reading this fail, as a sensor does that is switched off."""
        place = self.root / path
        if place.is_file():
            place.unlink()
        place.mkdir(parents=True, exist_ok=True)

    def link(self, path: str, to: str) -> None:
        """Make a relative link, as in /sys/class."""
        place = self.root / path
        place.parent.mkdir(parents=True, exist_ok=True)
        place.symlink_to(os.path.relpath(self.root / to, place.parent))

    def hwmon(self, number: int, device: str, files: dict[str, str]) -> None:
        """Add a hardware monitor at a device."""
        folder = f"sys/devices/{device}/hwmon/hwmon{number}"
        for name, content in files.items():
            self.write(f"{folder}/{name}", content + "\n")
        self.link(f"sys/class/hwmon/hwmon{number}", folder)

    def zone(self, number: int, kind: str, temp: str | None) -> None:
        """Add a thermal zone, in thousandths of a degree; None: it is offline, and reading it fails."""
        folder = f"sys/devices/virtual/thermal/thermal_zone{number}"
        self.write(f"{folder}/type", f"{kind}\n")
        if temp is None:
            self.fails(f"{folder}/temp")
        else:
            self.write(f"{folder}/temp", f"{temp}\n")
        self.link(f"sys/class/thermal/thermal_zone{number}", folder)

    def cooling(self, number: int, kind: str, state: int) -> None:
        """Add a cooling device."""
        folder = f"sys/devices/virtual/thermal/cooling_device{number}"
        self.write(f"{folder}/type", f"{kind}\n")
        self.write(f"{folder}/cur_state", f"{state}\n")
        self.link(f"sys/class/thermal/cooling_device{number}", folder)

    def cpu(self, *, busy: int, idle: int) -> None:
        """Set the ticks that the processor has worked and rested, iowait and the like aside."""
        self.write("proc/stat", STAT.format(user=busy - 3200, idle=idle - 1000))

    def common(self, *, model: str | None, kernel: str, system: str, memory_kb: int, cores: str = "0-3") -> None:
        """Add what every Linux has."""
        self.cpu(busy=103_200, idle=901_000)
        self.write("proc/meminfo", MEMINFO.format(total=memory_kb, available=memory_kb // 2))
        self.write("proc/loadavg", "0.52 0.58 0.59 1/389 2163\n")
        self.write("proc/sys/kernel/osrelease", f"{kernel}\n")
        self.write("proc/sys/kernel/random/boot_id", "6f0bfd0e-7f4d-4a0f-8c3f-7b2a7b1d3c55\n")
        self.write("etc/os-release", f'PRETTY_NAME="{system}"\nID=linux\n')
        self.write("sys/devices/system/cpu/online", f"{cores}\n")
        if model is not None:
            self.write("sys/firmware/devicetree/base/model", f"{model}\0")  # no newline, a zero byte
            self.link("proc/device-tree", "sys/firmware/devicetree/base")

    def vcgencmd(self, bits: int) -> None:
        """Put a program in the place of vcgencmd that answers with these bits."""
        self.write("usr/bin/vcgencmd", f'#!/bin/sh\n[ "$1" = get_throttled ] && echo "throttled={bits:#x}"\n')
        (self.root / "usr/bin/vcgencmd").chmod(0o755)


def pi4(root: Path) -> Sysroot:
    """Raspberry Pi 4, Raspberry Pi OS bookworm: the alarm of rpi_volt, and vcgencmd."""
    tree = Sysroot(root)
    tree.common(
        model="Raspberry Pi 4 Model B Rev 1.4",
        kernel="6.6.51+rpt-rpi-v8",
        system="Debian GNU/Linux 12 (bookworm)",
        memory_kb=3_882_792,
    )
    tree.zone(0, "cpu-thermal", "48686")
    tree.hwmon(0, "virtual/thermal/thermal_zone0", {"name": "cpu_thermal", "temp1_input": "48686"})
    tree.hwmon(1, "platform/soc/soc:firmware/raspberrypi-hwmon", {"name": "rpi_volt", "in0_lcrit_alarm": "0"})
    tree.write("sys/devices/platform/soc/soc:firmware/get_throttled", "0\n")
    tree.vcgencmd(0)
    return tree


def pi5(root: Path) -> Sysroot:
    """Raspberry Pi 5, trixie: more monitors, and a firmware driver that also gives voltages."""
    tree = Sysroot(root)
    tree.common(
        model="Raspberry Pi 5 Model B Rev 1.0",
        kernel="6.12.47+rpt-rpi-2712",
        system="Debian GNU/Linux 13 (trixie)",
        memory_kb=8_256_000,
    )
    tree.zone(0, "cpu-thermal", "55550")
    tree.cooling(0, "pwm-fan", 2)  # a fan that turns slows nothing down
    tree.hwmon(0, "virtual/thermal/thermal_zone0", {"name": "cpu_thermal", "temp1_input": "55550"})
    tree.hwmon(
        1,
        "platform/axi/1000120000.pcie/1f000c8000.adc",
        {"name": "rp1_adc", "in1_input": "1468", "temp1_input": "53729"},
    )
    tree.hwmon(2, "platform/cooling_fan", {"name": "pwmfan", "fan1_input": "3314", "pwm1": "75"})
    tree.hwmon(
        3,
        "platform/soc@107c000000/soc@107c000000:firmware/raspberrypi-hwmon",
        {"name": "rpi_volt", "in0_input": "720", "in0_label": "core", "in0_lcrit_alarm": "0"},
    )
    tree.vcgencmd(0)
    return tree


def pi_zero2w(root: Path) -> Sysroot:
    """Raspberry Pi Zero 2 W with the vendor's 6.1 kernel, without vcgencmd: bits in a file."""
    tree = Sysroot(root)
    tree.common(
        model="Raspberry Pi Zero 2 W Rev 1.0",
        kernel="6.1.21-v8+",
        system="Debian GNU/Linux 11 (bullseye)",
        memory_kb=437_000,
    )
    tree.zone(0, "cpu-thermal", "61224")
    tree.hwmon(0, "virtual/thermal/thermal_zone0", {"name": "cpu_thermal", "temp1_input": "61224"})
    tree.hwmon(1, "platform/soc/soc:firmware/raspberrypi-hwmon", {"name": "rpi_volt", "in0_lcrit_alarm": "0"})
    tree.write("sys/devices/platform/soc/soc:firmware/get_throttled", "0\n")
    return tree


def _ina3221(rails: list[tuple[str, int, int] | None]) -> dict[str, str]:
    """Return the files of an ina3221: label, mV, mA of each channel; None: it is not connected."""
    files = {"name": "ina3221", "in7_label": "sum of shunt voltages", "in7_input": "2000", "update_interval": "9"}
    for channel, rail in enumerate(rails, 1):
        files[f"in{channel}_label"] = "NC" if rail is None else rail[0]
        files[f"in{channel}_enable"] = "0" if rail is None else "1"
        if rail is not None:
            files |= {f"in{channel}_input": str(rail[1]), f"curr{channel}_input": str(rail[2])}
            files |= {f"curr{channel}_crit_alarm": "0", f"curr{channel}_max_alarm": "0"}
    return files


_ORIN_COMPATIBLE = "nvidia,p3768-0000+p3767-0005\0nvidia,p3767-0005\0nvidia,tegra234\0"
_NANO_RAILS: list[tuple[str, int, int] | None] = [
    ("VDD_IN", 5040, 960),
    ("VDD_CPU_GPU_CV", 5040, 128),
    ("VDD_SOC", 5040, 280),
]


def _gpu(tree: Sysroot, name: str, node: str, load: int) -> None:
    device = f"sys/devices/platform/bus@0/{name}"
    tree.write(f"{device}/load", f"{load}\n")
    tree.write(f"{device}/of_node/name", f"{node}\0")
    tree.write(f"{device}/devfreq/{name}/cur_freq", "306000000\n")
    tree.link(f"{device}/devfreq/{name}/device", device)
    tree.link(f"sys/class/devfreq/{name}", f"{device}/devfreq/{name}")


def _over_current(tree: Sysroot, number: int) -> None:
    files = {f"oc{n}_event_cnt": "0" for n in (1, 2, 3)} | {f"oc{n}_throt_en": "1" for n in (1, 2, 3)}
    tree.hwmon(number, "platform/soctherm-oc-event", {"name": "soctherm_oc", **files})


def orin_nano_jp5(root: Path) -> Sysroot:
    """Jetson Orin Nano, JetPack 5: a GPU by its old name, zones that answer -256000 where nothing is."""
    tree = Sysroot(root)
    tree.common(
        model="NVIDIA Orin Nano Developer Kit",
        kernel="5.10.192-tegra",
        system="Ubuntu 20.04.6 LTS",
        memory_kb=7_471_104,
        cores="0-5",
    )
    tree.write("sys/firmware/devicetree/base/compatible", _ORIN_COMPATIBLE)
    tree.write(
        "etc/nv_tegra_release",
        "# R35 (release), REVISION: 5.0, GCID: 35550185, BOARD: t186ref, EABI: aarch64, DATE: Tue Feb 20 04:46:31 UTC "
        "2024\n",
    )
    zones = ("CPU-therm", "GPU-therm", "CV0-therm", "CV1-therm", "CV2-therm", "SOC0-therm", "tj-therm")
    for number, kind in enumerate(zones):
        tree.zone(number, kind, "-256000" if kind.startswith("CV") else str(47_000 + 100 * number))
    tree.hwmon(0, "platform/pwm-fan", {"name": "pwmfan", "pwm1": "64"})
    tree.hwmon(1, "platform/c240000.i2c/i2c-1/1-0040", _ina3221(_NANO_RAILS))
    _over_current(tree, 2)
    _gpu(tree, "17000000.ga10b", "ga10b", 124)
    return tree


def orin_nano_jp6(root: Path) -> Sysroot:
    """Jetson Orin Nano, JetPack 6: zones that are offline cannot be read at all."""
    tree = Sysroot(root)
    tree.common(
        model="NVIDIA Jetson Orin Nano Developer Kit",
        kernel="5.15.148-tegra",
        system="Ubuntu 22.04.5 LTS",
        memory_kb=7_802_000,
        cores="0-5",
    )
    tree.write("sys/firmware/devicetree/base/compatible", _ORIN_COMPATIBLE)
    tree.write(
        "etc/nv_tegra_release",
        "# R36 (release), REVISION: 4.3, GCID: 38968081, BOARD: generic, EABI: aarch64, DATE: Wed Jan  8 01:49:37 UTC "
        "2025\n# KERNEL_VARIANT: oot\n",
    )
    zones = ("cpu-thermal", "gpu-thermal", "cv0-thermal", "cv1-thermal", "cv2-thermal", "soc0-thermal", "tj-thermal")
    for number, kind in enumerate(zones):
        tree.zone(number, kind, None if kind.startswith("cv") else str(49_000 + 125 * number))
    tree.cooling(0, "cpufreq-cpu0", 0)
    tree.cooling(1, "devfreq-17000000.gpu", 0)
    tree.hwmon(0, "platform/39c0000.tachometer", {"name": "pwm_tach", "rpm": "1500"})
    tree.hwmon(1, "platform/bus@0/c240000.i2c/i2c-1/1-0040", _ina3221(_NANO_RAILS))
    _over_current(tree, 2)
    _gpu(tree, "17000000.gpu", "gpu", 350)
    return tree


def agx_orin_jp7(root: Path) -> Sysroot:
    """Jetson AGX Orin, JetPack 7: two monitors, no rail for the whole board, one rail that another feeds."""
    tree = Sysroot(root)
    tree.common(
        model="NVIDIA Jetson AGX Orin Developer Kit",
        kernel="6.8.12-1021-tegra",
        system="Ubuntu 24.04.4 LTS",
        memory_kb=64_300_000,
        cores="0-7,10-11",
    )
    tree.write("sys/firmware/devicetree/base/compatible", "nvidia,p3737-0000+p3701-0005\0nvidia,tegra234\0")
    tree.write(
        "etc/nv_tegra_release",
        "# R39 (release), REVISION: 2.0, GCID: 41000000, BOARD: generic, EABI: aarch64, DATE: Mon May 18 12:00:00 UTC "
        "2026\n",
    )
    for number, kind in enumerate(("cpu-thermal", "gpu-thermal", "soc0-thermal", "tj-thermal")):
        tree.zone(number, kind, str(40_000 + 1000 * number))
    rails: list[tuple[str, int, int] | None] = [
        ("VDD_GPU_SOC", 20000, 150),
        ("VDD_CPU_CV", 20000, 40),
        ("VIN_SYS_5V0", 4968, 1000),
    ]
    tree.hwmon(3, "platform/bus@0/c240000.i2c/i2c-1/1-0040", _ina3221(rails))
    tree.hwmon(4, "platform/bus@0/c240000.i2c/i2c-1/1-0041", _ina3221([None, ("VDDQ_VDD2_1V8AO", 4968, 200), None]))
    _over_current(tree, 5)
    _gpu(tree, "17000000.gpu", "gpu", 0)
    return tree


def agx_thor_jp7(root: Path) -> Sysroot:
    """Jetson AGX Thor, JetPack 7: an INA238 measures the whole input, the GPU's load is no file."""
    tree = Sysroot(root)
    tree.common(
        model="NVIDIA Jetson AGX Thor Developer Kit",
        kernel="6.8.12-tegra",
        system="Ubuntu 24.04.3 LTS",
        memory_kb=128_000_000,
        cores="0-13",
    )
    tree.write("sys/firmware/devicetree/base/compatible", "nvidia,p3971-0089+p3834-0008\0nvidia,tegra264\0")
    tree.write(
        "etc/nv_tegra_release",
        "# R38 (release), REVISION: 2.0, GCID: 41844464, BOARD: generic, EABI: aarch64, DATE: Fri Aug 22 00:55:42 UTC "
        "2025\n",
    )
    tree.zone(0, "cpu-thermal", "38000")
    rails: list[tuple[str, int, int] | None] = [("VDD_GPU", 12000, 300), ("VDD_CPU_SOC_MSS", 12000, 700), None]
    tree.hwmon(0, "platform/bus@0/810c630000.i2c/i2c-2/2-0040", _ina3221(rails))
    tree.hwmon(
        1,
        "platform/bus@0/810c630000.i2c/i2c-2/2-0044",
        {"name": "ina238", "in0_input": "3", "in1_input": "20100", "curr1_input": "1500", "power1_input": "30150000"},
    )
    device = "sys/devices/platform/bus@0/d0b0000000.pcie/gpu-gpc-0"
    tree.write(f"{device}/devfreq/gpu-gpc-0/cur_freq", "315000000\n")
    tree.link(f"{device}/devfreq/gpu-gpc-0/device", device)
    tree.link("sys/class/devfreq/gpu-gpc-0", f"{device}/devfreq/gpu-gpc-0")
    return tree


def xavier_nx_jp4(root: Path) -> Sysroot:
    """Jetson Xavier NX with NVIDIA's older driver: rails under i2c and iio, GPU load under gpu.0."""
    tree = Sysroot(root)
    tree.common(
        model="NVIDIA Jetson Xavier NX Developer Kit",
        kernel="4.9.253-tegra",
        system="Ubuntu 18.04.6 LTS",
        memory_kb=7_900_000,
        cores="0-5",
    )
    tree.write(
        "etc/nv_tegra_release",
        "# R32 (release), REVISION: 7.1, GCID: 29818004, BOARD: t186ref, EABI: aarch64, DATE: Sat Feb 19 17:07:00 UTC "
        "2022\n",
    )
    for number, (kind, temp) in enumerate(
        (("AO-therm", "40500"), ("PMIC-Die", "100000"), ("thermal-fan-est", "99000"))
    ):
        tree.zone(number, kind, temp)
    device = "sys/devices/c240000.i2c/i2c-7/7-0040"
    rails = (("VDD_IN", 5000, 800, 4000), ("VDD_CPU_GPU_CV", 5000, 200, 1000), ("NC", 0, 0, 0))
    for channel, (name, volt, ampere, watt) in enumerate(rails):
        for file, value in {
            f"rail_name_{channel}": name,
            f"in_voltage{channel}_input": volt,
            f"in_current{channel}_input": ampere,
            f"in_power{channel}_input": watt,
        }.items():
            tree.write(f"{device}/iio:device0/{file}", f"{value}\n")
    tree.link("sys/bus/i2c/drivers/ina3221x/7-0040", device)
    tree.write("sys/devices/gpu.0/load", "87\n")
    return tree


def pc(root: Path) -> Sysroot:
    """A gateway of x86-64: DMI, coretemp, no device tree."""
    tree = Sysroot(root)
    tree.common(model=None, kernel="6.12.0-amd64", system="Debian GNU/Linux 13 (trixie)", memory_kb=16_000_000)
    tree.write("proc/cpuinfo", "processor\t: 0\nvendor_id\t: GenuineIntel\nmodel name\t: Intel(R) N100\n")
    tree.write("sys/class/dmi/id/product_name", "NUC12WSKi5\n")
    tree.hwmon(0, "platform/coretemp.0", {"name": "coretemp", "temp1_input": "62000", "temp2_input": "61000"})
    tree.hwmon(1, "platform/nvme", {"name": "nvme", "temp1_input": "70000"})
    return tree


ALL = (pi4, pi5, pi_zero2w, orin_nano_jp5, orin_nano_jp6, agx_orin_jp7, agx_thor_jp7, xavier_nx_jp4, pc)
