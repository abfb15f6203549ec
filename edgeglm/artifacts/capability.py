"""Which formats this installation can write, found without importing anything heavy."""

from __future__ import annotations

from importlib.util import find_spec

from edgeglm.errors import MissingExtraError

PACKAGES = {
    "onnx": {"onnx": "onnx", "onnxruntime": "onnxruntime", "onnxscript": "onnxscript", "onnxslim": "onnxslim"},
    "tflite": {
        "litert_torch": "litert-torch",
        "ai_edge_quantizer": "ai-edge-quantizer",
        "ai_edge_litert": "ai-edge-litert",
        "litert_converter": "litert-converter",
    },
    "openvino": {"openvino": "openvino", "nncf": "nncf", "onnx": "onnx", "onnxruntime": "onnxruntime"},
}


def capability(file_format: str) -> list[str]:
    """Return the names of the packages that writing this format needs and that are not installed here."""
    return [package for module, package in PACKAGES[file_format].items() if find_spec(module) is None]


def require(file_format: str) -> None:
    """Raise MissingExtraError when a package that writing this format needs is not installed."""
    missing = capability(file_format)
    if missing:
        raise MissingExtraError(
            f"{file_format} artifacts need {', '.join(missing)}, not installed here",
            hint=f"pip install 'edgeglm[{file_format}]'"
            + (" (litert-converter exists for Linux x86-64 and macOS arm64 alone)" if file_format == "tflite" else ""),
            code="missing-extra",
        )
