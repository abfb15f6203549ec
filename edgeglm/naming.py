"""Errors name files as the user knows them: not by the path of a copy in the cache or in a temporary folder."""

from __future__ import annotations

import re
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from edgeglm.errors import EdgeglmError, StorageError
from edgeglm.model import ModelFile

if TYPE_CHECKING:
    from collections.abc import Iterator

    from edgeglm.model import Model


@contextmanager
def users_names(folder: Path, original: Model | ModelFile) -> Iterator[None]:
    """Run work on model files of ours inside: errors name the user's file, or none that the user could open.

    Args:
        folder: The cache, or a temporary folder; ``model.<format>`` in it is a source file without metadata.
        original: The recipe's model; of a file, what is made of it unchanged goes by its path.
    """
    ours = re.compile(re.escape(str(folder)) + r"/[^\s:]*\.(?:onnx|tflite|xml|bin)(?![\w.])")

    def shown(match: re.Match[str]) -> str:
        name = Path(match[0]).name
        source = isinstance(original, ModelFile) and name == f"model.{original.format}"
        return str(original.path) if isinstance(original, ModelFile) and source else name

    def place(where: str) -> str:
        found = ours.search(where)
        key = where[: found.start()].strip() if found else ""
        if found and key and shown(found) == Path(found[0]).name:
            return key  # says enough: artifacts[0]
        return ours.sub(shown, where)

    try:
        yield
    except StorageError:
        raise  # the disk is at fault: its path is the point
    except EdgeglmError as error:
        error.problems = tuple(
            replace(p, where=place(p.where), message=ours.sub(shown, p.message)) for p in error.problems
        )
        raise
