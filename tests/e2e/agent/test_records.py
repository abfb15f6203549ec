"""What a Pi's and a Jetson's agent tell their collector: every figure of a record, and every event, with its unit."""

from __future__ import annotations

import io
import json
import os
import signal
import sys
import threading
import time
from typing import TYPE_CHECKING

import numpy as np
import paho.mqtt.client as paho
import pytest
from edgeglm_agent.wire import ProcessOp
from edgeglm_agent.wire.manifest import Reference
from edgeglm_agent.wire.sketch import Sketch, unpack_numbers
from edgeglm_agent.wire.telemetry import EVENTS, Event, Result, Window

from tests.e2e.agent.test_reporting import Listener, arrived, wait
from tests.e2e.agent.test_serving import drop, folder_slot, model
from tests.support.agent.broker import Broker
from tests.support.agent.collector import Collector
from tests.support.agent.running import running_agent
from tests.support.agent.small_disk import SmallDisk
from tests.support.agent.sysroots import orin_nano_jp6, pi4
from tests.support.model_folders import edit_manifest, write_onnx_folder
from tests.support.tiny_models import tiny_images
from tests.unit.agent.test_drift import distribution

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

__all__ = ["model"]  # the fixture
PROGRAM = """
import sys
from pathlib import Path
from edgeglm_agent import logs
from edgeglm_agent.settings.load import load_settings
from edgeglm_agent.supervisor.run import Supervisor
settings = load_settings(Path(sys.argv[2]), models=False)
logs.configure(settings.log)
sys.exit(Supervisor(settings, sysroot=Path(sys.argv[1])).run())
"""
INPUT = "plant/pump"


class Pump:
    """Says four numbers again and again on a topic, as they come from a source that can be changed."""

    def __init__(self, port: int) -> None:
        self.shift = 0.0
        self._chance = np.random.default_rng(3)
        self._client = paho.Client(paho.CallbackAPIVersion.VERSION2, "pump")
        self._client.connect("127.0.0.1", port)
        self._client.loop_start()
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def say(self, values: list[float]) -> None:
        self._client.publish(INPUT, json.dumps(values).encode(), qos=1).wait_for_publish(30)

    def values(self, count: int) -> np.ndarray:
        return self._chance.normal(size=(count, 4)).astype(np.float32) + self.shift

    def __enter__(self) -> Pump:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopping.set()
        self._thread.join(30)
        self._client.disconnect()
        self._client.loop_stop()

    def _run(self) -> None:
        while not self._stopping.wait(0.021):  # one sample each 20 ms is looked at
            self.say(self.values(1)[0].tolist())


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[Broker]:
    with Broker(tmp_path / "broker") as started:
        yield started


def events(store: Path) -> dict[str, Event]:
    """Return the newest event of each name."""
    return {event.name: event for event in arrived(store, Event)}


def has_drifted(store: Path) -> bool:
    """Tell whether a window of the pump's says that its input has moved."""
    windows = [window for window in arrived(store, Window) if window.slot == "pump"]
    return any(drift.feature == "input.x" and drift.psi_milli > 250 for window in windows for drift in window.drift)


def scoring_model(folder: Path) -> Path:
    """Write a model whose score is the first of four numbers; above ten is an anomaly."""
    from onnx import TensorProto, helper, numpy_helper

    weight = numpy_helper.from_array(np.array([[1], [0], [0], [0]], np.float32))
    x = np.random.default_rng(1).normal(size=(1000, 4)).astype(np.float32)
    write_onnx_folder(
        folder,
        [helper.make_node("Constant", [], ["w"], value=weight), helper.make_node("MatMul", ["x", "w"], ["y"])],
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 4])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n", 1])],
        {"x": x[:4]},
        postprocess=(ProcessOp("threshold", {"limit": 10.0}),),
    )
    edit_manifest(folder, reference=Reference(1000, {"x": distribution(x)}, {"y": distribution(x[:, :1])}))
    return folder


@pytest.mark.full
def test_a_pi_tells_every_figure_and_each_event_at_once(tmp_path: Path, model: Path, broker: Broker) -> None:
    tree, store = pi4(tmp_path / "pi"), tmp_path / "rows.db"
    tree.zone(1, "cpu-thermal", "85000")
    tree.vcgencmd(0x50005)
    tree.write("sys/class/hwmon/hwmon1/in0_lcrit_alarm", "1\n")
    score = scoring_model(tmp_path / "score")
    listener = Listener(broker.port)
    with Pump(broker.port) as pump, Collector(broker.port, store, lazy=0.0):
        settings = (
            f'[mqtt]\nhost = "127.0.0.1"\nport = {broker.port}\n'
            "[telemetry]\nremote_samples = true\nwindow_s = 2\ndaily_bytes = 1_000_000_000\n"
            + folder_slot(model, tmp_path / "inbox", name="names")
            + f'[slots.pump]\nmodel = "{score}"\ninput = {{kind = "mqtt", topic = "{INPUT}"}}\n'
            "anomaly = {before = 2, after = 1, gap_s = 1}\n"
        )
        command = (sys.executable, "-c", PROGRAM, str(tree.root))
        with (
            SmallDisk(tmp_path / "state", megabytes=50) as disk,
            running_agent(tmp_path, settings, command=(*disk.enter, *command)) as agent,
        ):
            for number in range(5):
                drop(tmp_path / "inbox", f"{number}.npy", tiny_images(5)[number])
            wait(lambda: {"throttled", "undervoltage", "disk-low", "model-loaded"} <= set(events(store)), "its events")
            told = events(store)
            assert "throttled" in str(told["throttled"].detail["why"])
            assert told["throttled"].detail["temperature"] == 85.0
            assert float(told["disk-low"].detail["free_mb"]) <= 50
            wait(lambda: any(w.drift for w in arrived(store, Window)), "drift is told, once there are enough samples")
            assert "drift-raised" not in events(store)
            pump.say([30.0, 0.0, 0.0, 0.0])
            wait(lambda: "anomaly" in events(store), "an anomaly")
            burst = events(store)["anomaly"].burst
            pump.shift = 3.0
            wait(lambda: "drift-raised" in events(store), "drift")
            wait(lambda: has_drifted(store), "a window that says so: what a worker has not told yet dies with it")
            assert arrived(store, Result) == [], "answers and their inputs stay on the board until they are asked for"
            assert listener.ask("sample", slot="pump", count=2).ok
            wait(lambda: len(arrived(store, Result)) == 2, "two samples")
            pid = agent.slot("pump").pid
            assert pid is not None
            os.kill(pid, signal.SIGSEGV)
            wait(lambda: "worker-crashed" in events(store), "a crash")
            assert "SIGSEGV" in str(events(store)["worker-crashed"].detail)
            wait(lambda: agent.slot("pump").state.load == 2, "another worker")
            assert agent.stop() == 0
    listener.close()
    samples = arrived(store, Result)
    assert [np.load(io.BytesIO(sample.crop)).shape for sample in samples] == [(4,), (4,)]
    assert burst is not None
    assert (burst.dtype, burst.shape) == ("float32", (4, 4))
    assert np.frombuffer(burst.data, np.float32).reshape(burst.shape)[2, 0] == 30.0
    assert set(told) <= set(EVENTS)

    names = [w for w in arrived(store, Window) if w.slot == "names"]
    assert sum(window.inferences for window in names) == 5
    assert sum(Sketch.unpack(window.latency_ms).n for window in names) == 5
    assert sum(sum(window.classes.values()) for window in names) == 5
    assert sum(sum(unpack_numbers(window.confidence)) for window in names) == 5
    whole = [window for window in names if window.rss_kb is not None][:-1]  # not while it was loaded, nor the last
    assert whole
    for window in whole:
        assert len(window.trace_id) == 16
        assert abs(window.start_ms - time.time() * 1000) < 600_000
        assert 0 < window.duration_ms < 60_000
        assert window.cpu_permille is not None
        assert 0 <= window.cpu_permille <= 4000
        assert window.rss_kb is not None
        assert 20_000 < window.rss_kb < 2_000_000
        board = window.board
        assert board is not None
        assert board.memory_available_mb == 3_882_792 // 2 // 1024
        assert board.disk_free_mb is not None
        assert board.disk_free_mb <= 50
        assert board.temperature_decic == 850
        assert board.throttled in {None, 0x50005}  # the firmware is asked every ten seconds
        assert board.undervoltage is True
    assert any(window.board is not None and window.board.throttled == 0x50005 for window in names)


@pytest.mark.full
def test_a_jetson_tells_gpu_rails_and_the_energy_of_an_inference(tmp_path: Path, model: Path, broker: Broker) -> None:
    tree, store, inbox = orin_nano_jp6(tmp_path / "jetson"), tmp_path / "rows.db", tmp_path / "inbox"
    settings = (
        f'[mqtt]\nhost = "127.0.0.1"\nport = {broker.port}\n[telemetry]\nwindow_s = 20\ndaily_bytes = 1_000_000_000\n'
        + folder_slot(model, inbox)
    )
    command = (sys.executable, "-c", PROGRAM, str(tree.root))
    listener = Listener(broker.port)
    with Collector(broker.port, store, lazy=0.0), running_agent(tmp_path, settings, command=command) as agent:
        wait(lambda: len(arrived(store, Window)) == 2, "two windows at rest")  # the board is seen idle
        idle = arrived(store, Window)[-1]
        tree.write("sys/class/hwmon/hwmon1/curr1_input", "1960\n")  # 5040 mV x 1000 mA more than at rest
        for number in range(100):
            drop(inbox, f"{number:03}.npy", tiny_images(1)[0])
            time.sleep(0.15)
        wait(lambda: any(w.energy_uj for w in arrived(store, Window)), "a figure")
        facts = listener.states[-1].board
        assert agent.stop() == 0
        busy = next(w for w in arrived(store, Window) if w.energy_uj)
    listener.close()
    assert facts["kind"] == "jetson"
    assert str(facts["l4t"]).startswith("36.4")
    assert idle.board is not None
    assert idle.board.gpu_permille == 350
    assert {power.rail: power.mw for power in idle.board.power} == {
        "VDD_IN": 4838,
        "VDD_CPU_GPU_CV": 645,
        "VDD_SOC": 1411,
    }
    assert idle.energy_uj is None
    assert busy.board is not None
    above_mw = next(power.mw for power in busy.board.power if power.rail == "VDD_IN") - 4838
    assert busy.energy_uj == pytest.approx(above_mw * busy.duration_ms / busy.inferences, rel=0.05)
