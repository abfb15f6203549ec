"""ONNX with INT8 weights and activations, whose ranges are measured on calibration data."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import onnx
from onnx import numpy_helper

from edgeglm.artifacts import bias_correction, onnx_bias
from edgeglm.artifacts.calibration import Finite, Kept, in_batches_of, not_finite
from edgeglm.artifacts.masking import INFINITE, masking_operators
from edgeglm.artifacts.onnx_dynamic import dynamic
from edgeglm.artifacts.onnx_islands import islands, read_inside
from edgeglm.artifacts.onnx_ranges import largest_beyond
from edgeglm.artifacts.quiet import silenced

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

    from edgeglm.boards import Board
    from edgeglm.data.splits import Arrays


def to_static_int8(
    model: onnx.ModelProto,
    ignore: set[str],
    calibration: Iterable[Arrays],
    path: Path,
    *,
    board: Board,
    reduce_range: bool,
    ranges: str | None = None,
) -> onnx.ModelProto:
    """Return the model with INT8 weights and activations, in QuantizeLinear/DequantizeLinear form.

    Ranges are the smallest and largest value seen on the calibration data, or the mean of each sample's: only two
    numbers a tensor are kept, whatever the amount of data.

    Args:
        model: FP32.
        ignore: Names of nodes that stay float.
        calibration: Batches by input name.
        path: A temporary file.
        board: Decides unsigned (x86) or signed symmetric activations (ARM, TensorRT).
        reduce_range: 7-bit weights, for x86 without VNNI, whose 16-bit sums saturate.
        ranges: extremes, as is None, or mean (of each sample's smallest and largest value: what is rare is clipped).

    Raises:
        ExportError: Calibration data or a range is not finite.

    Source: Jacob et al. 2018, arXiv:1712.05877; integer types by onnxruntime PR 28415.
    """
    from onnxruntime.quantization import (
        CalibrationDataReader,
        CalibrationMethod,
        QuantFormat,
        QuantType,
        quantize_static,
    )
    from onnxruntime.quantization.registry import QDQRegistry, QLinearOpsRegistry

    class Batches(CalibrationDataReader):  # type: ignore[misc]
        """Hands batches to the calibrator one at a time."""

        def __init__(self, batches: Iterator[Arrays]) -> None:
            self.batches = batches

        def get_next(self) -> Arrays | None:
            """Return the next batch, or None at the end."""
            return next(self.batches, None)

    signed = board.activation_type == "int8"
    _fold_beta(model)
    ignore = ignore | _masking(model)
    del model.graph.value_info[:]
    given = onnx.ModelProto()
    given.CopyFrom(model)  # the quantizer moves large weights out of it, into a file that it removes
    kept = Kept(calibration, bias_correction.SAMPLES)
    checked = Finite(in_batches_of(1, kept) if ranges == "mean" else kept)
    try:
        with silenced():
            quantize_static(
                given,
                path,
                Batches(iter(checked)),
                quant_format=QuantFormat.QDQ,
                op_types_to_quantize=sorted(set(QLinearOpsRegistry) | set(QDQRegistry)),
                per_channel=True,
                reduce_range=reduce_range,
                activation_type=QuantType.QInt8 if signed else QuantType.QUInt8,
                weight_type=QuantType.QInt8,
                nodes_to_exclude=sorted(ignore | islands(model, ignore) | read_inside(model)),
                calibrate_method=CalibrationMethod.MinMax,
                extra_options={
                    "ActivationSymmetric": signed,
                    "WeightSymmetric": True,
                    "CalibMovingAverage": ranges == "mean",
                },
            )
    except (AssertionError, ValueError, OverflowError) as error:  # what the quantizer says to an infinite range
        beyond = largest_beyond(model, checked.last, float(np.finfo(np.float32).max)) if checked.last else None
        if beyond is None:
            raise
        raise not_finite(beyond[1], beyond[0]) from error
    quantized = onnx.load(path)
    _check_scales(quantized)
    del given
    onnx_bias.correct(model, quantized, kept)
    if board.integer_relu:
        integer_relu(quantized)
    if any(node.op_type == "LSTM" and node.name not in ignore for node in quantized.graph.node):
        return dynamic(quantized, ignore, path, ["LSTM"])  # it has no static form
    return quantized


def _fold_beta(model: onnx.ModelProto) -> None:
    """Multiply the factor ``beta`` of each Gemm into its bias, in place.

    The quantizer puts it into the scale of the bias, which the runtime takes to be that of the product: it adds twice
    the bias for a half of it.
    """
    constants = {tensor.name: tensor for tensor in model.graph.initializer}
    for number, node in enumerate(model.graph.node):
        factor = next((attribute for attribute in node.attribute if attribute.name == "beta"), None)
        if node.op_type != "Gemm" or factor is None or factor.f == 1.0 or len(node.input) < 3:
            continue
        if node.input[2] in constants:
            values = numpy_helper.to_array(constants[node.input[2]]) * np.float32(factor.f)
            node.input[2] = f"{node.input[2]}_times_beta_{number}"
            model.graph.initializer.append(numpy_helper.from_array(values, node.input[2]))
            node.attribute.remove(factor)


def _masking(model: onnx.ModelProto) -> set[str]:
    infinite = {
        tensor.name
        for tensor in model.graph.initializer
        if tensor.data_type == onnx.TensorProto.FLOAT
        and np.max(np.abs(numpy_helper.to_array(tensor)), initial=0.0) >= INFINITE
    }
    nodes = ((node.name, node.op_type, node.input, node.output) for node in model.graph.node)
    return masking_operators(nodes, infinite)


def _check_scales(model: onnx.ModelProto) -> None:
    constants = {tensor.name: tensor for tensor in model.graph.initializer}
    for node in model.graph.node:
        if node.op_type not in {"QuantizeLinear", "DequantizeLinear"} or node.input[1] not in constants:
            continue
        scale = numpy_helper.to_array(constants[node.input[1]])
        if not (np.isfinite(scale).all() and (scale > 0).all()):
            raise not_finite(node.input[0], "")


def integer_relu(model: onnx.ModelProto) -> int:
    """Let Relu and Clip(0, ..) run on INT8 values between Quantize and Dequantize; return how many were changed.

    With symmetric ranges a runtime cannot drop a Relu, and it has no rule that makes Dequantize-Relu-Quantize one
    integer operator: each layer would go through float. ``Quantize(s) Relu Dequantize(s)`` with the scale of Relu's
    output says the same, since a zero point of 0 keeps zero where it is, and a Clip ends above where the type does.
    """
    graph = model.graph
    constants = {tensor.name: tensor for tensor in graph.initializer}
    makers = {name: node for node in graph.node for name in node.output}
    users: dict[str, list[onnx.NodeProto]] = {}
    for node in graph.node:
        for name in node.input:
            users.setdefault(name, []).append(node)
    dropped: list[onnx.NodeProto] = []
    kept = read_inside(model)
    for node in graph.node:
        if node.name in kept:
            continue
        if node.op_type != "Relu" and not (node.op_type == "Clip" and _is_zero(node, makers, constants)):
            continue
        before = makers.get(node.input[0])
        after = users.get(node.output[0], [])
        if before is None or before.op_type != "DequantizeLinear" or len(users[before.output[0]]) != 1:
            continue
        first = makers.get(before.input[0])
        if first is None or first.op_type != "QuantizeLinear" or len(users[first.output[0]]) != 1:
            continue
        if len(after) != 1 or after[0].op_type != "QuantizeLinear":
            continue
        first.input[1], first.input[2] = after[0].input[1], after[0].input[2]
        node.op_type = "Relu"
        node.input[:] = [first.output[0]]
        node.output[0] = after[0].output[0]
        dropped += [before, after[0]]
    for node in dropped:
        graph.node.remove(node)
    return len(dropped) // 2


def _is_zero(clip: onnx.NodeProto, makers: dict[str, onnx.NodeProto], constants: dict[str, onnx.TensorProto]) -> bool:
    """Return whether a Clip begins at zero."""
    if len(clip.input) < 2:
        return False
    name = clip.input[1]
    maker = makers.get(name)
    if maker is not None and maker.op_type == "DequantizeLinear":  # the quantizer may have quantized the bound too
        name = maker.input[0]
    return name in constants and not numpy_helper.to_array(constants[name]).any()
