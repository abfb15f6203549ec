"""Boards are read as they are; what is missing, unreadable or nonsense is left out, and never fails."""

from __future__ import annotations

import os
import random
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from edgeglm_agent.board import clock, linux, processes
from edgeglm_agent.board.alarms import Level
from edgeglm_agent.board.clock import StepDetector
from edgeglm_agent.board.jetson import jetpack, l4t_release, total_mw
from edgeglm_agent.board.pi import in_words
from edgeglm_agent.board.read import Board
from edgeglm_agent.wire.telemetry import EVENTS, Power

from tests.support.agent import sysroots
from tests.support.uncovered import uncovered

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.support.agent.sysroots import Sysroot


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


class Bench:
    """A board that stands still until time is let pass."""

    def __init__(self, tree: Sysroot, state_dir: Path, **options: int) -> None:
        self.tree, self.clock = tree, Clock()
        steps = StepDetector(lambda: 1.8e9 + self.clock.now, self.clock)
        self.board = Board(state_dir, tree.root, clock=self.clock, steps=steps, **options)

    def sample(self, after_s: float = 5.0, *, idle: bool = False) -> list[str]:
        self.clock.now += after_s
        self.board.sample(idle=idle)
        return [event.name for event in self.board.events()]


@pytest.fixture
def bench(tmp_path: Path) -> Callable[[Callable[[Path], Sysroot]], Bench]:
    return lambda make: Bench(make(tmp_path / make.__name__), tmp_path)


FACTS = {
    "pi4": ("Raspberry Pi 4 Model B Rev 1.4", "raspberry-pi", 4, None),
    "pi5": ("Raspberry Pi 5 Model B Rev 1.0", "raspberry-pi", 4, None),
    "pi_zero2w": ("Raspberry Pi Zero 2 W Rev 1.0", "raspberry-pi", 4, None),
    "orin_nano_jp5": ("NVIDIA Orin Nano Developer Kit", "jetson", 6, 5),
    "orin_nano_jp6": ("NVIDIA Jetson Orin Nano Developer Kit", "jetson", 6, 6),
    "agx_orin_jp7": ("NVIDIA Jetson AGX Orin Developer Kit", "jetson", 10, 7),
    "agx_thor_jp7": ("NVIDIA Jetson AGX Thor Developer Kit", "jetson", 14, 7),
    "xavier_nx_jp4": ("NVIDIA Jetson Xavier NX Developer Kit", "jetson", 6, 4),
    "pc": ("NUC12WSKi5", "other", 4, None),
}


@pytest.mark.parametrize("make", sysroots.ALL, ids=lambda make: make.__name__)
def test_each_board_is_known_for_what_it_is(bench: Callable[..., Bench], make: Callable[[Path], Sysroot]) -> None:
    facts = bench(make).board.facts()
    assert (facts["model"], facts["kind"], facts["cores"], facts.get("jetpack")) == FACTS[make.__name__]
    assert facts["os"]
    assert facts["arch"] == os.uname().machine
    assert isinstance(facts["memory_mb"], int)


TEMPERATURES = {"pi4": 487, "pi5": 556, "pi_zero2w": 612, "orin_nano_jp5": 476, "orin_nano_jp6": 498}
TEMPERATURES |= {"agx_orin_jp7": 430, "agx_thor_jp7": 380, "xavier_nx_jp4": 405, "pc": 620}


@pytest.mark.parametrize("make", sysroots.ALL, ids=lambda make: make.__name__)
def test_each_board_tells_load_memory_disk_and_temperature(
    bench: Callable[..., Bench], make: Callable[[Path], Sysroot]
) -> None:
    on = bench(make)
    on.tree.cpu(busy=103_200 + 300, idle=901_000 + 700)
    on.clock.now += 300
    reading = on.board.reading()
    assert reading.cpu_permille == 300
    assert reading.memory_available_mb
    assert reading.disk_free_mb
    assert reading.temperature_decic == TEMPERATURES[make.__name__]
    assert on.board.events() == []
    on.tree.cpu(busy=103_500 + 10, idle=901_700 + 990)
    assert on.board.reading().cpu_permille == 10  # since the last reading


def test_the_window_keeps_the_worst_of_what_was_sampled(bench: Callable[..., Bench]) -> None:
    on = bench(sysroots.pi4)
    zone = "sys/devices/virtual/thermal/thermal_zone0/temp"
    on.sample()
    on.tree.write(zone, "71000\n")
    on.tree.write("proc/meminfo", sysroots.MEMINFO.format(total=3_882_792, available=50 * 1024))
    on.sample()
    on.tree.write(zone, "50000\n")
    on.tree.write("proc/meminfo", sysroots.MEMINFO.format(total=3_882_792, available=900 * 1024))
    reading = on.board.reading()
    assert (reading.temperature_decic, reading.memory_available_mb) == (710, 50)
    assert on.board.reading().temperature_decic == 500  # a new window


ALARM = {
    "pi4": "sys/devices/platform/soc/soc:firmware/raspberrypi-hwmon/hwmon/hwmon1/in0_lcrit_alarm",
    "pi5": "sys/devices/platform/soc@107c000000/soc@107c000000:firmware/raspberrypi-hwmon/hwmon/hwmon3/in0_lcrit_alarm",
}


@pytest.mark.parametrize("make", [sysroots.pi4, sysroots.pi5], ids=lambda make: make.__name__)
def test_a_sagging_supply_is_told_once_until_it_was_well_for_a_while(
    bench: Callable[..., Bench], make: Callable[[Path], Sysroot]
) -> None:
    on, alarm = bench(make), ALARM[make.__name__]
    assert on.sample() == []
    on.tree.write(alarm, "1\n")
    assert on.sample() == ["undervoltage"]
    for flicker in (0, 1, 0, 1):
        on.tree.write(alarm, f"{flicker}\n")
        assert on.sample(60) == []
    assert on.board.reading().undervoltage is True
    on.tree.write(alarm, "0\n")
    for _ in range(20):
        assert on.sample(60) == []
    on.board.reading()
    assert on.board.reading().undervoltage is False
    on.tree.write(alarm, "1\n")
    assert on.sample() == ["undervoltage"]


def test_a_pi_that_is_slowed_down_says_why(bench: Callable[..., Bench]) -> None:
    on = bench(sysroots.pi4)
    assert on.sample() == []
    on.tree.vcgencmd(0x60006)
    assert on.sample(5) == []  # the firmware is asked once a minute
    on.clock.now += 60
    on.board.sample()
    (event,) = on.board.events()
    assert event.name == "throttled"
    assert event.detail["why"] == "frequency capped, throttled"
    reading = on.board.reading()
    assert reading.throttled == 0x60006
    assert reading.undervoltage is False
    on.tree.vcgencmd(0x60000)  # over, but it has happened since boot: no news
    assert on.sample(3600) == []
    on.tree.vcgencmd(0xE0000)  # in between, and gone again
    assert on.sample(3600) == ["throttled"]


def test_what_happened_before_the_agent_came_is_told_as_such(bench: Callable[..., Bench]) -> None:
    on = bench(sysroots.pi4)
    on.tree.vcgencmd(0x50000)
    on.board.sample()
    events = {event.name: event.detail for event in on.board.events()}
    assert events["undervoltage"] == {"now": False}
    assert events["throttled"]["why"] == "throttled"
    reading = on.board.reading()
    assert (reading.undervoltage, reading.throttled) == (False, 0x50000)


def test_the_bits_of_a_pi_have_words() -> None:
    assert in_words(0) == ""
    assert in_words(0x50004) == "throttled (now), under-voltage (since boot)"


def test_a_pi_without_the_command_is_read_from_the_kernels_file(bench: Callable[..., Bench]) -> None:
    on = bench(sysroots.pi_zero2w)
    on.tree.write("sys/devices/platform/soc/soc:firmware/get_throttled", "80008\n")  # hexadecimal, without 0x
    assert on.sample() == ["throttled"]
    assert on.board.reading().throttled == 0x80008


def test_a_command_that_fails_or_hangs_is_given_up(tmp_path: Path) -> None:
    tree = sysroots.pi5(tmp_path / "root")
    calls = tmp_path / "calls"
    tree.write("usr/bin/vcgencmd", f"#!/bin/sh\necho >>{calls}\necho VCHI initialization failed\nexit 255\n")
    on = Bench(tree, tmp_path)
    for _ in range(10):
        assert on.sample(100) == []
    assert len(calls.read_text().splitlines()) == 3
    assert on.board.reading().throttled is None


RAILS = {
    "orin_nano_jp5": ({"VDD_IN": 4838, "VDD_CPU_GPU_CV": 645, "VDD_SOC": 1411}, 4838, 124),
    "orin_nano_jp6": ({"VDD_IN": 4838, "VDD_CPU_GPU_CV": 645, "VDD_SOC": 1411}, 4838, 350),
    "agx_orin_jp7": (
        {"VDD_GPU_SOC": 3000, "VDD_CPU_CV": 800, "VIN_SYS_5V0": 4968, "VDDQ_VDD2_1V8AO": 993},
        8768,
        0,
    ),
    "agx_thor_jp7": ({"VDD_GPU": 3600, "VDD_CPU_SOC_MSS": 8400, "VIN": 30150}, 30150, None),
    "xavier_nx_jp4": ({"VDD_IN": 4000, "VDD_CPU_GPU_CV": 1000}, 4000, 87),
}


@pytest.mark.parametrize("name", RAILS)
def test_a_jetson_tells_rails_and_gpu_and_skips_what_is_not_connected(bench: Callable[..., Bench], name: str) -> None:
    reading = bench(getattr(sysroots, name)).board.reading()
    rails, total, gpu = RAILS[name]
    assert {power.rail: power.mw for power in reading.power} == rails
    assert total_mw(reading.power) == total
    assert reading.gpu_permille == gpu


def test_rails_are_averaged_over_the_window(bench: Callable[..., Bench]) -> None:
    on = bench(sysroots.orin_nano_jp6)
    current = "sys/devices/platform/bus@0/c240000.i2c/i2c-1/1-0040/hwmon/hwmon1/curr1_input"
    for milliampere in (1000, 2000, 3000):
        on.tree.write(current, f"{milliampere}\n")
        on.sample()
    reading = on.board.reading()  # samples once more
    assert {power.rail: power.mw for power in reading.power}["VDD_IN"] == 5040 * 9000 // 4000


def test_a_gpu_that_appears_late_is_found(tmp_path: Path) -> None:
    tree = sysroots.orin_nano_jp6(tmp_path / "root")
    node = tree.root / "sys/class/devfreq/17000000.gpu"
    target = node.readlink()
    node.unlink()
    on = Bench(tree, tmp_path)
    assert on.board.reading().gpu_permille is None
    node.symlink_to(target)
    on.board.reading()
    assert on.board.reading().gpu_permille == 350


def test_a_jetson_tells_a_weak_supply_from_too_much_load(bench: Callable[..., Bench]) -> None:
    on = bench(sysroots.orin_nano_jp6)
    counter = "sys/devices/platform/soctherm-oc-event/hwmon/hwmon2/oc{}_event_cnt"
    assert on.sample() == []
    on.tree.write(counter.format(3), "7\n")
    assert on.sample() == ["throttled"]
    on.tree.write(counter.format(3), "99\n")  # goes on and on: no news
    assert on.sample() == []
    on.tree.write(counter.format(1), "1\n")
    assert on.sample() == ["undervoltage"]
    assert on.board.reading().undervoltage is True


def test_heat_that_slows_the_clocks_is_told(bench: Callable[..., Bench]) -> None:
    on = bench(sysroots.orin_nano_jp6)
    assert on.sample() == []
    on.tree.write("sys/devices/virtual/thermal/cooling_device1/cur_state", "3\n")
    on.clock.now += 5
    on.board.sample()
    (event,) = on.board.events()
    assert (event.name, event.severity) == ("throttled", "warning")
    assert event.detail == {"why": "heat", "temperature": 49.8}


def test_energy_is_what_was_drawn_above_idle(bench: Callable[..., Bench]) -> None:
    on = bench(sysroots.orin_nano_jp6)
    current = "sys/devices/platform/bus@0/c240000.i2c/i2c-1/1-0040/hwmon/hwmon1/curr1_input"
    for index in range(10):
        on.tree.write(current, f"{1000 + index % 2}\n")
        on.sample(idle=True)
    on.board.reading()
    assert on.board.energy_uj(100) is None  # no more than idle
    for index in range(60):
        on.tree.write(current, f"{1500 + index % 2}\n")
        on.sample()
    on.board.reading()
    # 0.5 A at 5.04 V for 300 s over 3000 inferences
    assert on.board.energy_uj(3000) == pytest.approx(5.04 * 0.5 * 300 / 3000 * 1e6, rel=0.01)
    half = on.board.energy_uj(3000, 0.5)
    assert half == pytest.approx(5.04 * 0.5 * 150 / 3000 * 1e6, rel=0.01)
    assert on.board.energy_uj(0) is None


def test_energy_is_not_guessed_where_nothing_was_seen_idle(bench: Callable[..., Bench]) -> None:
    on = bench(sysroots.orin_nano_jp6)
    for _ in range(20):
        on.sample()
    on.board.reading()
    assert on.board.energy_uj(100) is None
    other = bench(sysroots.pc)
    other.board.reading()
    assert other.board.energy_uj(100) is None


def test_a_disk_that_runs_full_is_told_once_each_way(tmp_path: Path) -> None:
    on = Bench(sysroots.pi4(tmp_path / "root"), tmp_path, disk_low_mb=10**9)
    assert on.sample() == ["disk-low"]
    assert on.sample() == []
    level = Level(200, 300)
    seen = [level.crossed(free) for free in (400, 201, 199, 150, 250, 299, 300, 250, 100)]
    assert seen == [False, False, True, False, False, False, True, False, True]


def test_the_folder_of_the_state_need_not_be_there_yet(tmp_path: Path) -> None:
    free = linux.disk_free_mb(tmp_path / "not" / "yet")
    assert free is not None
    assert abs(free - (linux.disk_free_mb(tmp_path) or 0)) < 1000


def test_a_clock_that_is_set_is_told(tmp_path: Path) -> None:
    at = [1000.0, 0.0]  # since boot; wall: 1970
    detector = StepDetector(lambda: at[1], lambda: at[0])
    board = Board(tmp_path, sysroots.pi4(tmp_path / "root").root, steps=detector)
    board.sample()
    at[0], at[1] = 1005.0, 1.8e9
    board.sample()
    (event,) = board.events()
    assert event.name == "clock-stepped"
    assert event.detail == {"by_s": pytest.approx(1.8e9 - 5)}
    at[0], at[1] = 1010.0, at[1] + 5 - 86_400
    board.sample()
    assert [event.detail["by_s"] for event in board.events()] == [pytest.approx(-86_400)]
    for _ in range(1000):  # slewed by 500 ppm, the most that the kernel does
        at[0], at[1] = at[0] + 300, at[1] + 300 * 1.0005
        board.sample()
    assert board.events() == []


def test_a_clock_is_trusted_once_someone_has_set_it(tmp_path: Path) -> None:
    known = clock.kernel_synchronised()
    assert clock.synchronised(tmp_path) is bool(known)
    sysroots.Sysroot(tmp_path).write("run/systemd/timesync/synchronized", "")
    assert clock.synchronised(tmp_path) is True
    assert not clock.plausible(0.0)
    assert not clock.plausible(86_400 * 365 * 30.0)
    assert clock.plausible()


def test_boot_and_uptime_are_the_kernels(tmp_path: Path) -> None:
    assert len(clock.boot_id()) == 36
    assert clock.boot_id(tmp_path) == ""
    before = clock.uptime_ms()
    listed = float(Path("/proc/uptime").read_text().split()[0])
    assert before / 1000 - 0.1 <= listed + 0.02 <= clock.uptime_ms() / 1000 + 0.1


def test_a_process_tells_its_memory_and_time() -> None:
    child = subprocess.Popen(
        [sys.executable, "-c", "block = bytearray(40 << 20)\nprint(flush=True)\nsum(range(10**7))\ninput()"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    try:
        assert child.stdout is not None
        child.stdout.readline()
        first = processes.usage(child.pid)
        assert first is not None
        assert first.rss_kb > 40 << 10
        assert (processes.pss_kb(child.pid) or 0) > 40 << 10
        deadline = time.monotonic() + 60
        while (later := processes.usage(child.pid)) is not None and later.cpu_ms < first.cpu_ms + 50:
            assert time.monotonic() < deadline
            time.sleep(0.01)
        assert later is not None
        assert later.started == first.started
    finally:
        child.communicate(b"\n")
    assert processes.usage(child.pid) is None
    assert processes.pss_kb(child.pid) is None


def test_a_process_may_have_any_name(tmp_path: Path) -> None:
    tree = sysroots.Sysroot(tmp_path)
    tail = "S 1 1 1 0 -1 4194304 100 0 0 0 250 150 0 0 20 0 4 0 987654 1000000 500 " + "0 " * 28
    tree.write("proc/7/stat", f"7 (a) b (c)) {tail}\n")
    tree.write("proc/7/statm", "2000 500 100 1 0 300 0\n")
    page = os.sysconf("SC_PAGE_SIZE")
    found = processes.usage(7, tmp_path)
    assert found == (500 * page // 1024, 400 * 1000 // os.sysconf("SC_CLK_TCK"), 987654)


def test_nothing_fails_on_an_empty_tree(tmp_path: Path) -> None:
    board = Board(tmp_path / "state", tmp_path / "nothing")
    reading = board.reading()
    assert reading.cpu_permille is reading.temperature_decic is reading.gpu_permille is None
    assert reading.disk_free_mb  # of this machine
    assert set(board.facts()) == {"kind", "arch", "python"}


NONSENSE = ["", "\n", "-", "0x", "NaN", "1e999", "\0\0\0", "9" * 5000, "-1", "é" * 100, "cpu  a b c d\n", ":::\n,,,\n-"]


@pytest.mark.parametrize("make", sysroots.ALL, ids=lambda make: make.__name__)
def test_nothing_fails_whatever_the_files_say_or_lack(tmp_path: Path, make: Callable[[Path], Sysroot]) -> None:
    tree = make(tmp_path / "root")
    rng = random.Random(0)
    (tmp_path / "root/usr/bin/vcgencmd").unlink(missing_ok=True)
    files = sorted(path for path in tree.root.rglob("*") if path.is_file() and not path.is_symlink())
    board = Board(tmp_path, tree.root)
    for _ in range(15):
        for path in rng.sample(files, 5):
            what = rng.randrange(4)
            name = str(path.relative_to(tree.root))
            if path.is_dir():
                path.rmdir()
            if what == 0:
                path.unlink(missing_ok=True)
            elif what == 1:
                tree.fails(name)
            else:
                path.write_bytes(rng.choice(NONSENSE).encode() if what == 2 else rng.randbytes(40))
        for one in (board, Board(tmp_path, tree.root)):
            one.sample()
            reading = one.reading()
            one.facts()
            assert {event.name for event in one.events()} <= set(EVENTS)
            assert reading.cpu_permille is None or 0 <= reading.cpu_permille <= 1000
            assert reading.gpu_permille is None or 0 <= reading.gpu_permille <= 1000


def test_the_readers_cost_the_supervisor_little_to_import() -> None:
    code = "import sys, edgeglm_agent.board.read, edgeglm_agent.board.clock; print(*sys.modules)"
    loaded = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, env=uncovered()
    ).stdout.split()
    assert not {"numpy", "asyncio", "ssl", "http", "socket"} & set(loaded)


def test_releases_of_jetson_linux_are_told_apart(tmp_path: Path) -> None:
    tree = sysroots.Sysroot(tmp_path)
    assert l4t_release(tmp_path) is None
    tree.write("etc/nv_tegra_release", "# R36 (release), REVISION: 4.3, GCID: 1\n")
    assert l4t_release(tmp_path) == "36.4.3"
    assert [jetpack(release) for release in ("35.6.0", "36.4.3", "38.2.0", "39.2.0", "99.1", None)] == [
        5,
        6,
        7,
        7,
        None,
        None,
    ]
    assert total_mw([Power("A", 1), Power("B", 2)]) == 3
    assert total_mw([]) is None
