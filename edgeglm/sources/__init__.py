"""Where models and data come from; one file each. Structs here say what a recipe may write."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from edgeglm.sources.given import GivenData, GivenModel
from edgeglm.sources.images import ImagesData
from edgeglm.sources.npz import NpzData
from edgeglm.sources.onnx_file import OnnxModel
from edgeglm.sources.python_entry import PythonData, PythonModel
from edgeglm.sources.tflite_file import TfliteModel

if TYPE_CHECKING:
    from edgeglm.sources.loading import load_data as load_data
    from edgeglm.sources.loading import load_model as load_model
    from edgeglm.sources.python_data import data_from_objects as data_from_objects

ModelSource = PythonModel | OnnxModel | TfliteModel | GivenModel
DataSource = PythonData | NpzData | ImagesData | GivenData

__all__ = [
    "DataSource",
    "GivenData",
    "GivenModel",
    "ImagesData",
    "ModelSource",
    "NpzData",
    "OnnxModel",
    "PythonData",
    "PythonModel",
    "TfliteModel",
    "data_from_objects",
    "load_data",
    "load_model",
]


def __getattr__(name: str) -> Any:
    """Import what loads when it is first used: a recipe is read without NumPy."""
    if name in ("load_data", "load_model"):
        from edgeglm.sources import loading

        return getattr(loading, name)
    if name == "data_from_objects":
        from edgeglm.sources.python_data import data_from_objects

        return data_from_objects
    raise AttributeError(f"module 'edgeglm.sources' has no attribute {name!r}")
