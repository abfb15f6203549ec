"""A model's folder: the manifest, and files that are what it says they are."""

from __future__ import annotations

import re
from pathlib import Path

import msgspec

from edgeglm_agent.processing import PRE_OPERATIONS
from edgeglm_agent.wire import Artifact, Manifest, WireError, decode_manifest
from edgeglm_agent.worker.digest import sha256, sha256_file

MANIFEST = "manifest.json"
_MANIFEST_BYTES = 16_000_000
_WEIGHTS_BESIDE = {"openvino": ".bin"}  # format -> suffix of the file that holds the weights


class FolderError(ValueError):
    """A folder, or a file in it, cannot be trusted."""


class MissingFileError(FolderError):
    """A file that the manifest lists is not there."""


def file_inside(folder: Path, name: str) -> Path:
    """Return where a file lies that a manifest names; one outside the folder is refused, links followed.

    Raises:
        FolderError: It lies outside, or is no file; ``MissingFileError``: it is not there.
    """
    if not name or name.startswith("/") or "\0" in name or ".." in name.split("/"):
        raise FolderError(f"{name!r} is no path within the folder")
    try:
        file = (folder / name).resolve(strict=True)
    except FileNotFoundError:
        raise MissingFileError(f"{name}: it is not there, and the manifest lists it") from None
    except (OSError, RuntimeError) as error:  # RuntimeError: links in a circle, before Python 3.13
        raise FolderError(f"{name}: cannot be read: {error}") from error
    if not file.is_relative_to(folder.resolve()):
        raise FolderError(f"{name}: it leads out of the folder")
    if not file.is_file():
        raise FolderError(f"{name}: it is no file")
    return file


class ModelFolder(msgspec.Struct, frozen=True):
    """A folder with a manifest; its files are checked when they are asked for."""

    path: Path
    manifest: Manifest
    manifest_sha256: str

    def artifact_file(self, artifact: Artifact) -> Path:
        """Return the file of an artifact, checked with what belongs to it. Raises: FolderError."""
        file = self._checked(artifact.path, artifact.sha256)
        suffix = _WEIGHTS_BESIDE.get(artifact.format)
        if suffix is not None:
            self.listed(re.sub(r"\.[^./]*$", "", artifact.path) + suffix)
        return file

    def listed(self, name: str) -> Path:
        """Return one of the manifest's other files, checked. Raises: FolderError."""
        if name not in self.manifest.files:
            raise FolderError(f"{name}: the manifest does not list it")
        return self._checked(name, self.manifest.files[name])

    def check_preprocess_files(self) -> None:
        """Check the files that operations on inputs read, as a tokenizer's. Raises: FolderError."""
        for step in self.manifest.preprocess:
            if step.op in PRE_OPERATIONS:  # one that is not known is named when preprocessing is made
                for key in PRE_OPERATIONS[step.op].files:
                    self.listed(str(step.settings.get(key, "")))

    def _checked(self, name: str, expected: str) -> Path:
        file = file_inside(self.path, name)
        try:
            found = sha256_file(file)
        except OSError as error:
            raise FolderError(f"{name}: cannot be read: {error.strerror}") from error
        if found != expected:
            raise FolderError(f"{name}: it is not the file that the manifest lists: its sha256 differs")
        return file


def open_folder(path: Path) -> ModelFolder:
    """Return a folder with its manifest read.

    Raises:
        FolderError: There is no manifest, or none that can be read here.
    """
    try:
        with (path / MANIFEST).open("rb") as file:
            data = file.read(_MANIFEST_BYTES + 1)
    except FileNotFoundError:
        raise FolderError(f"{path} has no {MANIFEST}: it is no result of `edgeglm compress`") from None
    except OSError as error:
        raise FolderError(f"{path / MANIFEST} cannot be read: {error.strerror}") from error
    if len(data) > _MANIFEST_BYTES:
        raise FolderError(f"{path / MANIFEST} is larger than {_MANIFEST_BYTES} bytes")
    try:
        manifest = decode_manifest(data)
    except (WireError, RecursionError) as error:
        raise FolderError(f"{path / MANIFEST}: {error}") from error
    return ModelFolder(path, manifest, sha256(data))
