"""From a sensor that fails to ``edgeglm fleet twin``: a real agent, broker and collector in between."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from edgeglm_agent.wire import ProcessOp
from onnx import TensorProto, helper

from edgeglm.fleet.store.sqlite_reader import SqliteReader
from edgeglm.fleet.store.types import Device, Span
from tests.e2e.agent.test_serving import drop, folder_slot
from tests.support.agent.broker import Broker
from tests.support.agent.running import running_agent
from tests.support.fleet.collector import running_collector, until
from tests.support.model_folders import write_onnx_folder


def now_ms() -> int:
    return time.time_ns() // 1_000_000


EVER = Span(-(2**61), 2**61)


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[Broker]:
    with Broker(tmp_path / "broker") as started:
        yield started


def autoencoder(folder: Path) -> Path:
    """Write a model that gives back silence, whatever it hears on three channels; above 1 is an anomaly."""
    info = helper.make_tensor_value_info
    return write_onnx_folder(
        folder,
        [helper.make_node("Sub", ["x", "x"], ["y"])],
        [info("x", TensorProto.FLOAT, ["n", 5, 3])],
        [info("y", TensorProto.FLOAT, ["n", 5, 3])],
        {"x": np.ones((2, 5, 3), np.float32)},
        postprocess=(ProcessOp("reconstruction-error"), ProcessOp("threshold", {"limit": 1.0})),
    )


def test_the_channel_that_failed_and_its_signal_are_seen_from_afar(tmp_path: Path, broker: Broker) -> None:
    store, inbox = tmp_path / "fleet.db", tmp_path / "inbox"
    settings = (
        f'[mqtt]\nhost = "127.0.0.1"\nport = {broker.port}\n[telemetry]\nwindow_s = 1\ndaily_bytes = 1_000_000_000\n'
        + folder_slot(autoencoder(tmp_path / "model"), inbox, "anomaly = {before = 1, rate_hz = 50.0}")
    ).replace('[{kind = "jsonl"}]', '[{kind = "mqtt", crop = "input"}]')
    loud = np.full((5, 3), 0.1, np.float32)
    loud[:, 1] = [3.0, -3.0, 3.0, -3.0, 3.0]

    def told() -> set[str]:
        reader = SqliteReader(store)
        names = {one.event.name for one in reader.events(EVER)}
        answers = [*reader.results(Device("default", "bench-1"), EVER)]
        over = [one for one in reader.windows(EVER) if one.window.load == 1 and one.at_ms < now_ms() - 3000]
        reader.close()
        return (
            names | ({"answers"} if len(answers) == 2 else set()) | ({"a window before the moment"} if over else set())
        )

    with (
        running_collector(store, f"mqtt://127.0.0.1:{broker.port}") as collector,
        running_agent(tmp_path, settings) as agent,
    ):
        agent.until_slot(lambda slot: slot.state.status == "serving", "the model serves")
        drop(inbox, "1.npy", np.full((5, 3), 0.1, np.float32))
        agent.until_slot(lambda slot: slot.answered == 1, "an answer")
        drop(inbox, "2.npy", loud)
        expected = {"anomaly", "answers", "model-loaded", "a window before the moment"}
        until(lambda: told() >= expected, "the anomaly in the store", collector)
        line = [
            sys.executable,
            "-m",
            "edgeglm",
            "fleet",
            "twin",
            "bench-1",
            "--at",
            "1s",
            "--store",
            f"sqlite:///{store}",
        ]
        done = subprocess.run(
            [*line, "--json", "-o", str(tmp_path / "kept")], capture_output=True, text=True, check=True
        )
        text = subprocess.run(line, capture_output=True, text=True, check=True, env=os.environ | {"LC_ALL": "C"}).stdout
        wrong = subprocess.run([*line, "--slot", "door"], capture_output=True, text=True, check=False)
        assert agent.stop() == 0
    found = json.loads(done.stdout)
    (anomaly,) = [event for event in found["events"] if event["name"] == "anomaly"]
    assert anomaly["channels"] == pytest.approx([0.01, 9.0, 0.01], rel=1e-4)
    assert (anomaly["signal"]["shape"], anomaly["signal"]["rate_hz"], anomaly["signal"]["at"]) == ([2, 5, 3], 50.0, 1)
    assert anomaly["signal"]["channels"][1]["high"] == 3.0
    (ran,) = found["ran"]
    assert (ran["told_by"], ran["artifact"], ran["load"]) == ("event", "model.onnx", 1)
    assert len(ran["manifest"]) == 12
    assert (found["settings"]["window_s"], found["settings"]["sample_share"]) == (1, 0.0)
    assert "anomaly" in found["signs"]
    assert sorted(path.name.rpartition("-")[2] for path in (tmp_path / "kept").iterdir()) == [
        "input.npy", "input.npy", "signal.npy",
    ]  # fmt: skip
    (kept,) = (tmp_path / "kept").glob("*-signal.npy")
    assert np.array_equal(np.load(kept)[1], loud)
    assert "error by channel: channel 1 9," in text
    assert max(map(len, text.splitlines())) <= 80
    assert (wrong.returncode, wrong.stdout) == (2, "")
    assert wrong.stderr.endswith("code: twin-slot\n")
