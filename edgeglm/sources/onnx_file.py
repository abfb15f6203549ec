"""`source: onnx`: a model that is an ONNX file already; it can be quantized, not trained."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from edgeglm.sources._base import ModelSource

if TYPE_CHECKING:
    from edgeglm.data.splits import Arrays
    from edgeglm.model import ModelFile
    from edgeglm.sources.entry import Entries


class OnnxModel(ModelSource, tag="onnx", frozen=True, kw_only=True):
    """An FP32 ONNX file; gives onnx and openvino artifacts."""

    gives = "onnx"

    path: str  # the file, relative to the recipe
    constants: dict[str, Any] = {}  # inputs that become constants, such as a sampling rate: name -> number or lists

    def load(self, entries: Entries, sample: Arrays) -> ModelFile:
        """Return the file after a look at its inputs and outputs."""
        from edgeglm.sources.loading import load_file  # heavy: only when it runs

        del sample  # a file says itself what it takes
        return load_file(self.path, self.gives, entries, self.constants)
