"""From what a recipe names to a model that has been looked at."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from edgeglm.errors import EntryError, ModelError, UserError
from edgeglm.files import tidied
from edgeglm.model import ModelFile
from edgeglm.sources.lfs import refuse_lfs_pointer

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from edgeglm.data.splits import Arrays
    from edgeglm.model import Model
    from edgeglm.sources.entry import Entries
    from edgeglm.sources.python_entry import PythonModel


def load_network(config: PythonModel, entries: Entries, sample: Arrays) -> Model:
    """Return the network that the user's function builds, after one batch.

    Raises:
        EntryError: The function cannot be called, or raised.
        ModelError: The weights do not fit, or the network refuses the batch.
    """
    from edgeglm.nn.determinism import seed_all
    from edgeglm.nn.loading import build_python_model

    seed_all(0)  # what the weights do not fill must not differ from run to run
    module = entries.call(config.entry, key="model.entry", **config.args)
    weights = None if config.weights is None else entries.folder / config.weights
    try:
        with entries.guard(config.entry, "model.entry"):  # building runs forward(), which is the user's
            return build_python_model(module, weights, sample, where="model.entry")
    except UserError as error:
        if weights is None:
            raise
        raise _of_weights(error, weights, f"model.weights {config.weights}") from error.__cause__


def load_file(name: str, file_format: str, entries: Entries, constants: Mapping[str, Any] | None = None) -> ModelFile:
    """Return a model file after a look at its inputs and outputs.

    Args:
        name: Path, relative to the recipe.
        file_format: onnx | tflite.
        entries: Knows the recipe's folder.
        constants: Inputs of an ONNX file that become constants.

    Raises:
        ModelError: It is missing or damaged, or a constant does not fit.
    """
    from edgeglm.artifacts.source import describe_source

    path = tidied(entries.folder / name)
    if not path.is_file():
        raise ModelError(
            "no such file",
            where=str(path),
            hint="`model.path` is relative to the folder of the recipe",
            code="model-file-missing",
        )
    refuse_lfs_pointer(path, str(path))
    inputs, outputs = describe_source(path, file_format, constants or {})
    return ModelFile(path, file_format, inputs, outputs, constants or {})


def _of_weights(error: UserError, weights: Path, where: str) -> UserError:
    """Return an error of building a network; one that is about the file of weights, at its own place."""
    if error.code.startswith("weights-") or error.code == "file-lfs-pointer":
        error.problems = tuple(replace(problem, where=where) for problem in error.problems)
        return error
    if not isinstance(error, EntryError) or error.problems[0].where != "model.entry":
        return error  # at a line of the user's
    # no line of the user's was at work: what reads the file could not cope with it
    cause = error.__cause__
    if isinstance(cause, OSError):
        return ModelError(
            f"cannot read: {cause.strerror or cause}",
            where=where,
            hint="check the path, and that you may read what is there",
            code="file-unreadable",
        )
    return ModelError(
        f"{weights.name} cannot be read as weights: {cause or type(cause).__name__}",
        where=where,
        hint="the file is cut short or damaged: save or copy it again",
        code="weights-corrupt",
    )
