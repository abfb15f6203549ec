"""A model file and what lies beside it: ONNX may keep its weights in files of their own."""

from __future__ import annotations

import hashlib
from pathlib import PurePath
from typing import TYPE_CHECKING, Any

from edgeglm.errors import ModelError
from edgeglm.files import sha256_file
from edgeglm.formats import companions, digest

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


def model_file_sha256(path: Path, format: str) -> str:  # noqa: A002 - the manifest's word
    """Return a digest that changes with any weight: the file's SHA-256, joined with those of its external data.

    Args:
        path: The model.
        format: ``onnx``, ``tflite`` or ``openvino``; a file that holds all its weights has its plain SHA-256.

    Raises:
        ModelError: The file cannot be parsed (``file-unloadable``), or a file of its weights is not there
            (``model-file-missing``).
    """
    own = _whole(path, format)
    names = _external_files(path) if format == "onnx" else []
    if not names:
        return own
    joined = hashlib.sha256(own.encode())
    for name in names:
        if PurePath(name).is_absolute() or ".." in PurePath(name).parts or not (path.parent / name).is_file():
            outside = "it lies outside of the model's folder" if ".." in name or name[:1] == "/" else "no such file"
            raise _weights_missing(path, name, outside)
        try:
            joined.update(f"\0{name}\0{sha256_file(path.parent / name)}".encode())
        except OSError as error:
            raise _weights_missing(path, name, error.strerror) from error
    return joined.hexdigest()


def _whole(path: Path, format: str) -> str:  # noqa: A002
    """Return the digest of a file and of those that always belong to it. Raises: ModelError."""
    missing = [file.name for file in companions(path, format) if not file.is_file()]
    if missing:
        raise _weights_missing(path, missing[0], "there is no such file")
    return digest(path, format)


def _weights_missing(path: Path, name: str, reason: str | None) -> ModelError:
    return ModelError(
        f"its weights lie in `{name}`, which cannot be read: {reason}",
        where=str(path),
        hint="copy that file into the folder of the model",
        code="model-file-missing",
    )


def corrupt(path: Path, format: str, said: str) -> ModelError:  # noqa: A002
    """Return the error for a model file that cannot be read."""
    return ModelError(
        f"cannot be read as {format}: {said}",
        hint="the file is damaged, incomplete or of another format; copy or convert it again",
        where=str(path),
        code="file-unloadable",
    )


def _external_files(path: Path) -> list[str]:
    """Return the files, relative to the model's folder, that hold weights of an ONNX model."""
    import onnx

    try:
        model = onnx.load(str(path), load_external_data=False)
    except Exception as error:  # damaged bytes raise whatever they lead the parser to
        raise corrupt(path, "onnx", f"{type(error).__name__}: {error}") from error
    return sorted({entry.value for entry in _external_entries(model) if entry.key == "location"})


def _external_entries(message: Any) -> Iterator[Any]:
    """Yield the external-data entries of every tensor in a message, however deep it lies."""
    for field, value in message.ListFields():
        if field.message_type is None:
            continue
        if field.name == "external_data":
            yield from value
            continue
        for inner in [value] if hasattr(value, "ListFields") else value:
            yield from _external_entries(inner)
