"""A model that is not what its manifest says serves nothing, says why, and costs no other slot."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec
import numpy as np
import pytest
from edgeglm_agent.wire import TensorSpec
from edgeglm_agent.wire.telemetry import Event

from tests.e2e.agent.test_reporting import arrived, wait
from tests.e2e.agent.test_serving import broken_model, drop, folder_slot, model, plugins
from tests.support.agent.broker import Broker
from tests.support.agent.collector import Collector
from tests.support.agent.running import running_agent
from tests.support.model_folders import edit_manifest, read_manifest, safetensors, sha256
from tests.support.tiny_models import tiny_images

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["model", "plugins"]  # fixtures
GOLDEN = "golden/model.safetensors"


def other_golden(folder: Path) -> None:
    x = np.arange(8, dtype=np.float32).reshape(2, 4)
    (folder / GOLDEN).write_bytes(safetensors({"input.x": x, "output.y": x[:, :2] * 2 + 0.01}))
    edit_manifest(folder, files={GOLDEN: sha256(folder / GOLDEN)})


def other_shape(folder: Path) -> None:
    (artifact,) = read_manifest(folder).artifacts
    outputs = (TensorSpec("y", "float32", (3,), "NC"),)
    edit_manifest(folder, artifacts=(msgspec.structs.replace(artifact, outputs=outputs),))


def damaged_golden(folder: Path) -> None:
    (folder / GOLDEN).write_bytes((folder / GOLDEN).read_bytes()[:-1] + b"\xff")


@pytest.mark.parametrize(
    ("change", "why"),
    [
        pytest.param(other_golden, "golden", id="fails-golden"),
        pytest.param(other_shape, "y", id="wrong-shape"),
        pytest.param(damaged_golden, "golden", id="damaged"),
    ],
)
def test_a_model_that_is_not_what_was_proved_is_refused_and_told(
    tmp_path: Path, model: Path, plugins: Path, change: object, why: str
) -> None:
    bad, store = broken_model(tmp_path / "bad", "segfault"), tmp_path / "rows.db"
    change(bad)  # type: ignore[operator]
    with Broker(tmp_path / "broker") as broker, Collector(broker.port, store, lazy=0.0):
        settings = f'[mqtt]\nhost = "127.0.0.1"\nport = {broker.port}\n' + folder_slot(
            model, tmp_path / "inbox", name="good"
        )
        settings += folder_slot(bad, tmp_path / "other", name="bad")
        with running_agent(tmp_path, settings, python_path=plugins) as agent:
            refused = agent.until_slot(lambda slot: slot.state.status == "refused", "it is refused", "bad")
            assert why in refused.state.why
            drop(tmp_path / "inbox", "image.npy", tiny_images(1)[0])
            agent.until_slot(lambda slot: slot.answered == 1, "the other model answers", "good")
            wait(lambda: any(event.name == "model-refused" for event in arrived(store, Event)), "the collector hears")
            assert agent.slot("bad").answered == 0
