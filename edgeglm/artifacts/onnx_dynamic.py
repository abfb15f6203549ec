"""ONNX with INT8 weights, whose activations are quantized as it runs."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import onnx
from onnx import numpy_helper

from edgeglm.artifacts.onnx_conv_scales import scale_convolutions_by_channel
from edgeglm.artifacts.quiet import silenced

if TYPE_CHECKING:
    from pathlib import Path

# Transformers' products and tables, recurrent cells, and convolutions. Attention is left out: on opset >= 23 the
# quantizer would write an invalid QAttention graph.
DYNAMIC_OPERATORS = ["Conv", "Gather", "Gemm", "LSTM", "MatMul"]
_HIDDEN_GEMM = "EdgeglmGemm"


def to_dynamic_int8(model: onnx.ModelProto, ignore: set[str], path: Path) -> onnx.ModelProto:
    """Return the model with signed INT8 weights, one scale a channel, whose activations are quantized as it runs."""
    quantized = dynamic(model, ignore, path, DYNAMIC_OPERATORS)
    scale_convolutions_by_channel(quantized, model)
    unsigned_convolutions(quantized)
    return quantized


def dynamic(model: onnx.ModelProto, ignore: set[str], path: Path, operators: list[str]) -> onnx.ModelProto:
    """Return the model with operators of these kinds in their dynamic form.

    The quantizer splits every Gemm, and leaves a Transpose behind weights that are quantized already, at which
    onnxruntime 1.23 to 1.25 aborts: it is shown none but those that it shall quantize.

    Args:
        model: Changed.
        ignore: Names of nodes that stay as they are.
        path: A temporary file.
        operators: Kinds of nodes that are quantized.
    """
    from onnxruntime.quantization import QuantType, quantize_dynamic

    del model.graph.value_info[:]  # the shapes that an exporter wrote contradict those that the quantizer infers
    for node in model.graph.node:
        if node.op_type == "Gemm" and (node.name in ignore or "Gemm" not in operators):
            node.op_type = _HIDDEN_GEMM
    with silenced():
        quantize_dynamic(
            model,
            path,
            op_types_to_quantize=operators,
            per_channel=True,  # one scale a tensor costs MiniLM 3 points of cosine
            weight_type=QuantType.QInt8,  # unsigned weights are slower
            nodes_to_exclude=sorted(ignore),
            extra_options={"MatMulConstBOnly": True},
        )
    quantized = onnx.load(path)
    for node in quantized.graph.node:
        if node.op_type == _HIDDEN_GEMM:
            node.op_type = "Gemm"
    return quantized


def unsigned_convolutions(model: onnx.ModelProto) -> None:
    """Give every ConvInteger unsigned weights that mean the same: onnxruntime 1.23 has no signed kernel.

    ``w`` of zero point 0 becomes ``w + 128`` of zero point 128.
    """
    constants = {tensor.name: tensor for tensor in model.graph.initializer}
    for node in model.graph.node:
        if node.op_type != "ConvInteger":
            continue
        for name in (node.input[1], node.input[3]):  # weights, their zero point
            values = numpy_helper.to_array(constants[name])
            if values.dtype != np.int8:
                continue  # shared, and done already
            constants[name].CopyFrom(numpy_helper.from_array((values.astype(np.int16) + 128).astype(np.uint8), name))
