"""What each target runs. Versions are those of the newest wheels that its OS and Python accept (2026-11)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from edgeglm_agent.wire import Runtime

ActivationType = Literal["uint8", "int8"]


@dataclass(frozen=True)
class Board:
    """One target: what an artifact must fit."""

    name: str
    arch: str  # as `uname -m` says it
    os: str
    onnxruntime: str  # newest version that installs there
    litert: str
    opset: int  # highest ONNX opset that edgeglm writes for it
    ir_version: int  # highest ONNX IR version that its onnxruntime loads
    threads: int  # cores
    memory_mb: int
    activation_type: ActivationType  # of static INT8 in ONNX (onnxruntime PR 28415)
    # Whether static INT8 in ONNX writes a Relu as an integer operator. With signed ranges the runtime's rules for ARM
    # would compute each one in float; TensorRT reads a Relu between Quantize and Dequantize alone.
    integer_relu: bool = False
    note: str = ""
    sparse_runtime: str = ""  # what gains by 2:4 sparsity there, and when; empty: nothing

    def is_like(self, machine: str) -> bool:
        """Return whether a machine, as ``platform.machine()`` says it, is of this board's architecture."""
        return architecture(machine) == self.arch


_ARCHES = {"amd64": "x86_64", "arm64": "aarch64"}  # other systems' words for what Linux says


def architecture(machine: str) -> str:
    """Return what ``uname -m`` says on Linux of a machine that another system may call otherwise (arm64, AMD64)."""
    return _ARCHES.get(machine.lower(), machine)


# the oldest that load whatever is written here; tests run every scheme in these very versions
LEAST_RUNTIMES = {
    "onnx": Runtime("onnxruntime", "1.23.2"),
    "tflite": Runtime("litert", "2.1.0"),
    "openvino": Runtime("openvino", "2025.0.0"),
}

_SPARSE_TENSORRT = (
    "its CPU does not skip them; its GPU does (Ampere and later), in a TensorRT engine of your own that is built with "
    "sparse weights (`trtexec --sparsity=enable`)"
)

BOARDS: dict[str, Board] = {
    board.name: board
    for board in (
        Board(
            "rpi-zero2w",
            "aarch64",
            "Raspberry Pi OS 64-bit",
            "1.31.1",
            "2.3.0",
            20,
            10,
            4,
            512,
            "int8",
            integer_relu=True,
        ),
        Board(
            "rpi4", "aarch64", "Raspberry Pi OS 64-bit", "1.31.1", "2.3.0", 20, 10, 4, 4096, "int8", integer_relu=True
        ),
        Board(
            "rpi5", "aarch64", "Raspberry Pi OS 64-bit", "1.31.1", "2.3.0", 20, 10, 4, 8192, "int8", integer_relu=True
        ),
        Board(
            "jetson-jp6",
            "aarch64",
            "JetPack 6 (Ubuntu 22.04)",
            "1.23.2",
            "2.3.0",
            20,
            10,
            6,
            8192,
            "int8",
            note="TensorRT refuses zero points: activations are symmetric",
            sparse_runtime=_SPARSE_TENSORRT,
        ),
        Board(
            "jetson-jp7",
            "aarch64",
            "JetPack 7 (Ubuntu 24.04)",
            "1.31.1",
            "2.3.0",
            20,
            10,
            12,
            65536,
            "int8",
            note="TensorRT refuses zero points: activations are symmetric",
            sparse_runtime=_SPARSE_TENSORRT,
        ),
        Board("x86-64", "x86_64", "Linux", "1.31.1", "2.3.0", 20, 10, 2, 8192, "uint8"),
    )
}
