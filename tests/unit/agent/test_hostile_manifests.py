"""Whatever a manifest says, the agent serves the model or refuses it; nothing else comes out."""

from __future__ import annotations

import json
import random
import shutil
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from edgeglm_agent.engines import EngineError
from edgeglm_agent.processing import ProcessingError
from edgeglm_agent.worker.model import ModelRefusedError

from tests.support.model_folders import load, write_two
from tests.support.tiny_models import tiny_images

if TYPE_CHECKING:
    from pathlib import Path

VALUES: list[Any] = [
    *(None, True, 0, 1, -1, 2**63, 1e308, 0.5, "", "x", "../x", "/", "\0", "nan", "float16", "<U3", "object"),
    *("NHWC", "NCHWW", "NNHW", "onnx", "tflite", "openvino", "dynamic-int8", "a" * 10_000),
    *([], {}, [[]], [None], ["x"], [0], [-1], [10**9], {"x": 1}),
    {"lengths": [1, 2], "mask": "image", "inputs": ["image"]},
    {"lengths": [-5], "mask": "image", "inputs": ["image"]},
    {"lengths": [2**40], "mask": "image", "inputs": []},
    {"op": "tokenize", "settings": {"tokenizer": 5}},
    {"op": "resize", "settings": {"height": 10**9, "width": 10**9}},
]


def places(document: Any) -> list[tuple[Any, Any]]:
    """Return every place in a document: the container, and the key or number in it."""
    keys = document if isinstance(document, dict) else range(len(document)) if isinstance(document, list) else ()
    here = [(document, key) for key in keys]
    return here + [place for key in keys for place in places(document[key])]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = write_two(tmp_path_factory.mktemp("hostile") / "model")
    shutil.copy(made / "manifest.json", made.parent / "manifest.json")
    return made


@pytest.mark.parametrize("seed", range(5))
def test_a_manifest_with_any_values_in_any_places_is_served_or_refused(folder: Path, seed: int) -> None:
    rng = random.Random(seed)
    whole = (folder.parent / "manifest.json").read_text()
    (image,) = tiny_images(1)
    for _ in range(40):
        document = json.loads(whole)
        for _ in range(rng.choice([1, 1, 1, 2, 3])):
            container, key = rng.choice(places(document))
            if rng.random() < 0.1:
                del container[key]
            else:
                container[key] = rng.choice(VALUES)
        (folder / "manifest.json").write_text(json.dumps(document))
        try:
            model = load(folder)
            outputs, inputs = model.infer(image)
            model.judge(outputs, inputs, image)
        except ModelRefusedError:
            pass
        except (EngineError, ProcessingError):
            pass  # the sample does not fit what the manifest says of it
        else:
            assert all(isinstance(values, np.ndarray) for values in outputs.values())
