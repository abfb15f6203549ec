"""The commands, as a person types them, beside an agent that serves."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from tests.support.agent.broker import Broker
from tests.support.agent.running import Agent, running_agent
from tests.support.model_folders import write_two
from tests.support.tiny_models import tiny_images


def command(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    line = [sys.executable, "-m", "edgeglm_agent", *map(str, arguments)]
    return subprocess.run(line, capture_output=True, text=True, check=False, timeout=120)


def flat(text: str) -> str:
    return " ".join(text.split())


def slot(folder: Path) -> str:
    """A slot that replays four samples over and over."""
    np.savez(folder / "samples.npz", x=tiny_images(4))
    return (
        f'[telemetry]\nwindow_s = 1\n[slots.main]\nmodel = "{folder}/model"\n'
        f'input = {{kind = "replay", path = "{folder}/samples.npz", rate = 20, loop = true}}\n'
        'artifacts = ["model.onnx"]\nresults = [{kind = "jsonl"}]\n'
    )


@pytest.fixture(scope="module")
def serving(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Agent]:
    """An agent that serves, with a broker."""
    folder = tmp_path_factory.mktemp("agent")
    write_two(folder / "model")
    with Broker(folder / "broker") as broker:
        settings = f'[mqtt]\nhost = "localhost"\nport = {broker.port}\n{slot(folder)}'
        with running_agent(folder, settings) as agent:
            agent.until(
                lambda status: status.slots["main"].rss_kb is not None and status.link.state == "connected",
                "a whole window, and the broker",
            )
            yield agent


def test_status_shows_what_serves_how_well_and_the_way_to_the_broker(serving: Agent) -> None:
    done = command("status", serving.settings)
    assert (done.returncode, done.stderr) == (0, "")
    text = flat(done.stdout)
    assert f"agent bench-1 of fleet default; edgeglm-agent 0.1.0, pid {serving.process.pid}" in text
    assert "main: serving tiny 0123456789ab, model.onnx (none) in onnxruntime" in text
    assert " on cpu" in text
    assert "link connected to localhost:" in text
    assert re.search(r"main replay [1-9]\d* s \d", text), text
    assert max(map(len, done.stdout.splitlines())) <= 80


def test_status_as_json_has_the_figures(serving: Agent) -> None:
    document = json.loads(command("status", "--json", serving.settings).stdout)
    main = document["slots"]["main"]
    assert main["state"]["status"] == "serving"
    assert main["latency_ms"]["p50"] <= main["latency_ms"]["p99"]
    assert main["rss_kb"] > 10_000
    assert document["link"]["bytes_today"] > 0
    assert document["queue"]["quota_bytes"] == 64_000_000


def test_check_doctor_and_selftest_leave_the_agent_alone(serving: Agent) -> None:
    assert command("check", serving.settings).returncode == 0
    doctor = command("doctor", serving.settings)
    assert doctor.returncode == 0, doctor.stdout
    assert "the broker lets this device in (MQTT 5)" in flat(doctor.stdout)
    assert "SQLite commits in" in flat(doctor.stdout)
    selftest = command("selftest", serving.settings)
    assert selftest.returncode == 0
    assert flat(selftest.stdout).startswith("ok main tiny 0123456789ab: model.onnx (none) in onnxruntime")
    status = serving.status()
    assert (status.pid, status.slots["main"].state.load) == (serving.process.pid, 1)
    assert status.link.state == "connected"


def test_restart_lets_a_slot_begin_anew_and_names_one_that_is_not_there(tmp_path: Path) -> None:
    write_two(tmp_path / "model")
    with running_agent(tmp_path, slot(tmp_path)) as agent:
        first = agent.until_slot(lambda found: found.state.status == "serving", "the model serves")
        wrong = command("restart", agent.settings, "--slot", "mian")
        assert (wrong.returncode, wrong.stdout) == (2, "")
        assert "there is no slot `mian`; there are main" in wrong.stderr
        done = command("restart", agent.settings, "--slot", "main")
        assert (done.returncode, done.stdout) == (0, "main begins anew\n")
        agent.until_slot(lambda found: found.state.load == 2 and found.state.status == "serving", "another serves")
        assert agent.slot().pid != first.pid
        agent.stop()
        gone = command("restart", agent.settings)
        assert gone.returncode == 4
        assert "no agent runs here" in gone.stderr


def test_a_second_agent_of_one_folder_is_one_clear_error(serving: Agent) -> None:
    done = command("run", serving.settings)
    assert done.returncode == 4
    assert done.stderr.startswith(f"{serving.folder}/state: another agent holds")
    assert done.stderr.endswith("code: agent-running\n")
    assert serving.status().slots["main"].state.status == "serving"


def test_a_folder_that_cannot_be_made_is_one_clear_error(tmp_path: Path) -> None:
    (tmp_path / "agent.toml").write_text('device = "d"\nstate_dir = "/proc/no-such-place/state"\nruntime_dir = "run"\n')
    done = command("run", tmp_path / "agent.toml")
    assert done.returncode == 4
    assert "Traceback" not in done.stderr
    assert done.stderr.endswith("code: agent-folder\n")


def test_an_agent_with_a_damaged_model_runs_and_says_so(tmp_path: Path) -> None:
    write_two(tmp_path / "model")
    (tmp_path / "model" / "manifest.json").write_text("{")
    with running_agent(tmp_path, slot(tmp_path)) as agent:
        agent.until_slot(lambda slot: slot.state.status == "refused", "the model is refused")
        text = flat(command("status", agent.settings).stdout)
        assert "main: refused why:" in text
        assert "not a manifest" in text
        assert command("check", agent.settings).returncode == 2
        assert agent.stop() == 0


def test_a_broker_that_refuses_the_agent_is_told_without_its_password(tmp_path: Path) -> None:
    write_two(tmp_path / "model")
    (tmp_path / "passwords").write_text("")
    (tmp_path / "secret").write_text("hunter2-of-the-gate\n")
    (tmp_path / "secret").chmod(0o600)
    refusing = ("allow_anonymous false", f"password_file {tmp_path}/passwords")
    with Broker(tmp_path / "broker", lines=refusing) as broker:
        mqtt = f'[mqtt]\nhost = "localhost"\nport = {broker.port}\nusername = "gate"\npassword_file = "secret"\n'
        with running_agent(tmp_path, f'[log]\nlevel = "debug"\n{mqtt}{slot(tmp_path)}') as agent:
            refused = agent.until(lambda status: bool(status.link.why), "the broker refuses")
            shown = command("status", agent.settings).stdout + command("doctor", agent.settings).stdout
            assert agent.stop() == 0
    assert refused.link.state != "connected"
    assert "the broker refuses this device" in flat(shown)
    assert "hunter2" not in shown + agent.log()
