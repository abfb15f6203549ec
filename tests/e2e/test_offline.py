"""Nothing phones home: every outgoing connection of a whole run is recorded, and there is none."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from edgeglm_agent.offline import SILENT

from tests.support.projects import Project

CALLS = "trace=connect,sendto,sendmsg,sendmmsg"
CONNECTION = re.compile(r"(connect|sendto|sendmsg|sendmmsg)\(.*AF_INET6?")


def connections(command: list[str], cwd: Path, record: Path, environment: dict[str, str]) -> list[str]:
    """Run a command; return every system call, of it and all its children, that addresses another host."""
    done = subprocess.run(
        ["strace", "-f", "--seccomp-bpf", "-qq", "-o", str(record), "-e", CALLS, *command],
        cwd=cwd,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return [line for line in record.read_text(errors="replace").splitlines() if CONNECTION.search(line)]


def frank(project: Project) -> dict[str, str]:
    """Return an environment in which no library has a reason to be silent but those that edgeglm gives it."""
    environment = project.environment()
    for name in [
        *SILENT,
        *(name for name in environment if name in {"CI", "GITHUB_ACTIONS", "TF_BUILD"} or name.startswith("PYTEST")),
    ]:
        environment.pop(name, None)
    return environment | {"HOME": str(project.folder)}


def test_the_recorder_sees_a_connection_of_a_grandchild(tmp_path: Path) -> None:
    code = "import socket; s = socket.socket(); s.connect_ex(('127.0.0.1', 9))"
    outer = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {code!r}])"
    assert connections([sys.executable, "-c", outer], tmp_path, tmp_path / "record", dict(os.environ)) != []


@pytest.mark.full
def test_a_whole_run_its_evaluation_and_its_timing_open_no_connection(tmp_path: Path) -> None:
    project = Project(tmp_path / "digits")
    project.edit("recipe.yaml", "epochs: 2", "epochs: 1")  # of both training steps
    project.edit(
        "recipe.yaml",
        "  - {format: onnx, quantize: static-int8}",
        "  - {format: onnx, quantize: static-int8}\n  - {format: tflite, quantize: static-int8}\n"
        "  - {format: openvino, quantize: static-int8}",
    )
    edgeglm = [sys.executable, "-m", "edgeglm"]
    for verb in (
        ["compress", "recipe.yaml", "-o", "out"],
        ["eval", "recipe.yaml", "-o", "out"],
        ["bench", "out/model.onnx", "out/model.tflite", "out/model.xml", "--runs", "10"],
    ):
        assert connections([*edgeglm, *verb], project.folder, tmp_path / "record", frank(project)) == []
    # at home, which is the project's folder here: OpenVINO's telemetry, left alone, makes an identity in ~/intel
    assert {path.name for path in project.folder.iterdir()} <= {*project.files, "cache", "out", "__pycache__"}
    report = json.loads((project.folder / "out" / "report.json").read_text())
    assert len(report["steps"]) == 3
    assert len(report["artifacts"]) == 3
