"""From what a recipe names to a model and to data that have been looked at."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from edgeglm.errors import EntryError, ModelError, UserError
from edgeglm.model import ModelFile
from edgeglm.sources.images import ImagesData
from edgeglm.sources.npz import NpzData
from edgeglm.sources.onnx_file import OnnxModel
from edgeglm.sources.python_entry import PythonData, PythonModel
from edgeglm.sources.tflite_file import TfliteModel

if TYPE_CHECKING:
    from pathlib import Path

    from edgeglm_agent.processing import Preprocess

    from edgeglm.data import Arrays, Data
    from edgeglm.model import Model
    from edgeglm.sources import DataSource, ModelSource
    from edgeglm.sources.entry import Entries


def load_model(config: ModelSource, entries: Entries, sample: Arrays) -> Model | ModelFile:
    """Return the recipe's model: a network after one batch, or a file after a look at its inputs and outputs.

    Args:
        config: What the recipe says.
        entries: The recipe's functions; paths are relative to their folder.
        sample: A few preprocessed rows.

    Raises:
        EntryError: The user's function cannot be called, or raised.
        ModelError: The weights do not fit, the network refuses the batch, the file is missing or damaged.
    """
    if isinstance(config, PythonModel):
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
    assert isinstance(config, OnnxModel | TfliteModel), "a given model is not loaded"
    path = entries.folder / config.path
    if not path.is_file():
        raise ModelError(
            "no such file",
            where=str(path),
            hint="`model.path` is relative to the folder of the recipe",
            code="model-file-missing",
        )
    from edgeglm.measure.census import describe

    file_format = "onnx" if isinstance(config, OnnxModel) else "tflite"
    inputs, outputs = describe(path, file_format)
    return ModelFile(path, file_format, inputs, outputs)


def _of_weights(error: UserError, weights: Path, where: str) -> UserError:
    """Return an error of building a network; one that is about the file of weights, at its own place."""
    if error.code.startswith("weights-"):
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


def load_data(
    config: DataSource, entries: Entries, *, preprocess: Preprocess, labels: tuple[str, ...], seed: int
) -> Data:
    """Return the recipe's data, preprocessed, checked, its splits disjoint.

    Args:
        config: What the recipe says.
        entries: The recipe's functions; paths are relative to their folder.
        preprocess: What is done to inputs; float inputs become float32 in any case, uint8 too (0 to 255).
        labels: Names of the classes; empty: folders of images give them, or they are not known.
        seed: Decides every division that the recipe leaves open.

    Raises:
        EntryError: The user's function cannot be called, or raised.
        DataError: The data cannot be used; see docs/errors.md.
    """
    if isinstance(config, PythonData):
        from edgeglm.sources.python_data import load_python_data

        return load_python_data(config, entries, preprocess=preprocess, labels=labels, seed=seed)
    if isinstance(config, NpzData):
        from edgeglm.sources.npz_arrays import load_npz

        return load_npz(config, entries.folder, preprocess=preprocess, labels=labels, seed=seed)
    assert isinstance(config, ImagesData)
    from edgeglm.sources.image_files import load_images

    return load_images(config, entries.folder, preprocess=preprocess, labels=labels, seed=seed)
