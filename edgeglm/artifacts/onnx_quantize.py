"""Smaller ONNX files from an FP32 one: float16, dynamic INT8 and static INT8."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import onnx
from onnx import numpy_helper

from edgeglm.artifacts.calibration import Finite, not_finite
from edgeglm.artifacts.checking import check_weights
from edgeglm.artifacts.onnx_graph import float_weights, weight_types
from edgeglm.artifacts.quiet import silenced
from edgeglm.errors import ExportError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

    from edgeglm.boards import Board
    from edgeglm.data import Arrays

FLOAT16_MAX = float(np.finfo(np.float16).max)
# Transformers' products and tables, recurrent cells, and convolutions. Attention is left out: on opset >= 23 the
# quantizer would write an invalid QAttention graph.
DYNAMIC_OPERATORS = ["Conv", "Gather", "Gemm", "LSTM", "MatMul"]
_HIDDEN_GEMM = "EdgeglmGemm"


def to_float16(model: onnx.ModelProto, ignore: set[str], row: Arrays | None) -> onnx.ModelProto:
    """Return the model with float16 weights and float32 inputs and outputs.

    Args:
        model: FP32.
        ignore: Names of nodes that stay float32.
        row: One real sample, to look for values that float16 cannot hold; None: not looked for.

    Raises:
        ExportError: A weight, or a value on the sample, is too large for float16.
    """
    from onnxruntime.transformers.float16 import DEFAULT_OP_BLOCK_LIST, convert_float_to_float16

    for node in model.graph.node:
        if node.name in ignore:
            continue
        for tensor in model.graph.initializer:
            if tensor.name in node.input and tensor.data_type == onnx.TensorProto.FLOAT:
                largest = float(np.max(np.abs(numpy_helper.to_array(tensor)), initial=0.0))
                if largest > FLOAT16_MAX:
                    raise ExportError(
                        f"a weight is {largest:.4g}; float16 ends at {FLOAT16_MAX:.0f}",
                        where=node.name,
                        hint="name the layer under `ignore`, or choose another scheme",
                        code="fp16-overflow",
                    )
    beyond = None if row is None else largest_beyond(model, row, FLOAT16_MAX, ignore)
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


def largest_beyond(
    model: onnx.ModelProto, inputs: Arrays, limit: float, ignore: set[str] | None = None
) -> tuple[str, str, float] | None:
    """Run a float model and return the first node, its output and how large that is, when it exceeds a limit.

    A host without float16 kernels computes in float32 and never sees an overflow; a GPU or an ARM core does.
    """
    import onnxruntime

    watched = onnx.ModelProto()
    watched.CopyFrom(model)
    skipped = ignore or set()
    makers = {name: node.name for node in model.graph.node if node.name not in skipped for name in node.output if name}
    public = {value.name for value in watched.graph.output}
    watched.graph.output.extend(onnx.ValueInfoProto(name=name) for name in makers if name not in public)
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(watched.SerializeToString(), options, providers=["CPUExecutionProvider"])
    names = [value.name for value in watched.graph.output]
    found = dict(zip(names, session.run(names, inputs), strict=True))
    for name, maker in makers.items():
        array = np.asarray(found[name])
        if np.issubdtype(array.dtype, np.floating):
            largest = float(np.max(np.abs(array), initial=0.0))
            if not largest <= limit:
                return maker, name, largest
    return None


def to_dynamic_int8(model: onnx.ModelProto, ignore: set[str], path: Path) -> onnx.ModelProto:
    """Return the model with signed INT8 weights, one scale a channel, whose activations are quantized as it runs."""
    quantized = _dynamic(model, ignore, path, DYNAMIC_OPERATORS)
    unsigned_convolutions(quantized)
    return quantized


def _dynamic(model: onnx.ModelProto, ignore: set[str], path: Path, operators: list[str]) -> onnx.ModelProto:
    from onnxruntime.quantization import QuantType, quantize_dynamic

    del model.graph.value_info[:]  # the shapes that an exporter wrote contradict those that the quantizer infers
    excluded = sorted(ignore | {f"{name}_MatMul" for name in ignore})  # what a Gemm becomes before it is quantized
    with silenced():
        quantize_dynamic(
            model,
            path,
            op_types_to_quantize=operators,
            per_channel=True,  # one scale a tensor costs MiniLM 3 points of cosine
            weight_type=QuantType.QInt8,  # unsigned weights are slower
            nodes_to_exclude=excluded,
            extra_options={"MatMulConstBOnly": True},
        )
    return onnx.load(path)


def to_static_int8(
    model: onnx.ModelProto,
    ignore: set[str],
    calibration: Iterable[Arrays],
    path: Path,
    *,
    board: Board,
    reduce_range: bool,
) -> onnx.ModelProto:
    """Return the model with INT8 weights and activations, in QuantizeLinear/DequantizeLinear form.

    Ranges are the smallest and largest value seen on the calibration data, batch by batch: only two numbers a tensor
    are kept, whatever the amount of data.

    Args:
        model: FP32.
        ignore: Names of nodes that stay float.
        calibration: Batches by input name.
        path: A temporary file.
        board: Decides unsigned (x86) or signed symmetric activations (ARM, TensorRT).
        reduce_range: 7-bit weights, for x86 without VNNI, whose 16-bit sums saturate.

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
    del model.graph.value_info[:]
    checked = Finite(calibration)
    try:
        with silenced():
            quantize_static(
                model,
                path,
                Batches(iter(checked)),
                quant_format=QuantFormat.QDQ,
                op_types_to_quantize=sorted(set(QLinearOpsRegistry) | set(QDQRegistry)),
                per_channel=True,
                reduce_range=reduce_range,
                activation_type=QuantType.QInt8 if signed else QuantType.QUInt8,
                weight_type=QuantType.QInt8,
                nodes_to_exclude=sorted(ignore),
                calibrate_method=CalibrationMethod.MinMax,
                extra_options={"ActivationSymmetric": signed, "WeightSymmetric": True},
            )
    except (AssertionError, ValueError, OverflowError) as error:  # what the quantizer says to an infinite range
        beyond = largest_beyond(model, checked.last, float(np.finfo(np.float32).max)) if checked.last else None
        if beyond is None:
            raise
        raise not_finite(beyond[1], beyond[0]) from error
    quantized = onnx.load(path)
    _check_scales(quantized)
    if board.integer_relu:
        integer_relu(quantized)
    if any(node.op_type == "LSTM" and node.name not in ignore for node in quantized.graph.node):
        return _dynamic_lstm(quantized, ignore, path)
    return quantized


def _dynamic_lstm(model: onnx.ModelProto, ignore: set[str], path: Path) -> onnx.ModelProto:
    """Return the model with its LSTMs in their dynamic form: they have no static one.

    The quantizer would also split every Gemm, and leave a Transpose behind its quantized weights, at which onnxruntime
    1.23 to 1.25 aborts: it is shown none.
    """
    hidden = [node for node in model.graph.node if node.op_type == "Gemm"]
    for node in hidden:
        node.op_type = _HIDDEN_GEMM
    quantized = _dynamic(model, ignore, path, ["LSTM"])
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
    for node in graph.node:
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


def weight_warnings(model: onnx.ModelProto, scheme: str, ignore: set[str]) -> list[str]:
    """Return warnings about weights that are float32 still. Raises: ExportError when all of them are."""
    sizes = weight_types(model)
    small_bytes = sizes.get("float16", 0) if scheme == "fp16" else sizes.get("int8", 0) + sizes.get("uint8", 0)
    left = [name for name in float_weights(model) if name not in ignore]
    return check_weights(scheme, small_bytes=small_bytes, left=left)
