"""Every shipped recipe, run through the command line: with little training here, in full among the long tests."""

from __future__ import annotations

import contextlib
import json
import os
import pty
import re
import shutil
import signal
import subprocess
import sys
import urllib.request
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from edgeglm.shipped import shipped_recipes

if TYPE_CHECKING:
    from collections.abc import Callable

DEMO = Path(__file__).resolve().parents[2] / "scripts" / "demo.py"
FOLDERS = {name: folder for name, folder, _ in shipped_recipes()}
# what makes a run short: the answers are worse then, the way is the same
SHORT: dict[str, list[str]] = {
    "digits-cnn": ["steps[1].distill.epochs=3"],
    "digits-dscnn": ["steps[1].distill.epochs=3"],
    "tabular-mlp": ["steps[1].distill.epochs=5"],
    "tabular-tabnet": [],
    "vibration-lstm": ["steps[1].distill.epochs=1"],
    "digits-segmentation": ["steps[1].distill.epochs=1"],
    "minilm": [],
    "minilm-small": [],
}
UNHURRIED = "budget.min_speedup=0.01"  # a busy machine is no fault of the recipe


def compress(name: str, folder: Path, *overrides: str) -> tuple[int, dict, str]:
    """Return exit code, report and stderr of one run with a cache of its own."""
    settings = [part for override in overrides for part in ("--set", override)]
    done = subprocess.run(
        [sys.executable, "-m", "edgeglm", "compress", FOLDERS[name] / "recipe.yaml", "-o", folder / "out", *settings],
        env=os.environ | {"EDGEGLM_CACHE": str(folder / "cache")},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode in (0, 3), done.stderr
    return done.returncode, json.loads((folder / "out" / "report.json").read_text()), done.stderr


@pytest.fixture(scope="module")
def short(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], tuple[Path, dict, str]]:
    """Return what runs a recipe briefly, once: name -> folder, report and stderr."""
    made: dict[str, tuple[Path, dict, str]] = {}

    def run(name: str) -> tuple[Path, dict, str]:
        if name not in made:
            folder = tmp_path_factory.mktemp(name)
            _, report, stderr = compress(name, folder, UNHURRIED, "on_violation=best-effort", *SHORT[name])
            made[name] = folder / "out", report, stderr
        return made[name]

    return run


# the demo's; the others are among the long tests
QUICK = {"digits-cnn"}
BRIEF = [name if name in QUICK else pytest.param(name, marks=pytest.mark.full) for name in FOLDERS]


@pytest.mark.parametrize("name", BRIEF)
def test_it_runs_and_every_file_is_smaller_and_answers_as_its_network(
    name: str, short: Callable[[str], tuple[Path, dict, str]]
) -> None:
    out, report, stderr = short(name)
    assert "Traceback" not in stderr
    assert report["artifacts"]
    for artifact in report["artifacts"]:
        assert artifact["size_ratio"] > 1
        assert artifact["parity"]["passed"]
    inspected = subprocess.run(
        [sys.executable, "-m", "edgeglm", "inspect", out], capture_output=True, text=True, check=False
    )
    assert inspected.returncode == 0, inspected.stderr
    assert inspected.stdout.count("golden      passed") == len(report["artifacts"])


def test_the_demo_names_the_drift_and_ends_by_itself_but_on_a_terminal_goes_on_until_ctrl_c(
    short: Callable[[str], tuple[Path, dict, str]],
) -> None:
    command = [sys.executable, DEMO, short("digits-cnn")[0]]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=300)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count(": answered ") == 5
    problems = done.stdout.partition("fleet ls --problems ")[2]
    assert re.search(r"^gate-3 +drifting ", problems, re.MULTILINE), done.stdout
    assert not re.search(r"^gate-[12] +(drifting|silent|erroring) ", problems, re.MULTILINE), done.stdout
    assert re.search(r"live: http://127\.0\.0\.1:\d+/\n", problems)
    assert re.search(r"^Every row of the 3 boards is in the store, and once: \d+\.$", problems, re.MULTILINE)
    assert "\nEverything was stopped. " in problems

    ours, its = pty.openpty()
    demo = subprocess.Popen(command, stdout=its, stderr=subprocess.DEVNULL, start_new_session=True)
    try:
        os.close(its)
        with os.fdopen(ours, encoding="utf-8") as screen:
            line = next(line for line in screen if line.startswith("curl "))
            image, address = re.search(r"@(\S+) (http://\S+)", line).groups()
            headers = {"Content-Type": "application/x-npy"}
            request = urllib.request.Request(address, Path(image).read_bytes(), headers)
            with urllib.request.urlopen(request, timeout=60) as answer:
                assert json.load(answer)["answer"][0]["label"] in set("0123456789")
            os.killpg(demo.pid, signal.SIGINT)  # as a terminal does
            said = b""
            with contextlib.suppress(OSError):  # the other end is closed
                while some := os.read(ours, 4096):  # a terminal gives no more at once
                    said += some
            assert demo.wait(120) == 0
            assert b"Everything was stopped." in said
    finally:
        if demo.poll() is None:
            os.killpg(demo.pid, signal.SIGKILL)
            demo.wait()


def test_the_demo_fails_where_the_answers_are_wrong(
    short: Callable[[str], tuple[Path, dict, str]], tmp_path: Path
) -> None:
    folder = tmp_path / "digits-cnn"
    shutil.copytree(short("digits-cnn")[0], folder)
    manifest = json.loads((folder / "manifest.json").read_text())
    manifest["labels"] = manifest["labels"][1:] + manifest["labels"][:1]  # each digit is taken for the next
    (folder / "manifest.json").write_text(json.dumps(manifest))
    done = subprocess.run([sys.executable, DEMO, folder], capture_output=True, text=True, check=False, timeout=300)
    assert done.returncode == 1
    assert done.stdout.count(": answered ") == 5
    said = re.findall(r"^error: .*", done.stderr, re.MULTILINE)
    assert said == ["error: the agent answered 0 of 5 digits right; at least 4 must be"]
    assert "Traceback" not in done.stderr


@pytest.mark.full
@pytest.mark.parametrize("name", FOLDERS)
def test_in_full_it_meets_its_budget(name: str, tmp_path: Path) -> None:
    code, report, stderr = compress(name, tmp_path, UNHURRIED)
    assert code == 0, stderr
    assert report["budget"]["met"] is True, report["budget"]
