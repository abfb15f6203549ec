"""The files that operations of `preprocess` read: they travel to the board, beside the manifest."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from edgeglm_agent.processing import PRE_OPERATIONS
from edgeglm_agent.wire import ProcessOp

from edgeglm.errors import UserError
from edgeglm.files import tidied

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from edgeglm.recipe.types import ProcessStep

FOLDER = "preprocess"  # beside the manifest


@dataclass(frozen=True)
class BoardPreprocess:
    """Operations whose paths are relative to the manifest, and what lies at these paths."""

    ops: tuple[ProcessOp, ...]
    files: dict[str, bytes]  # path relative to the manifest -> content, as it was when the run began


def read_board_preprocess(steps: Sequence[ProcessStep], folder: Path) -> BoardPreprocess:
    """Return the operations of a recipe as its manifest carries them.

    Args:
        steps: Operations as written.
        folder: The recipe's, which paths are relative to.

    Raises:
        UserError: A file cannot be read.
    """
    ops: list[ProcessOp] = []
    files: dict[str, bytes] = {}
    for index, step in enumerate(steps):
        settings = dict(step.settings)
        for key in PRE_OPERATIONS[step.op].files:
            path = tidied(folder / str(settings[key]))
            try:
                content = path.read_bytes()
            except OSError as error:
                raise UserError(
                    f"cannot read {path}: {error.strerror}",
                    where=f"preprocess[{index}].{step.op}.{key}",
                    hint="paths are relative to the folder of the recipe",
                    code="file-unreadable",
                ) from error
            name = f"{FOLDER}/{path.name}"
            if files.get(name, content) != content:
                name = f"{FOLDER}/{index}-{path.name}"
            files[name] = content
            settings[key] = name
        ops.append(ProcessOp(step.op, settings))
    return BoardPreprocess(tuple(ops), files)
