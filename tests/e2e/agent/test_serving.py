"""A board's agent serves, counts and reports; what breaks costs its own worker alone."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
from edgeglm_agent.status import restart
from edgeglm_agent.wire import Artifact, Runtime, TensorSpec

from tests.support.agent.broken_engines import BREAKS, install_broken_engines
from tests.support.agent.running import running_agent
from tests.support.model_folders import safetensors, sha256, write_best, write_folder
from tests.support.tiny_models import tiny_images, tiny_logits

if TYPE_CHECKING:
    from tests.support.agent.running import Agent

X, Y = TensorSpec("x", "float32", (4,), "NC"), TensorSpec("y", "float32", (2,), "NC")


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """A folder with a tiny ONNX file that names one of five classes."""
    return write_best(tmp_path / "model", labels=("a", "b", "c", "d", "e"))


@pytest.fixture
def plugins(tmp_path: Path) -> Path:
    return install_broken_engines(tmp_path / "plugins")


def broken_model(folder: Path, kind: str) -> Path:
    """Write a model of a runtime that misbehaves once a sample's first value is large."""
    folder.mkdir()
    (folder / "model.bin").write_bytes(b"of no meaning")
    golden = folder / "golden" / "model.safetensors"
    golden.parent.mkdir()
    x = np.arange(8, dtype=np.float32).reshape(2, 4)
    golden.write_bytes(safetensors({"input.x": x, "output.y": x[:, :2] * 2}))
    file = folder / "model.bin"
    artifact = Artifact(
        path=file.name,
        sha256=sha256(file),
        size_bytes=file.stat().st_size,
        format=kind,
        scheme="none",
        runtime=Runtime("broken", "0"),
        inputs=(X,),
        outputs=(Y,),
        golden="golden/model.safetensors",
    )
    return write_folder(folder, [artifact], inputs=(X,))


def drop(inbox: Path, name: str, values: np.ndarray) -> None:
    """Put a sample into a watched folder, whole or not at all."""
    whole = inbox.parent / f"{name}.part"
    with whole.open("wb") as file:
        np.save(file, values)
    whole.rename(inbox / name)


def folder_slot(model: Path, inbox: Path, *more: str, name: str = "main") -> str:
    """Return a slot that watches a folder and writes its answers to a file."""
    inbox.mkdir(exist_ok=True)
    return (
        f'[slots.{name}]\nmodel = "{model}"\n'
        f'input = {{kind = "directory", path = "{inbox}", after = "delete"}}\n'
        'results = [{kind = "jsonl"}]\n' + "\n".join(more) + "\n"
    )


def answers(agent: Agent, slot: str = "main") -> list[dict[str, object]]:
    """Return what a slot has written."""
    path = agent.folder / "state" / "slots" / slot / "results.jsonl"
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()] if path.exists() else []


def test_samples_of_a_folder_are_answered_counted_and_written(tmp_path: Path, model: Path) -> None:
    inbox = tmp_path / "inbox"
    images = tiny_images(3)
    with running_agent(tmp_path, folder_slot(model, inbox)) as agent:
        serving = agent.until_slot(lambda slot: slot.state.status == "serving", "the model serves")
        assert (serving.state.artifact, serving.state.provider, serving.state.load) == ("model.onnx", "cpu", 1)
        assert serving.state.runtime.startswith("onnxruntime ")
        assert Path(f"/proc/{serving.pid}/oom_score_adj").read_text() == "500\n"  # ended first, not the supervisor
        for number, image in enumerate(images):
            drop(inbox, f"{number}.npy", image)
        agent.until_slot(lambda slot: slot.answered == 3, "three answers")
        assert agent.stop() == 0
    lines = sorted(answers(agent), key=lambda line: str(line["name"]))
    best = [line["answer"][0]["index"] for line in lines]  # type: ignore[index]
    assert best == tiny_logits(images).argmax(axis=1).tolist()
    assert not list(inbox.glob("*.npy"))
    assert agent.event("shutdown")["level"] == "info"


@pytest.mark.parametrize(
    ("kind", "timeout_s", "event", "why"),
    [
        pytest.param("segfault", 60, "worker-crashed", "SIGSEGV", id="segfault"),
        pytest.param("exit", 60, "worker-crashed", "code 3", id="exit"),
        pytest.param("raises", 60, "worker-crashed", "LookupError: no such tensor (broken_engines_of", id="raises"),
        pytest.param("hang", 1, "worker-hung", "longer than 1 s", id="hang-holding-the-lock"),
        pytest.param("loop", 1, "worker-hung", "longer than 1 s", id="endless-loop"),
        pytest.param("hoard", 60, "worker-memory", "of 400 MB allowed", id="memory"),
    ],
)
def test_a_model_that_breaks_costs_its_worker_alone(
    tmp_path: Path, model: Path, plugins: Path, kind: str, timeout_s: int, event: str, why: str
) -> None:
    inbox, other = tmp_path / "inbox", tmp_path / "other"
    settings = folder_slot(
        broken_model(tmp_path / "broken", kind),
        inbox,
        f"inference_timeout_s = {timeout_s}",
        "memory_mb = 400",
        name="bad",
    ) + folder_slot(model, other, name="good")
    with running_agent(tmp_path, settings, python_path=plugins) as agent:
        agent.until(lambda status: all(s.state.status == "serving" for s in status.slots.values()), "both serve")
        pid = agent.slot("good").pid
        drop(inbox, "sound.npy", np.ones(4, np.float32))
        agent.until_slot(lambda slot: slot.answered == 1, "a sound sample is answered", "bad")
        drop(inbox, "poison.npy", np.full(4, BREAKS, np.float32))
        agent.until_slot(lambda slot: slot.state.failures >= 1, "the worker has failed", "bad")
        assert why in str(agent.event(event)["why"])
        drop(other, "image.npy", tiny_images(1)[0])
        good = agent.until_slot(lambda slot: slot.answered == 1, "the other model answers", "good")
        assert (good.pid, good.state.failures) == (pid, 0)


def test_a_sample_that_kills_the_worker_again_and_again_is_set_aside(tmp_path: Path, plugins: Path) -> None:
    inbox = tmp_path / "inbox"
    settings = folder_slot(broken_model(tmp_path / "broken", "segfault"), inbox)
    with running_agent(tmp_path, settings, python_path=plugins) as agent:
        agent.until_slot(lambda slot: slot.state.status == "serving", "the model serves")
        drop(inbox, "poison.npy", np.full(4, BREAKS, np.float32))
        agent.until_slot(lambda slot: slot.state.failures >= 1, "the worker has failed")
        drop(inbox, "sound.npy", np.ones(4, np.float32))
        agent.until_slot(lambda slot: slot.answered == 1, "the next sample is answered all the same")
        assert agent.slot().state.status == "serving"


def test_repeated_failure_ends_in_quarantine_which_a_restart_keeps(tmp_path: Path, plugins: Path) -> None:
    inbox = tmp_path / "inbox"
    settings = folder_slot(broken_model(tmp_path / "broken", "exit"), inbox, "failures = 2")
    with running_agent(tmp_path, settings, python_path=plugins) as agent:
        for number in range(4):
            drop(inbox, f"{number}.npy", np.full(4, BREAKS, np.float32))
        held = agent.until_slot(lambda slot: slot.state.status == "quarantined", "the slot is in quarantine")
        assert "2 failures in a row, the last: ended with code 3" in held.state.why
        assert held.pid is None
        agent.stop()
        agent.restart()
        again = agent.until_slot(lambda slot: bool(slot.state.status), "the agent answers")
        assert again.state.status == "quarantined"
        for file in inbox.glob("*.npy"):
            file.unlink()
        assert restart(tmp_path / "run", "mian") == "there is no slot `mian`; there are main"
        assert restart(tmp_path / "run", "main") == ""
        agent.until_slot(lambda slot: slot.state.status == "serving" and not slot.state.failures, "it serves again")


def test_a_model_that_answers_no_numbers_any_more_is_started_anew(tmp_path: Path, plugins: Path) -> None:
    inbox, model = tmp_path / "inbox", broken_model(tmp_path / "m", "spoilt")
    with running_agent(tmp_path, folder_slot(model, inbox), python_path=plugins) as agent:
        agent.until_slot(lambda slot: slot.state.status == "serving", "the model serves")
        drop(inbox, "a.npy", np.full(4, BREAKS, np.float32))
        failed = agent.until_slot(lambda slot: slot.failed == 1, "the sample is counted")
        assert failed.state.failures == 0
        for number in range(16):
            drop(inbox, f"b{number:02}.npy", np.ones(4, np.float32))
        agent.until_slot(lambda slot: slot.state.failures == 1, "the worker is started anew")
        assert "answers nothing usable" in str(agent.event("worker-crashed")["why"])


def test_samples_that_have_no_answer_cost_a_sound_model_nothing(tmp_path: Path, plugins: Path) -> None:
    inbox, model = tmp_path / "inbox", broken_model(tmp_path / "m", "nan")
    with running_agent(tmp_path, folder_slot(model, inbox), python_path=plugins) as agent:
        pid = agent.until_slot(lambda slot: slot.state.status == "serving", "the model serves").pid
        for number in range(40):
            drop(inbox, f"{number:02}.npy", np.full(4, BREAKS, np.float32))
        agent.until_slot(lambda slot: slot.failed == 40, "all are counted")
        drop(inbox, "sound.npy", np.ones(4, np.float32))
        served = agent.until_slot(lambda slot: slot.answered == 1, "a sound sample is answered")
        assert (served.pid, served.state.failures) == (pid, 0)
        told = [line for line in agent.events() if line["message"] == "inputs-without-answer"]
        assert [line["in_a_row"] for line in told] == [16]  # once a window, which is 300 s


def test_a_model_that_no_runtime_takes_is_refused_with_the_reason(tmp_path: Path, plugins: Path) -> None:
    with running_agent(
        tmp_path, folder_slot(broken_model(tmp_path / "m", "refuses"), tmp_path / "inbox"), python_path=plugins
    ) as agent:
        refused = agent.until_slot(lambda slot: slot.state.status == "refused", "the model is refused")
        assert "this file is damaged" in refused.state.why
        assert "this file is damaged" in str(agent.event("model-refused")["why"])


@pytest.mark.parametrize(
    "kind",
    ["slow", pytest.param("stuck", marks=pytest.mark.full)],  # the second is waited for, 10 s each time
)
def test_a_model_that_is_being_loaded_does_not_hold_up_the_end_nor_is_it_blamed(
    tmp_path: Path, plugins: Path, kind: str
) -> None:
    settings = folder_slot(broken_model(tmp_path / "m", kind), tmp_path / "inbox")
    loading = tmp_path / "state" / "slots" / "main" / "loading.json"
    with running_agent(tmp_path, settings, python_path=plugins) as agent:
        for _ in range(2):
            agent.until(lambda _: loading.exists() and json.loads(loading.read_bytes())["loading"] != "", "it loads")
            assert agent.stop() == 0
            noted = json.loads(loading.read_bytes())
            assert (noted["loading"], noted["died"]) == ("", {})
            agent.restart()
        agent.until_slot(lambda slot: slot.state.status == "starting" and slot.state.load == 3, "it loads again")
        assert agent.slot().state.failures == 0


def test_why_samples_get_no_answer_is_in_the_log_and_in_the_status(tmp_path: Path, model: Path) -> None:
    inbox = tmp_path / "inbox"
    settings = "[telemetry]\nwindow_s = 1\n" + folder_slot(model, inbox)
    with running_agent(tmp_path, settings) as agent:
        agent.until_slot(lambda slot: slot.state.status == "serving", "the model serves")
        drop(inbox, "small.npy", np.ones((3, 3), np.float32))
        failed = agent.until_slot(lambda slot: bool(slot.last_error), "a window with an error has ended")
        assert failed.errors == {"input": 1}
        assert "it was given" in failed.last_error
        line = agent.event("sample-failed")
        assert (line["slot"], line["kind"], line["name"], line["why"]) == (
            "main",
            "input",
            "small.npy",
            failed.last_error,
        )
        assert len(line["trace_id"]) == 16
        later = agent.until_slot(
            lambda slot: not slot.errors and slot.window_s > 0, "a window without errors has ended"
        )
        assert later.last_error == failed.last_error


def test_an_input_that_is_not_there_is_shown_and_told_once(tmp_path: Path, model: Path) -> None:
    settings = f'[slots.main]\nmodel = "{model}"\ninput = {{kind = "serial", device = "{tmp_path}/ttyUSB0"}}\n'
    with running_agent(tmp_path, settings) as agent:
        gone = agent.until_slot(lambda slot: slot.state.status == "serving" and bool(slot.input_gone), "it is missed")
        assert gone.input_gone == f"{tmp_path}/ttyUSB0 cannot be opened: No such file or directory"
        ours, theirs = os.openpty()
        (tmp_path / "ttyUSB0").symlink_to(os.ttyname(theirs))
        found = agent.until_slot(lambda slot: not slot.input_gone, "the port is found")
        assert found.state.input_lost == gone.input_gone, "the fleet hears that it is back when it has been for a while"
        (tmp_path / "ttyUSB0").unlink()
        os.close(theirs)
        os.close(ours)
        agent.until_slot(lambda slot: bool(slot.input_gone), "the port is missed again")
        assert [line["message"] for line in agent.events()].count("input-lost") == 1


def test_a_killed_worker_serves_again_and_a_killed_supervisor_leaves_nobody(tmp_path: Path, model: Path) -> None:
    inbox = tmp_path / "inbox"
    with running_agent(tmp_path, folder_slot(model, inbox)) as agent:
        first = agent.until_slot(lambda slot: slot.state.status == "serving", "the model serves").pid
        assert first is not None
        os.kill(first, signal.SIGKILL)
        second = agent.until_slot(
            lambda slot: slot.state.status == "serving" and slot.pid != first, "another worker serves"
        ).pid
        assert second is not None
        agent.process.kill()
        agent.process.wait()
        drop(inbox, "image.npy", tiny_images(1)[0])
        agent.restart()
        # by the new worker, or by the old one before it noticed that nobody listens any more
        agent.until(lambda _: len(answers(agent)) == 1, "the sample that came meanwhile is answered once")
        agent.until_slot(lambda slot: slot.state.status == "serving", "a worker serves")
        agent.until(lambda _: not Path(f"/proc/{second}").exists(), "the old one goes, once it has noticed")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_the_agent_stops_when_told_to_at_any_time(tmp_path: Path, model: Path, number: int) -> None:
    with running_agent(tmp_path, folder_slot(model, tmp_path / "inbox")) as agent:
        agent.until(lambda status: status.slots["main"].state.status in ("starting", "serving"), "it has begun")
        assert agent.stop(number) == 0
        assert not (tmp_path / "run" / "supervisor.sock").exists()


def test_two_agents_of_one_folder_do_not_share_it(tmp_path: Path, model: Path) -> None:
    settings = folder_slot(model, tmp_path / "inbox")
    with running_agent(tmp_path, settings) as agent:
        agent.until_slot(lambda slot: slot.state.status == "serving", "the model serves")
        with running_agent(tmp_path, settings) as second:
            assert second.process.wait(60) == 4
        assert "another agent" in agent.log()
        assert agent.slot().state.status == "serving"


def test_an_agent_does_not_take_the_sockets_of_another(tmp_path: Path, model: Path) -> None:
    settings = folder_slot(model, tmp_path / "inbox")
    with running_agent(tmp_path, settings) as agent:
        first = agent.until_slot(lambda slot: slot.state.status == "serving", "the model serves")
        agent.settings.write_text(agent.settings.read_text().replace(f"{tmp_path}/state", f"{tmp_path}/other"))
        done = subprocess.run(
            [sys.executable, "-m", "edgeglm_agent", "run", str(agent.settings)],
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )
        assert done.returncode == 4
        assert done.stderr.startswith(f"{tmp_path}/run: another agent holds {tmp_path}/run\n")
        assert "give each a runtime_dir of its own" in done.stderr
        assert agent.slot().pid == first.pid


def test_damaged_state_is_kept_aside_and_told(tmp_path: Path, model: Path) -> None:
    (tmp_path / "state").mkdir()
    (tmp_path / "state" / "state.json").write_bytes(b"{damaged")
    (tmp_path / "state" / "outbox.db").write_bytes(b"no database" * 1000)
    with running_agent(tmp_path, folder_slot(model, tmp_path / "inbox")) as agent:
        agent.until_slot(lambda slot: slot.state.status == "serving", "the model serves")
        assert agent.event("state-rebuilt")
        assert agent.event("outbox-rebuilt")
    assert list((tmp_path / "state").glob("state.corrupt-*.json"))
    assert list((tmp_path / "state").glob("outbox.corrupt-*"))
