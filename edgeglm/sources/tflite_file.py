"""`source: tflite`: a model that is a TFLite file already; it can be quantized, not trained."""

from __future__ import annotations

import msgspec


class TfliteModel(
    msgspec.Struct, tag="tflite", tag_field="source", frozen=True, kw_only=True, forbid_unknown_fields=True
):
    """An FP32 TFLite file; gives tflite artifacts."""

    path: str  # the file, relative to the recipe
