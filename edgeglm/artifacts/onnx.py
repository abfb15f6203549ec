"""ONNX artifacts: export from torch, quantize from the FP32 file; what is written was loaded and run."""

from __future__ import annotations

from typing import TYPE_CHECKING

from edgeglm_agent.wire import TensorSpec

from edgeglm.artifacts.built import ONE_ROW, Built, Calls, layout
from edgeglm.artifacts.calibration import in_batches_of, peek
from edgeglm.artifacts.capability import require
from edgeglm.artifacts.onnx_versions import check_opset, lower_ir_version, read_versions
from edgeglm.errors import ExportError
from edgeglm.files import copy_file, replacing, storage_errors

LEAST_OPSET = 14  # from here on there are scales a channel (13) and a Relu of integers (14)

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

    from edgeglm.boards import Board
    from edgeglm.data.splits import Arrays
    from edgeglm.model import Model
    from edgeglm.recipe.types import Quantize


def export_float(model: Model, sample: Arrays, path: Path, *, board: Board, calls: Calls = ONE_ROW) -> Built:
    """Write a torch network as a stripped FP32 ONNX file with a dynamic batch axis.

    Args:
        model: In eval mode, on the CPU.
        sample: Some preprocessed rows, (N, ...) each, by input name.
        path: Where the file goes; renamed into place once it has been loaded and run.
        board: Caps the opset and the IR version.
        calls: With buckets, the length of sequences is dynamic too.

    Raises:
        ExportError: The network cannot be written, or the file does not compute what the network does.
        MissingExtraError: A package for ONNX is not installed.
        StorageError: The disk is full.
    """
    require("onnx")
    from edgeglm.artifacts.onnx_export import write_float

    checked = write_float(model, sample, path, board=board, buckets=calls.buckets)
    inputs, outputs = _in_model_layout(_free_lengths(model.inputs, calls)), _in_model_layout(model.outputs)
    return Built(path, "onnx", "none", inputs, outputs, None, warnings=checked.warnings, buckets=calls.buckets)


def quantize(source: Path, path: Path, quantization: Quantize, calibration: Iterable[Arrays], *, board: Board) -> Built:
    """Write a quantized ONNX file from an FP32 one.

    Args:
        source: FP32; one that ``export_float`` wrote, or a user's own.
        path: Where the file goes.
        quantization: Scheme, and layers that get another or none.
        calibration: Batches of preprocessed samples by input name, read one at a time; static INT8 reads
            them all, dynamic INT8 the first one.
        board: Decides the activation type, and caps the opset.

    Raises:
        ExportError: ``already-quantized``, ``opset-too-new``, ``pattern-matches-nothing``, ``quantized-nothing``,
            ``quantized-not-finite``, ``calibration-not-finite``.
        MissingExtraError: A package for ONNX is not installed.
        StorageError: The disk is full.
    """
    require("onnx")
    from edgeglm.artifacts.checking import check_runs, named

    first, batches = peek(calibration)
    with replacing(path, synced=False) as temporary, named(path, temporary):
        if quantization.scheme == "none":
            copy_file(source, temporary)
            found: list[str] = []
        else:
            found = _write(source, temporary, quantization, first, batches, board)
        checked = check_runs(temporary, "onnx", first, scheme=quantization.scheme)
    activation = board.activation_type if quantization.calibrated else ""
    warnings = [*found, *checked.warnings]
    return Built(
        path, "onnx", quantization.scheme, checked.inputs, checked.outputs, checked.batch, activation, warnings
    )


def _write(
    source: Path, path: Path, quantization: Quantize, row: Arrays | None, batches: Iterator[Arrays], board: Board
) -> list[str]:
    import onnx

    from edgeglm.artifacts.failures import quantizer_errors
    from edgeglm.artifacts.onnx_compact import compact, to_bytes
    from edgeglm.artifacts.onnx_graph import ensure_node_names, fixed_batch, layers_of
    from edgeglm.artifacts.onnx_quantize import quantize_graph
    from edgeglm.artifacts.plan import make_plan

    model = load_float(source, board)
    ensure_node_names(model)
    plan = make_plan(quantization, layers_of(model), where=str(source))
    ours = model.producer_name
    batch = fixed_batch(model)
    if batch is not None:
        row = row and next(in_batches_of(batch, [row]))
        batches = in_batches_of(batch, batches)
    with storage_errors(path), quantizer_errors(quantization.scheme):
        quantized, warnings = quantize_graph(model, plan, row, batches, board=board)
    quantized.producer_name = ours
    lower_ir_version(quantized, board, where=str(source))
    path.write_bytes(to_bytes(compact(quantized)))
    with quantizer_errors(quantization.scheme):
        onnx.checker.check_model(str(path))
    return warnings


def load_float(source: Path, board: Board) -> onnx.ModelProto:  # type: ignore[name-defined]  # noqa: F821
    """Return an FP32 model, cleaned, as it is quantized. Raises: ExportError."""
    import onnx
    import onnx.version_converter
    import onnxslim

    from edgeglm.artifacts.onnx_graph import PRODUCER
    from edgeglm.artifacts.quiet import silenced

    check_opset(source, board, where=str(source))
    try:
        model = onnx.load(source)
    except Exception as error:
        raise ExportError(
            f"not an ONNX file: {error}", where=str(source), hint="export the model again", code="file-unloadable"
        ) from error
    quantizing = {"QuantizeLinear", "DequantizeLinear", "DynamicQuantizeLinear", "QLinearConv"}
    quantizing |= {"MatMulNBits", "GatherBlockQuantized"}
    half = any(tensor.data_type == onnx.TensorProto.FLOAT16 for tensor in model.graph.initializer)
    if half or any(node.op_type in quantizing for node in model.graph.node):
        raise ExportError(
            "the file is quantized already",
            where=str(source),
            hint="give the FP32 file that it was made from",
            code="already-quantized",
        )
    if model.producer_name != PRODUCER:
        opset = read_versions(source).opset
        try:
            with silenced():
                if opset < LEAST_OPSET:
                    model = onnx.version_converter.convert_version(model, LEAST_OPSET)
                model = onnxslim.slim(model)
        except Exception as error:
            raise ExportError(
                f"the file uses ONNX opset {opset}, and cannot be brought to {LEAST_OPSET}: {error}",
                where=str(source),
                hint=f"export it again with an opset from {LEAST_OPSET} to {board.opset}",
                code="opset-too-old",
            ) from error
        model.producer_name = ""
        model.ir_version = max(model.ir_version, 7)  # the least that opset 14 goes with
    lower_ir_version(model, board, where=str(source))
    return model


def _free_lengths(specs: tuple[TensorSpec, ...], calls: Calls) -> tuple[TensorSpec, ...]:
    cut = calls.buckets.inputs if calls.buckets else ()
    return tuple(TensorSpec(s.name, s.dtype, (-1,), s.layout) if s.name in cut else s for s in specs)


def _in_model_layout(specs: tuple[TensorSpec, ...]) -> tuple[TensorSpec, ...]:
    return tuple(
        TensorSpec(spec.name, spec.dtype, spec.shape, spec.layout or layout(spec.shape, channels_last=False))
        for spec in specs
    )
