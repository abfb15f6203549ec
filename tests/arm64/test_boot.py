"""The units, started by a real systemd on an emulated board: serving, watched, and serving again after any end."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.support.model_folders import artifact_of, write_folder
from tests.support.tiny_models import tiny_images, tiny_logits, write_tiny_onnx

pytestmark = [pytest.mark.full, pytest.mark.timeout(2400)]
ROOT = Path(__file__).resolve().parents[2]
HERE = Path(__file__).resolve().parent
KEPT = ROOT / "build" / "arm64"
UNNEEDED = ("ai_edge_litert*", "tokenizers*", "huggingface_hub*", "hf_xet*", "PIL*", "pillow*", "tests", "bin")
SETTINGS = """\
device = "board"
[slots.main]
model = "/var/lib/edgeglm-agent/models/tiny"
input = {kind = "http"}
"""
SPAWNED = ("boot", "worker-killed", "supervisor-killed", "supervisor-hung")
EXTERNAL = ("external-workers", "external-worker-killed", "external-supervisor-killed", "denied-calls-kill")
WRITABLE = {"/run/edgeglm-agent", "/var/lib/edgeglm-agent", "/tmp", "/var/tmp"}  # the last two are its own
KERNEL = "console=ttyAMA0 panic=-1 quiet rdinit=/lib/systemd/systemd systemd.mask=getty.target"
AUDIT = "[Journal]\nAudit=yes\n"  # the kernel names the system call for which it ends a process


@pytest.fixture(scope="module")
def board(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A board's files, with the agent as docs/agent/install.md installs it."""
    tree = tmp_path_factory.mktemp("board") / "tree"
    agent = tree / "opt" / "edgeglm-agent"
    run("sh", ROOT / "scripts" / "arm64_userland.sh", "bookworm", KEPT / "bookworm", PYTHON=sys.executable)
    run("sh", ROOT / "scripts" / "arm64_boot.sh", KEPT / "boot", tree)
    install_agent(agent)
    run("sh", agent / "share" / "edgeglm-agent" / "systemd" / "install.sh", DESTDIR=str(tree))
    (tree / "etc" / "edgeglm-agent" / "agent.toml").write_text(SETTINGS)
    model = tree / "var" / "lib" / "edgeglm-agent" / "models" / "tiny"
    model.mkdir(parents=True)
    write_folder(model, [artifact_of(write_tiny_onnx(model / "model.onnx"), "onnx")])
    (tree / "sample.json").write_text(json.dumps({"inputs": tiny_images(1)[0].tolist()}))
    journal = tree / "etc" / "systemd" / "journald.conf.d"
    journal.mkdir(parents=True)
    (journal / "audit.conf").write_text(AUDIT)
    shutil.copy(HERE / "boot" / "probe.py", tree)
    shutil.copy(HERE / "boot" / "probe.service", tree / "etc" / "systemd" / "system")
    run("systemctl", f"--root={tree}", "enable", "-q", "edgeglm-agent", "probe")
    return tree


def install_agent(folder: Path) -> None:
    """Make the virtual environment that `python3 -m venv` and `pip install` make on a board."""
    packages = folder / "lib" / "python3.11" / "site-packages"
    shutil.copytree(KEPT / "bookworm" / "opt" / "site", packages, ignore=shutil.ignore_patterns(*UNNEEDED))
    shutil.copytree(ROOT / "device_agents" / "edgeglm_agent", packages / "edgeglm_agent")
    shutil.copytree(ROOT / "device_agents" / "systemd", folder / "share" / "edgeglm-agent" / "systemd")
    (folder / "bin").mkdir()
    (folder / "bin" / "python").symlink_to("/usr/bin/python3.11")
    (folder / "pyvenv.cfg").write_text("home = /usr/bin\ninclude-system-site-packages = false\nversion = 3.11\n")
    script = folder / "bin" / "edgeglm-agent"
    script.write_text("#!/opt/edgeglm-agent/bin/python\nfrom edgeglm_agent.cli import main\nraise SystemExit(main())\n")
    script.chmod(0o755)
    # what Python 3.11 compiles here need not be compiled there, each time: the agent may write nothing beside it
    stdlib = folder.parents[1] / "usr" / "lib" / "python3.11"
    run(sys.executable, "-m", "compileall", "-q", "--invalidation-mode=unchecked-hash", packages, stdlib)


def run(*command: str | Path, cwd: Path = ROOT, **environ: str) -> None:
    done = subprocess.run(command, cwd=cwd, env=os.environ | environ, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.fixture(scope="module")
def told(board: Path) -> dict[str, Any]:
    """What the probe told from inside: what it saw, by what was done before, and the journal."""
    initrd = board.parent / "initrd"
    run("sh", "-c", f"find . | cpio --quiet -o -H newc >{initrd}", cwd=board)
    done = subprocess.run(
        [
            *("qemu-system-aarch64", "-M", "virt", "-cpu", "cortex-a72", "-smp", "1", "-m", "1024", "-no-reboot"),
            # its time is what its instructions take, 8 ns each, so that it is a slow board whatever else goes on here
            *("-icount", "shift=3,sleep=off"),
            *("-display", "none", "-serial", "stdio", "-monitor", "none", "-nic", "none"),
            *("-kernel", KEPT / "boot" / "vmlinuz", "-initrd", initrd, "-append", KERNEL),
        ],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        check=False,
    )
    (board.parent / "serial.log").write_text(done.stdout)
    said = [json.loads(line[6:]) for line in done.stdout.splitlines() if line.startswith("PROBE ")]
    seen = {one["after"]: one for one in said if "after" in one}
    journal = next((one["journal"] for one in said if "journal" in one), [])
    wrong = [one["failed"] for one in said if "failed" in one]
    assert seen.keys() == {*SPAWNED, *EXTERNAL}, "\n".join([*wrong, *journal[-200:], done.stdout[-2000:]])
    return seen | {"journal": journal}


@pytest.mark.parametrize("after", SPAWNED + EXTERNAL)
def test_it_serves(after: str, told: dict[str, Any]) -> None:
    seen = told[after]
    expected = tiny_logits(tiny_images(1))[0]
    np.testing.assert_allclose(seen["answer"]["answer"]["logits"], expected, rtol=1e-4, atol=1e-5)
    assert (seen["unit"]["ActiveState"], seen["unit"]["SubState"]) == ("active", "running")


def test_what_died_was_replaced_and_nothing_else(told: dict[str, Any]) -> None:
    supervisors = {after: told[after]["supervisor"]["Pid"] for after in SPAWNED + EXTERNAL}
    workers = {after: told[after]["worker"]["Pid"] for after in SPAWNED + EXTERNAL}
    assert supervisors["worker-killed"] == supervisors["boot"]
    assert supervisors["external-worker-killed"] == supervisors["external-workers"]
    assert workers["external-supervisor-killed"] == workers["external-worker-killed"]
    assert len(set(supervisors.values())) == 6
    assert len(set(workers.values())) == 7
    restarts = {after: int(told[after]["unit"]["NRestarts"]) for after in SPAWNED + EXTERNAL}
    assert [restarts[after] for after in SPAWNED] == [0, 0, 1, 2]
    assert [restarts[after] for after in EXTERNAL] == [0, 0, 1, 0]
    assert told["external-worker-killed"]["worker_unit"]["NRestarts"] == "1"
    assert any("Watchdog timeout (limit 1min)" in line for line in told["journal"])


@pytest.mark.parametrize("after", ["boot", "external-workers"])
def test_its_processes_are_shut_in(after: str, told: dict[str, Any]) -> None:
    units = {"supervisor": "edgeglm-agent.service", "worker": "edgeglm-agent.service"}
    if after in EXTERNAL:
        units["worker"] = "edgeglm-agent-worker@main.service"
    for name, unit in units.items():
        process = told[after][name]
        assert {0 < int(uid) < 1000 for uid in process["Uid"].split()} == {True}
        assert (int(process["CapEff"], 16), process["NoNewPrivs"]) == (0, "1")
        assert process["Seccomp"] == "2"  # a filter
        assert process["cgroup"].endswith(f"/{unit}")
        elsewhere = {path for path in process["writable"] if path != "/proc" and path.split("/")[1] != "dev"}
        assert elsewhere == WRITABLE | ({"/tmp/argus_socket"} if after in EXTERNAL else set())


def test_no_system_call_was_denied(told: dict[str, Any]) -> None:
    """Here, with what the agent does here; a call that is denied on a board fails, and is heard of."""
    journal = told["journal"]
    assert any("audit" in line and "unit=edgeglm-agent " in line for line in journal)  # the kernel is heard
    assert [line for line in journal if re.search(r"audit.*(SECCOMP|type=1326)|status=31/SYS|SIGSYS", line)] == []
