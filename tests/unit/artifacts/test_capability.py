"""Which formats can be written here."""

from __future__ import annotations

import subprocess
import sys

import pytest

from edgeglm.artifacts import capability
from edgeglm.artifacts.built import layout
from edgeglm.errors import MissingExtraError


def test_missing_packages_are_named_as_pip_knows_them(monkeypatch: pytest.MonkeyPatch) -> None:
    assert capability.capability("onnx") == []
    monkeypatch.setattr(capability, "find_spec", lambda _: None)
    assert capability.capability("onnx") == ["onnx", "onnxruntime", "onnxscript", "onnxslim"]
    with pytest.raises(MissingExtraError, match="litert-torch") as caught:
        capability.require("tflite")
    assert caught.value.code == "missing-extra"
    assert "Linux x86-64" in caught.value.problems[0].hint


def test_asking_imports_nothing_heavy() -> None:
    script = (
        "import sys; from edgeglm.artifacts.capability import capability; capability('onnx'); capability('tflite')\n"
        "import edgeglm.artifacts.onnx, edgeglm.artifacts.tflite\n"
        "heavy = {'torch', 'onnx', 'onnxruntime', 'litert_torch', 'ai_edge_litert', 'ai_edge_quantizer'}\n"
        "sys.exit(str(heavy & set(sys.modules)) if heavy & set(sys.modules) else 0)"
    )
    subprocess.run([sys.executable, "-c", script], check=True)


@pytest.mark.parametrize(
    ("shape", "last", "expected"),
    [((3, 8, 8), False, "NCHW"), ((8, 8, 3), True, "NHWC"), ((10,), False, "NC"), ((5, 2), True, "")],
)
def test_the_layout_follows_the_rank(shape: tuple[int, ...], last: bool, expected: str) -> None:
    assert layout(shape, channels_last=last) == expected
