"""`source: tflite`: a model that is a TFLite file already; it can be quantized, not trained."""

from __future__ import annotations

from typing import TYPE_CHECKING

from edgeglm.sources._base import ModelSource

if TYPE_CHECKING:
    from edgeglm.data.splits import Arrays
    from edgeglm.model import ModelFile
    from edgeglm.sources.entry import Entries


class TfliteModel(ModelSource, tag="tflite", frozen=True, kw_only=True):
    """An FP32 TFLite file; gives tflite artifacts."""

    gives = "tflite"

    path: str  # the file, relative to the recipe

    def load(self, entries: Entries, sample: Arrays) -> ModelFile:
        """Return the file after a look at its inputs and outputs."""
        from edgeglm.sources.loading import load_file  # heavy: only when it runs

        del sample  # a file says itself what it takes
        return load_file(self.path, self.gives, entries)
