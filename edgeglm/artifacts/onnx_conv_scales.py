"""One scale a channel for the convolutions of dynamic INT8: ONNX Runtime's quantizer gives a whole layer one scale."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from onnx import numpy_helper

if TYPE_CHECKING:
    import onnx


def scale_convolutions_by_channel(quantized: onnx.ModelProto, original: onnx.ModelProto) -> int:
    """Quantize the weights of every ConvInteger anew, each output channel by its own scale; return how many.

    The scale (channels, 1, ...) takes the place of the layer's, and multiplies the integer sums channel by channel.

    Args:
        quantized: What ``quantize_dynamic`` wrote: ``ConvInteger`` of a zero point of 0, then Cast and Mul. Changed.
        original: The FP32 model, for the weights.
    """
    weights = {tensor.name: tensor for tensor in original.graph.initializer}
    constants = {tensor.name: tensor for tensor in quantized.graph.initializer}
    done: set[str] = set()
    for node in quantized.graph.node:
        if node.op_type != "ConvInteger":
            continue
        name = node.input[1].removesuffix("_quantized")
        if name in done or name not in weights or f"{name}_scale" not in constants:
            continue
        values = numpy_helper.to_array(weights[name])  # (channels, ...)
        rank = values.ndim
        largest = np.abs(values).reshape(len(values), -1).max(axis=1)
        scales = np.where(largest > 0, largest / 127, 1).astype(np.float32)
        steps = np.rint(values / scales.reshape(-1, *[1] * (rank - 1)))
        integers = np.clip(steps, -127, 127).astype(np.int8)
        constants[node.input[1]].CopyFrom(numpy_helper.from_array(integers, node.input[1]))
        along = numpy_helper.from_array(scales.reshape(-1, *[1] * (rank - 2)), f"{name}_scale")
        constants[f"{name}_scale"].CopyFrom(along)
        done.add(name)
    return len(done)
