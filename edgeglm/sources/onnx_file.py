"""`source: onnx`: a model that is an ONNX file already; it can be quantized, not trained."""

from __future__ import annotations

import msgspec


class OnnxModel(msgspec.Struct, tag="onnx", tag_field="source", frozen=True, kw_only=True, forbid_unknown_fields=True):
    """An FP32 ONNX file; gives onnx artifacts."""

    path: str  # the file, relative to the recipe
