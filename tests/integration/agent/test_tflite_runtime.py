"""tflite-runtime, for real: in an environment of its own, since it needs NumPy 1 and a Python of its time."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from tests.support.model_folders import artifact_of, write_folder
from tests.support.tiny_models import (
    tiny_images,
    tiny_logits,
    write_dynamic_tflite,
    write_int8_tflite,
    write_tiny_tflite,
)

if TYPE_CHECKING:
    from collections.abc import Callable

pytestmark = pytest.mark.full
ROOT = Path(__file__).parents[3]
ENVIRONMENT = ROOT / "build" / "tflite-runtime"
NEEDS = ["tflite-runtime==2.14.0", "numpy<2", "msgspec"]

RUN = """
import json, sys
import numpy as np
from edgeglm_agent.engines import EngineError, load_engine, runtime_of
given = json.load(sys.stdin)
said = {"runtime": runtime_of("tflite")}
try:
    engine = load_engine(given["path"], format="tflite")
    inputs = {name: np.array(values, "float32") for name, values in given["inputs"].items()}
    answers = [engine.run(inputs) for _ in range(2)]  # the second one by the shorter way
    said["outputs"] = [{name: values.tolist() for name, values in one.items()} for one in answers]
except EngineError as error:
    said["error"], said["fault"] = str(error), error.fault
json.dump(said, sys.stdout)
"""
LOAD = """
import json, sys
from pathlib import Path
from edgeglm_agent.settings.types import InputConfig, Slot
from edgeglm_agent.worker.model import load_model
folder = Path(json.load(sys.stdin))
model = load_model(folder, slot=Slot(model="", input=InputConfig()), state_dir=folder / "state")
json.dump(model.describe(), sys.stdout)
"""


@pytest.fixture(scope="module")
def there() -> Callable[[str, Any], Any]:
    """Run code where tflite-runtime is, and LiteRT is not."""
    python = ENVIRONMENT / "bin" / "python"
    if not python.exists():
        subprocess.run([sys.executable, "-m", "venv", str(ENVIRONMENT)], check=True)
    subprocess.run([str(python), "-m", "pip", "install", "-q", *NEEDS], check=True)

    def run(code: str, given: Any) -> Any:
        done = subprocess.run(
            [str(python), "-c", code],
            input=json.dumps(given),
            capture_output=True,
            text=True,
            env={"PYTHONPATH": str(ROOT / "device_agents")},
            check=False,
        )
        assert done.returncode == 0, done.stderr
        assert done.stderr == "" or "Interpreter(" in code  # the bare runtime says that it makes a delegate
        return json.loads(done.stdout)

    return run


@pytest.mark.parametrize("signature", [True, False], ids=["signature", "older than signatures"])
def test_float_files_are_computed(there: Callable[[str, Any], Any], tmp_path: Path, signature: bool) -> None:
    path, images = write_tiny_tflite(tmp_path / "tiny.tflite", signature=signature), tiny_images(3)
    said = there(RUN, {"path": str(path), "inputs": {"image": images.transpose(0, 2, 3, 1).tolist()}})
    assert said["runtime"] == "tflite-runtime 2.14.0"
    for answer in said["outputs"]:
        np.testing.assert_allclose(answer["logits"], tiny_logits(images), rtol=1e-5, atol=1e-5)


def test_static_and_weight_only_int8_are_computed(there: Callable[[str, Any], Any], tmp_path: Path) -> None:
    static = write_int8_tflite(tmp_path / "static.tflite")
    said = there(RUN, {"path": str(static), "inputs": {"x": [[1.0, 0.7, -3.0, 100.0]]}})
    assert [answer["y"] for answer in said["outputs"]] == [[[1.0, 0.5, -3.0, 32.25]]] * 2
    path, x = write_dynamic_tflite(tmp_path / "weights.tflite", kind="weight-only"), dynamic_input()
    said = there(RUN, {"path": str(path), "inputs": {"x": x.tolist()}})
    assert here(path, x) == pytest.approx(np.ravel(said["outputs"][0]["y"]).tolist(), rel=1e-4, abs=1e-4)


def test_dynamic_int8_is_refused_which_it_would_answer_with_nonsense(
    there: Callable[[str, Any], Any], tmp_path: Path
) -> None:
    path = write_dynamic_tflite(tmp_path / "dynamic.tflite")
    said = there(RUN, {"path": str(path), "inputs": {"x": dynamic_input().tolist()}})
    assert said["error"].startswith(
        "tflite-runtime 2.14.0 computes FULLY_CONNECTED of float inputs and 8-bit weights (dynamic INT8) wrongly"
    )
    assert said["fault"] == "no-runtime"
    bare = (
        "import json, sys; import numpy as np; from tflite_runtime.interpreter import Interpreter;"
        "given = json.load(sys.stdin); i = Interpreter(given['path']); i.allocate_tensors();"
        "i.set_tensor(i.get_input_details()[0]['index'], np.array(given['x'], 'float32')); i.invoke();"
        "json.dump(i.get_tensor(i.get_output_details()[0]['index']).tolist(), sys.stdout)"
    )
    (nonsense,) = there(bare, {"path": str(path), "x": dynamic_input().tolist()})
    rightly = here(path, dynamic_input())
    assert np.abs(np.subtract(nonsense, rightly)).max() > np.abs(rightly).max() / 2  # why it is refused


def test_a_model_is_served_by_the_artifact_that_it_computes_rightly(
    there: Callable[[str, Any], Any], tmp_path: Path
) -> None:
    golden = {"x": dynamic_input()}
    folder = write_folder(
        tmp_path,
        [
            artifact_of(
                write_dynamic_tflite(tmp_path / "a.tflite"), "tflite", scheme="dynamic-int8", golden_inputs=golden
            ),
            artifact_of(
                write_dynamic_tflite(tmp_path / "b.tflite", kind="weight-only"),
                "tflite",
                scheme="weight-only-int8",
                golden_inputs=golden,
            ),
        ],
        inputs=artifact_of(tmp_path / "a.tflite", "tflite", golden_inputs=golden).inputs,
    )
    chosen = there(LOAD, str(folder))
    assert (chosen["artifact"], chosen["runtime"]) == ("b.tflite", "tflite-runtime 2.14.0")
    assert chosen["passed_over"].startswith("a.tflite (tflite, dynamic-int8): tflite-runtime 2.14.0 computes")


def dynamic_input() -> np.ndarray:
    return np.random.default_rng(0).normal(size=(1, 64)).astype(np.float32)


def here(path: Path, x: np.ndarray) -> list[float]:
    """Return what LiteRT computes."""
    from edgeglm_agent.engines import load_engine

    return [float(number) for number in load_engine(path, format="tflite").run({"x": x})["y"][0]]
