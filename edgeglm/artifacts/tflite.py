"""TFLite artifacts: export from torch, quantize from the FP32 flatbuffer; what is written was loaded and run."""

from __future__ import annotations

from typing import TYPE_CHECKING

from edgeglm_agent.wire import TensorSpec

from edgeglm.artifacts.built import ONE_ROW, SLOW_DEPTHWISE, Built, Calls, layout
from edgeglm.artifacts.calibration import Kept, peek
from edgeglm.artifacts.capability import require
from edgeglm.errors import ExportError
from edgeglm.files import copy_file, replacing

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

    from edgeglm.boards import Board
    from edgeglm.data.splits import Arrays
    from edgeglm.model import Model
    from edgeglm.recipe.types import Quantize


def export_float(
    model: Model,
    sample: Arrays,
    path: Path,
    *,
    board: Board,  # noqa: ARG001 - one file suits all
    calls: Calls = ONE_ROW,
) -> Built:
    """Write a torch network as an FP32 TFLite file: NHWC for inputs of four axes, a signature for each way to call it.

    Args:
        model: In eval mode, on the CPU.
        sample: Some preprocessed rows, (N, ...) each, by input name, in the network's layout.
        path: Where the file goes; renamed into place once it has been loaded and run.
        board: Not looked at: every board runs the same LiteRT.
        calls: Batch sizes and lengths; their signatures share the weights.

    Raises:
        ExportError: The network cannot be written, or the file does not compute what the network does.
        MissingExtraError: A package for TFLite is not installed.
        StorageError: The disk is full.
    """
    require("tflite")
    from edgeglm.artifacts.tflite_export import write_float

    checked = write_float(model, sample, path, calls)
    last = [spec.name for spec in model.inputs if len(spec.shape) == 3]
    inputs, outputs = _with_layout(checked.inputs, last), _with_layout(checked.outputs, [])
    return Built(
        path, "tflite", "none", inputs, outputs, checked.batch, warnings=checked.warnings, buckets=calls.buckets
    )


def quantize(
    source: Path,
    path: Path,
    quantization: Quantize,
    calibration: Iterable[Arrays],
    *,
    board: Board,  # noqa: ARG001 - every format has this signature
) -> Built:
    """Write a quantized TFLite file from an FP32 one.

    Args:
        source: FP32; one that ``export_float`` wrote, or a user's own.
        path: Where the file goes.
        quantization: Scheme, and layers that get another or none.
        calibration: Batches of preprocessed samples by input name, in the network's layout, read one at a time.
        board: Not looked at: INT8 is signed and asymmetric in every TFLite file.

    Raises:
        ExportError: ``already-quantized``, ``pattern-matches-nothing``, ``quantized-nothing``,
            ``quantized-not-finite``, ``calibration-not-finite``.
        MissingExtraError: A package for TFLite is not installed.
        StorageError: The disk is full.
    """
    require("tflite")
    from edgeglm.artifacts import flatbuffer
    from edgeglm.artifacts.checking import check_runs, named
    from edgeglm.artifacts.tflite_layout import fitted, to_file_layout

    first, batches = peek(calibration)
    graph = flatbuffer.read(source)
    words = (graph.description or b"").decode(errors="replace").split()
    last = words[1:] if words[:1] == [flatbuffer.MARK] else []
    row = None if first is None else to_file_layout(first, last)
    warnings: list[str] = []
    layers: list[str] = []
    with replacing(path, synced=False) as temporary, named(path, temporary):
        if quantization.scheme == "none":
            copy_file(source, temporary)
        else:
            warnings, layers = _write(source, temporary, quantization, batches, last)
        given = [None if row is None else fitted(row, shapes) for shapes in flatbuffer.signatures(graph).values()]
        checked = check_runs(temporary, "tflite", *(given or [row]), scheme=quantization.scheme, layers=layers)
    activation = "int8" if quantization.calibrated else ""
    inputs, outputs = checked.inputs, checked.outputs
    if words[:1] == [flatbuffer.MARK]:  # else what the shapes tell is all that is known
        inputs, outputs = _with_layout(inputs, last), _with_layout(outputs, [])
    warnings += checked.warnings
    return Built(path, "tflite", quantization.scheme, inputs, outputs, checked.batch, activation, warnings)


def _write(
    source: Path, path: Path, quantization: Quantize, batches: Iterator[Arrays], channels_last: list[str]
) -> tuple[list[str], list[str]]:
    """Write the quantized file; return warnings, and the layer of each of its operators."""
    from edgeglm.artifacts import flatbuffer, tflite_bias, tflite_outputs, tflite_quantize
    from edgeglm.artifacts.bias_correction import SAMPLES
    from edgeglm.artifacts.failures import quantizer_errors
    from edgeglm.artifacts.plan import make_plan

    graph = flatbuffer.read(source)
    if flatbuffer.is_quantized(graph):
        raise ExportError(
            "the file is quantized already",
            where=str(source),
            hint="give the FP32 file that it was made from",
            code="already-quantized",
        )
    plan = make_plan(quantization, flatbuffer.layers_of(graph), where=str(source))
    weights, masks = flatbuffer.weights(graph), tflite_quantize.masking(graph)
    narrow, wide = tflite_quantize.narrow_operators(graph, plan)
    warnings: list[str] = []
    dynamic = plan.of("dynamic-int8")
    if any(entry.operator == "DEPTHWISE_CONV_2D" and entry.scope in dynamic for entry in weights):
        warnings.append(SLOW_DEPTHWISE)
    flatbuffer.modernise(graph)
    outputs = tflite_outputs.take_off_inner(graph)
    content = flatbuffer.to_bytes(graph)
    signatures = flatbuffer.signatures(graph)
    kept = Kept(batches, SAMPLES)
    with quantizer_errors(quantization.scheme):
        data = tflite_quantize.quantized_bytes(
            content,
            plan,
            narrow,
            masks,
            kept,
            channels_last=channels_last,
            signatures=signatures,
        )
    if len(signatures) == 1 and plan.of("static-int8"):
        data = tflite_bias.corrected(content, data, tflite_bias.rows_of(kept, channels_last, *signatures.values()))
    path.write_bytes(data)
    quantized = flatbuffer.read(path)
    tflite_outputs.put_back(quantized, outputs)
    weighted = {entry.scope for entry in weights}
    warnings += tflite_quantize.weight_warnings(quantized, plan, weighted, wide)
    layers = flatbuffer.operator_layers(quantized)
    flatbuffer.drop_names(quantized)
    flatbuffer.strip(quantized)
    path.write_bytes(flatbuffer.to_bytes(quantized))
    return warnings, layers


def _with_layout(specs: tuple[TensorSpec, ...], channels_last: list[str]) -> tuple[TensorSpec, ...]:
    return tuple(
        TensorSpec(s.name, s.dtype, s.shape, layout(s.shape, channels_last=s.name in channels_last)) for s in specs
    )
