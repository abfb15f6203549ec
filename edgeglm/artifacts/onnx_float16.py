"""ONNX in float16, with float32 inputs and outputs."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import onnx
from onnx import numpy_helper

from edgeglm.artifacts.masking import INFINITE
from edgeglm.artifacts.onnx_ranges import largest_beyond
from edgeglm.artifacts.quiet import silenced
from edgeglm.errors import ExportError

if TYPE_CHECKING:
    from edgeglm.data.splits import Arrays

FLOAT16_MAX = float(np.finfo(np.float16).max)


def to_float16(model: onnx.ModelProto, ignore: set[str], row: Arrays | None) -> onnx.ModelProto:
    """Return the model with float16 weights and float32 inputs and outputs.

    Args:
        model: FP32.
        ignore: Names of nodes that stay float32.
        row: One real sample, to look for values that float16 cannot hold; None: not looked for.

    Raises:
        ExportError: A weight, or a value on the sample, is too large for float16. One that stands for infinity is not:
            the converter writes -10000 for it, which no softmax sees beside scores.
    """
    from onnxruntime.transformers.float16 import DEFAULT_OP_BLOCK_LIST, convert_float_to_float16

    for node in model.graph.node:
        if node.name in ignore:
            continue
        for tensor in model.graph.initializer:
            if tensor.name in node.input and tensor.data_type == onnx.TensorProto.FLOAT:
                values = np.abs(numpy_helper.to_array(tensor))
                largest = float(np.max(values, where=values < INFINITE, initial=0.0))
                if largest > FLOAT16_MAX:
                    raise ExportError(
                        f"a weight is {largest:.4g}; float16 ends at {FLOAT16_MAX:.0f}",
                        where=node.name,
                        hint="name the layer under `ignore`, or choose another scheme",
                        code="fp16-overflow",
                    )
    beyond = None if row is None else largest_beyond(model, row, FLOAT16_MAX, ignore=ignore, infinite=INFINITE)
    if beyond is not None:
        raise ExportError(
            f"a value reaches {beyond[2]:.4g} on calibration data; float16 ends at {FLOAT16_MAX:.0f}",
            where=beyond[0],
            hint="name the layer under `ignore`, or choose another scheme",
            code="fp16-overflow",
        )
    with silenced():
        converted: onnx.ModelProto = convert_float_to_float16(
            model,
            keep_io_types=True,
            node_block_list=sorted(ignore),
            op_block_list=[*DEFAULT_OP_BLOCK_LIST, "Gelu"],  # onnxruntime 1.31.1 crashes loading a float16 Gelu
        )
    made: set[str] = set()
    for node in list(converted.graph.node):  # two float32 nodes that read one value are each given the same Cast
        if node.op_type == "Cast" and node.output[0] in made:
            converted.graph.node.remove(node)
        made.update(node.output)
    return converted
