"""The agent's image, built for arm64 and run: as a number, on a read-only root, by emulation."""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import tarfile
from pathlib import Path
from typing import TypeAlias

import numpy as np
import pytest

from tests.support.model_folders import artifact_of, write_folder
from tests.support.tiny_models import tiny_images, tiny_logits, write_tiny_onnx

pytestmark = [pytest.mark.full, pytest.mark.timeout(1800)]
ROOT = Path(__file__).resolve().parents[2]
HERE = Path(__file__).resolve().parent
MB = 1_000_000
FORBIDDEN = ("gcc", "cc", "g++", "c++", "clang", "ld", "as", "pip", "make")
RESULTS = "slots/main/results.jsonl"
SETTINGS = """\
device = "board"

[slots.main]
model = "/models"
input = {kind = "replay", path = "/models/samples.npz"}
results = [{kind = "jsonl"}]
"""

Parts: TypeAlias = tuple[dict, list[str], dict[str, int]]


@pytest.fixture(scope="module")
def archive() -> Path:
    folder = ROOT / "build" / "arm64" / "image"
    done = subprocess.run(
        ["sh", "scripts/arm64_image.sh", folder.relative_to(ROOT)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return folder / "image.tar"


@pytest.fixture(scope="module")
def parts(archive: Path) -> Parts:
    """Return configuration, layers in their order, and the sizes of their tar files."""
    with tarfile.open(archive) as file:
        (entry,) = json.load(file.extractfile("manifest.json"))
        return (
            json.load(file.extractfile(entry["Config"])),
            entry["Layers"],
            {name: _behind_links(file, name).size for name in entry["Layers"]},
        )


def _behind_links(file: tarfile.TarFile, name: str) -> tarfile.TarInfo:
    member = file.getmember(name)
    return file.getmember(os.path.normpath(Path(name).parent / member.linkname)) if member.issym() else member


@pytest.fixture(scope="module")
def root(archive: Path, parts: Parts, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The file system of a container: the layers one over the other."""
    folder = tmp_path_factory.mktemp("root")
    folder.chmod(0o755)
    with tarfile.open(archive) as file:
        for name in parts[1]:
            layer = file.extractfile(_behind_links(file, name))
            subprocess.run(["tar", "-x", "-C", folder], input=layer.read(), check=True)
    return folder


def test_what_lies_above_the_base_is_at_most_160_mb(parts: Parts) -> None:
    _, (base, *above), sizes = parts
    assert sum(sizes[name] for name in above) <= 160 * MB, {name: sizes[name] // MB for name in (base, *above)}


def test_it_runs_as_a_number_and_says_how_it_is(parts: Parts) -> None:
    config = parts[0]["config"]
    assert parts[0]["architecture"] == "arm64"
    assert config["User"] == "10001:10001"
    assert config["Healthcheck"]["Test"] == ["CMD", "edgeglm-agent", "status"]
    assert "ORT_DISABLE_TELEMETRY=1" in config["Env"]


def test_there_is_no_compiler_and_no_installer(root: Path) -> None:
    folders = ("bin", "usr/bin", "usr/local/bin", "opt/edgeglm-agent/bin")
    programs = {path.name for folder in folders for path in (root / folder).glob("*")}
    assert {"python3", "edgeglm-agent"} <= programs
    assert {name for name in programs if name.split("-")[0].rstrip("0123456789.") in FORBIDDEN} == set()
    assert not list((root / "opt" / "edgeglm-agent").rglob("pip/__main__.py"))


@pytest.fixture
def board(root: Path, tmp_path: Path) -> Path:
    """A folder with the settings and the model that a container is given: 100 samples, answered one by one."""
    model = tmp_path / "model"
    model.mkdir()
    write_folder(model, [artifact_of(write_tiny_onnx(model / "model.onnx"), "onnx")])
    np.savez(model / "samples.npz", x=tiny_images(100))
    (tmp_path / "etc").mkdir()
    (tmp_path / "etc" / "agent.toml").write_text(SETTINGS)
    for path in (tmp_path, *tmp_path.rglob("*")):
        path.chmod(0o755)
    (root / "models").mkdir(exist_ok=True)
    return tmp_path


def test_it_serves_on_a_read_only_root_and_says_that_it_is_well(root: Path, board: Path, parts: Parts) -> None:
    config = parts[0]["config"]
    inside = f"chroot --userspec={config['User']} {root} env -i {shlex.join(config['Env'])}"
    mounts = "\n".join(
        (
            f"mount --bind {root} {root}",
            f"mount --bind {board / 'etc'} {root}/etc/edgeglm-agent",
            f"mount --bind {board / 'model'} {root}/models",
            f"mount -t tmpfs -o uid=10001,gid=10001,mode=700 none {root}/run/edgeglm-agent",
            f"mount -t tmpfs -o uid=10001,gid=10001,mode=700 none {root}/var/lib/edgeglm-agent",
            f"mount --bind /dev {root}/dev",
            f"mount -t proc none {root}/proc",
            f"mount --bind {HERE / 'cpuinfo'} {root}/proc/cpuinfo",  # runtimes that see this machine's own crash
            f"mount -o remount,bind,ro {root}",
            f'agent() {{ {inside} "$@"; }}',
            "agent sh -c 'echo > /opt/written' 2>/dev/null && exit 91",
            f"{inside} {shlex.join(config['Entrypoint'] + config['Cmd'])} & pid=$!",  # a function's pid is a shell's
            f"until agent {shlex.join(config['Healthcheck']['Test'][1:])}; do kill -0 $pid || exit 92; sleep 1; done",
            f"results={root}/var/lib/edgeglm-agent/{RESULTS}",
            'until [ "$(wc -l <$results)" = 100 ]; do kill -0 $pid || exit 93; sleep 1; done',
            "tail -1 $results",
            "kill -TERM $pid; wait $pid",
        )
    )
    done = subprocess.run(["unshare", "-m", "sh", "-c", mounts], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    last = json.loads(done.stdout.splitlines()[-1])
    expected = tiny_logits(tiny_images(100))[-1]
    np.testing.assert_allclose(last["answer"]["logits"], expected, rtol=1e-4, atol=1e-5)
