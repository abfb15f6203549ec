"""A scheme: weights in bfloat16."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, ClassVar

import numpy as np
from msgspec import Meta

from edgeglm.errors import ExportError
from edgeglm.schemes import SchemeConfig

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from edgeglm.boards import Board
    from edgeglm.data.splits import Arrays


class Bfloat16(SchemeConfig, tag="bfloat16", frozen=True, kw_only=True):
    """Weights as bfloat16: half the bytes of float32 and its whole range, which fp16 does not have."""

    formats: ClassVar = ("onnx",)

    least_values: Annotated[int, Meta(ge=1)] = 16  # smaller weights stay float32

    def quantize(self, source: Path, path: Path, calibration: Iterable[Arrays], board: Board) -> list[str]:
        """Write the file: every weight becomes bfloat16 with a Cast behind it, which runtimes fold as they load."""
        import onnx  # heavy: only when it runs

        model = onnx.load(str(source))
        left = 0
        for weight in list(model.graph.initializer):
            if weight.data_type != onnx.TensorProto.FLOAT:
                continue
            if np.prod(weight.dims) < self.least_values:
                left += 1
                continue
            name, values = weight.name, onnx.numpy_helper.to_array(weight).astype("<f4")
            upper = ((values.view("<u4").astype("u8") + 0x8000) >> 16).astype("<u2")  # the upper half, rounded
            kind = onnx.TensorProto.BFLOAT16
            weight.CopyFrom(onnx.helper.make_tensor(f"{name}.bf16", kind, values.shape, upper.tobytes(), raw=True))
            cast = onnx.helper.make_node("Cast", [weight.name], [name], to=onnx.TensorProto.FLOAT)
            model.graph.node.insert(0, cast)
        if left == len(model.graph.initializer):
            raise ExportError("no weight is as large as `least_values`", hint="lower it", code="quantized-nothing")
        onnx.save(model, str(path))
        return [f"{left} small weights stay float32"] if left else []
