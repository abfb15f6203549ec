"""Where models and data come from; one file each. Structs here say what a recipe may write.

Packages add theirs by the entry point groups ``edgeglm.sources`` (of models: name -> a ``ModelSource`` subclass) and
``edgeglm.data`` (of data: name -> a ``DataSource`` subclass).
"""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Any

from edgeglm.plugins import with_plugins
from edgeglm.sources._base import DataSource, ModelSource
from edgeglm.sources.csv_file import CsvData
from edgeglm.sources.given import GivenData, GivenModel
from edgeglm.sources.hf import HfModel
from edgeglm.sources.images import ImagesData
from edgeglm.sources.npz import NpzData
from edgeglm.sources.onnx_file import OnnxModel
from edgeglm.sources.python_entry import PythonData, PythonModel
from edgeglm.sources.text import TextData
from edgeglm.sources.tflite_file import TfliteModel

if TYPE_CHECKING:
    from edgeglm.sources.python_data import data_from_objects as data_from_objects

MODEL_GROUP = "edgeglm.sources"
DATA_GROUP = "edgeglm.data"


@cache
def model_types() -> dict[str, type[ModelSource]]:
    """Return source -> struct: ours, then those of installed packages. Raises: UserError (``plugin-invalid``)."""
    ours = (PythonModel, HfModel, OnnxModel, TfliteModel, GivenModel)
    return with_plugins(ours, ModelSource, group=MODEL_GROUP, needs=("load",))


@cache
def data_types() -> dict[str, type[DataSource]]:
    """Return source -> struct: ours, then those of installed packages. Raises: UserError (``plugin-invalid``)."""
    ours = (PythonData, NpzData, CsvData, ImagesData, TextData, GivenData)
    return with_plugins(ours, DataSource, group=DATA_GROUP, needs=("load",))


__all__ = [
    "DATA_GROUP",
    "MODEL_GROUP",
    "CsvData",
    "DataSource",
    "GivenData",
    "GivenModel",
    "HfModel",
    "ImagesData",
    "ModelSource",
    "NpzData",
    "OnnxModel",
    "PythonData",
    "PythonModel",
    "TextData",
    "TfliteModel",
    "data_from_objects",
    "data_types",
    "model_types",
]


def __getattr__(name: str) -> Any:
    """Import what loads when it is first used: a recipe is read without NumPy."""
    if name == "data_from_objects":
        from edgeglm.sources.python_data import data_from_objects

        return data_from_objects
    raise AttributeError(f"module 'edgeglm.sources' has no attribute {name!r}")
