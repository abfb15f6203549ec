"""The systemd units: nothing that systemd does not know, little that the agent does not need, one file of truth."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path

import pytest

SYSTEMD = Path(__file__).resolve().parents[3] / "device_agents" / "systemd"
UNITS = ("edgeglm-agent.service", "edgeglm-agent-worker@.service")
SAME_FROM = "# from here on both units are the same\n"


def run(*command: str | Path, **environ: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, capture_output=True, text=True, check=False, env=os.environ | environ)


@pytest.fixture
def units(tmp_path: Path) -> Path:
    """The units, with programs that are there: `verify` looks for them."""
    for program in ("edgeglm-agent", "python"):
        (tmp_path / program).write_text("#!/bin/sh\n")
        (tmp_path / program).chmod(0o755)
    for name in UNITS:
        (tmp_path / name).write_text((SYSTEMD / name).read_text().replace("/opt/edgeglm-agent/bin", str(tmp_path)))
    return tmp_path


@pytest.mark.parametrize("name", UNITS)
def test_systemd_finds_nothing_wrong(name: str, units: Path) -> None:
    done = run("systemd-analyze", "verify", "--man=no", units / name)
    assert done.stderr == ""  # its exit status says nothing of unknown keys
    assert done.returncode == 0


def test_an_unknown_key_would_be_seen(units: Path) -> None:
    unit = units / UNITS[0]
    unit.write_text(unit.read_text().replace("WatchdogSec", "WatchDogSeconds"))
    assert "WatchDogSeconds" in run("systemd-analyze", "verify", "--man=no", unit).stderr


@pytest.mark.parametrize("name", UNITS)
def test_what_it_is_exposed_to_is_at_most_2(name: str, units: Path) -> None:
    done = run("systemd-analyze", "security", "--offline=true", "--threshold=20", units / name)
    assert done.returncode == 0, done.stdout
    found = re.search(r"Overall exposure level for \S+: (\d+\.\d)", done.stdout)
    assert found, done.stdout
    assert float(found[1]) <= 2.0


def test_both_are_shut_in_alike() -> None:
    supervisor, worker = ((SYSTEMD / name).read_text().split(SAME_FROM)[1].split("[Install]")[0] for name in UNITS)
    assert supervisor == worker
    assert "SystemCallErrorNumber=EPERM" in supervisor  # a filter that kills ended the agent once
    assert "~@resources" not in supervisor
    assert "CapabilityBoundingSet=\n" in supervisor  # so that none of the calls below can set the clock
    assert (
        "SystemCallFilter=adjtimex clock_adjtime\n" in supervisor
    )  # whether it is synchronised is told with each record
    assert "ProtectClock=" not in supervisor.replace("ProtectClock= denies", "")  # denies even that


def test_the_supervisor_notifies_and_is_watched() -> None:
    text = (SYSTEMD / UNITS[0]).read_text()
    assert {"Type=notify", "WatchdogSec=60", "NoNewPrivileges=yes", "ProtectSystem=strict"} <= set(text.splitlines())


@pytest.mark.parametrize("name", UNITS)
def test_what_only_an_edit_mends_is_not_started_again_for_ever(name: str, units: Path) -> None:
    assert {"Restart=always", "RestartPreventExitStatus=2"} <= set((SYSTEMD / name).read_text().splitlines())
    unit = units / name
    unit.write_text(unit.read_text().replace("RestartPreventExitStatus=2", "RestartPreventExitStatus=settings"))
    assert "settings" in run("systemd-analyze", "verify", "--man=no", unit).stderr  # it does read that line


@pytest.mark.parametrize("arguments", [(), ("--external-workers",)])
def test_they_are_installed_into_a_tree(arguments: tuple[str, ...], tmp_path: Path) -> None:
    for _ in range(2):  # again is no fault
        done = run("sh", SYSTEMD / "install.sh", *arguments, DESTDIR=str(tmp_path))
        assert done.returncode == 0, done.stderr
    system = tmp_path / "etc" / "systemd" / "system"
    for name in UNITS:
        assert (system / name).read_text() == (SYSTEMD / name).read_text()
    assert (system / "edgeglm-agent.service.d" / "external-workers.conf").exists() is bool(arguments)
    groups = dict(line.split(":", 1) for line in (tmp_path / "etc" / "group").read_text().splitlines())
    user = next(line for line in (tmp_path / "etc" / "passwd").read_text().splitlines() if "edgeglm-agent" in line)
    assert 0 < int(user.split(":")[2]) < 1000  # a system user
    settings = (tmp_path / "etc" / "edgeglm-agent").stat()
    assert settings.st_mode & 0o777 == 0o750
    if os.getuid() == 0:
        assert str(settings.st_gid) == groups["edgeglm-agent"].split(":")[1]
    assert user.endswith(":/var/lib/edgeglm-agent:/usr/sbin/nologin")
    for group in ("video", "dialout", "render"):
        assert groups[group].endswith(":edgeglm-agent")


def test_installing_with_a_word_it_does_not_know_is_refused(tmp_path: Path) -> None:
    done = run("sh", SYSTEMD / "install.sh", "--external", DESTDIR=str(tmp_path))
    assert done.returncode == 2
    assert "usage" in done.stderr
    assert list(tmp_path.iterdir()) == []
