"""Where models and data come from; one file each. Structs here say what a recipe may write."""

from __future__ import annotations

from edgeglm.sources.images import ImagesData
from edgeglm.sources.npz import NpzData
from edgeglm.sources.onnx_file import OnnxModel
from edgeglm.sources.python_entry import PythonData, PythonModel
from edgeglm.sources.tflite_file import TfliteModel

ModelSource = PythonModel | OnnxModel | TfliteModel
DataSource = PythonData | NpzData | ImagesData

__all__ = [
    "DataSource",
    "ImagesData",
    "ModelSource",
    "NpzData",
    "OnnxModel",
    "PythonData",
    "PythonModel",
    "TfliteModel",
]
