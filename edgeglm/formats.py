"""The formats of artifacts: what their files are called, and which files lie beside them."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

from edgeglm.files import sha256_file

if TYPE_CHECKING:
    from pathlib import Path

SUFFIXES = {"onnx": ".onnx", "tflite": ".tflite", "openvino": ".xml"}  # of the file that an artifact goes by
ALL_SUFFIXES = (*SUFFIXES.values(), ".bin")  # of everything that an artifact may consist of


def file_name(file_format: str, scheme: str = "") -> str:
    """Return what an artifact's file is called: ``model.onnx``, ``model.static-int8.xml``."""
    return f"model{scheme and f'.{scheme}'}{SUFFIXES[file_format]}"


def companions(path: Path, file_format: str) -> tuple[Path, ...]:
    """Return the files that belong to a model file and travel with it: the weights of an OpenVINO graph."""
    return (path.with_suffix(".bin"),) if file_format == "openvino" else ()


def size_bytes(path: Path, file_format: str) -> int:
    """Return the bytes of a model file and of all that belongs to it."""
    return sum(file.stat().st_size for file in (path, *companions(path, file_format)))


def digest(path: Path, file_format: str) -> str:
    """Return what changes with any byte of a model: the file's SHA-256, joined with those of what belongs to it."""
    own = sha256_file(path)
    others = companions(path, file_format)
    if not others:
        return own
    return hashlib.sha256(" ".join([own, *map(sha256_file, others)]).encode()).hexdigest()
