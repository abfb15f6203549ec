"""OpenVINO artifacts for x86: convert from the FP32 ONNX file, quantize by nncf; what is written was loaded and run."""

from __future__ import annotations

from typing import TYPE_CHECKING

from edgeglm.artifacts.built import Built
from edgeglm.artifacts.calibration import peek
from edgeglm.artifacts.capability import require

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from edgeglm.boards import Board
    from edgeglm.data.splits import Arrays
    from edgeglm.recipe.types import Quantize


def convert_float(source: Path, path: Path, inputs: Arrays, *, batch: int = 1) -> Built:
    """Write an FP32 ONNX file as OpenVINO IR.

    Args:
        source: One that ``onnx.export_float`` wrote, or a user's own.
        path: An .xml; renamed into place, its .bin first, once it has been loaded and run.
        inputs: Some rows as the ONNX file takes them, by name.
        batch: Rows at a time, where the ONNX file takes any number.

    Raises:
        ExportError: OpenVINO cannot convert it, or the result computes something else.
        MissingExtraError: A package for OpenVINO is not installed.
        StorageError: The disk is full.
    """
    require("openvino")
    from edgeglm.artifacts.openvino_export import write_float

    checked = write_float(source, path, inputs, batch=batch)
    return Built(path, "openvino", "none", checked.inputs, checked.outputs, checked.batch, warnings=checked.warnings)


def quantize(
    source: Path,
    path: Path,
    quantization: Quantize,
    calibration: Iterable[Arrays],
    *,
    board: Board,  # noqa: ARG001 - every format has this signature
) -> Built:
    """Write a quantized IR file from an FP32 one.

    Args:
        source: One that ``convert_float`` wrote.
        path: An .xml; its .bin goes beside it.
        quantization: Scheme, and layers that get another or none.
        calibration: Batches of preprocessed samples by input name; static INT8 goes through them several times.
        board: Not looked at: there is one target.

    Raises:
        ExportError: ``pattern-matches-nothing``, ``quantized-nothing``, ``quantized-not-finite``,
            ``calibration-not-finite``, ``calibration-empty``.
        MissingExtraError: A package for OpenVINO is not installed.
        StorageError: The disk is full.
    """
    require("openvino")
    from edgeglm.artifacts import openvino_ir, openvino_quantize
    from edgeglm.artifacts.checking import check_runs, named
    from edgeglm.artifacts.failures import quantizer_errors
    from edgeglm.artifacts.plan import make_plan

    scheme = quantization.scheme
    model = openvino_ir.read(source)
    layers = openvino_ir.layers_of(model)
    plan = make_plan(quantization, layers, where=str(source))
    name = model.get_friendly_name()
    batches = list(calibration) if iter(calibration) is calibration else calibration  # a generator can be read once
    row, _ = peek(batches)
    with openvino_ir.replacing_both(path) as temporary, named(path, temporary):
        with quantizer_errors(scheme):
            model, warnings = openvino_quantize.quantize_graph(
                model, plan, batches, samples=quantization.calibration_samples
            )
            openvino_ir.write(model, temporary, names=set(layers), name=name, share=True)
        if scheme != "none":
            warnings += openvino_quantize.weight_warnings(temporary, scheme, plan)
        checked = check_runs(temporary, "openvino", row, scheme=scheme)
    warnings += checked.warnings
    return Built(path, "openvino", scheme, checked.inputs, checked.outputs, checked.batch, warnings=warnings)
