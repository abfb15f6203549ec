"""Smaller TFLite files from an FP32 one: float16, dynamic INT8 and static INT8, all by ai-edge-quantizer."""

from __future__ import annotations

import re
from itertools import islice
from typing import TYPE_CHECKING, Any

import numpy as np

from edgeglm.artifacts import flatbuffer
from edgeglm.artifacts.calibration import Finite, in_batches_of, not_finite
from edgeglm.artifacts.checking import check_weights
from edgeglm.artifacts.quiet import silenced
from edgeglm.artifacts.tflite_layout import to_file_layout

if TYPE_CHECKING:
    from collections.abc import Iterable

    from edgeglm.data import Arrays

_AT_ONCE = 32  # batches handed to the calibrator in one call


def quantized_bytes(
    data: bytes,
    scheme: str,
    ignore: set[str],
    calibration: Iterable[Arrays],
    *,
    channels_last: list[str],
    batch_size: int,
) -> bytes:
    """Return the file quantized by one scheme.

    Args:
        data: The FP32 flatbuffer.
        scheme: fp16 | dynamic-int8 | static-int8.
        ignore: Scopes of operators that stay float.
        calibration: Batches by input name, in the network's layout; read by static INT8 alone, one at a time.
        channels_last: Inputs that the file takes as NHWC.
        batch_size: Rows that the file takes at a time.

    Raises:
        ExportError: Calibration data or a range is not finite, or there is none.
    """
    with silenced():
        from ai_edge_quantizer import algorithm_manager, qtyping, quantizer, recipe

        operator = qtyping.TFLOperationName
        names = algorithm_manager.AlgorithmName
        job = quantizer.Quantizer(data)
        if scheme == "fp16":
            job.update_quantization_recipe(
                ".*",
                operator.ALL_SUPPORTED,
                qtyping.OpQuantizationConfig(
                    weight_tensor_config=qtyping.TensorQuantizationConfig(
                        num_bits=16, dtype=qtyping.TensorDataType.FLOAT
                    ),
                    compute_precision=qtyping.ComputePrecision.FLOAT,
                    explicit_dequantize=False,
                ),
                algorithm_key=names.FLOAT_CASTING,
            )
        elif scheme == "dynamic-int8":
            job.load_quantization_recipe(recipe.dynamic_wi8_afp32())
        else:
            job.load_quantization_recipe(recipe.static_wi8_ai8())
            job.add_dynamic_config(".*", operator.EMBEDDING_LOOKUP, 8)  # a static recipe leaves tables in float
            for boundary in (operator.INPUT, operator.OUTPUT):  # float32 in and out
                job.update_quantization_recipe(".*", boundary, algorithm_key=names.NO_QUANTIZE)
        for scope in sorted(ignore):
            job.update_quantization_recipe(
                f"^{re.escape(scope)}$", operator.ALL_SUPPORTED, algorithm_key=names.NO_QUANTIZE
            )
    ranges = None
    if scheme == "static-int8":
        ranges = _ranges(data, job.get_quantization_recipe(), calibration, channels_last, batch_size)
    with silenced():
        return bytes(job.quantize(ranges).quantized_model)


def _ranges(
    data: bytes, settings: Any, calibration: Iterable[Arrays], channels_last: list[str], batch_size: int
) -> Any:
    """Return smallest and largest value of every tensor over all samples.

    The calibrator's default is a moving average, which clips what is rare: logits of a class seen late.
    """
    with silenced():
        from ai_edge_quantizer import calibrator, recipe_manager
        from ai_edge_quantizer.utils import qsv_utils

        manager = recipe_manager.RecipeManager()
        manager.load_quantization_recipe(settings)
        watcher = calibrator.Calibrator(data, num_threads=1, qsv_update_func=qsv_utils.min_max_update)
        signature = watcher.get_signature_list()
    key = next(iter(signature))
    fed = (to_file_layout(batch, channels_last) for batch in in_batches_of(batch_size, Finite(calibration)))
    while some := list(islice(fed, _AT_ONCE)):
        with silenced():
            watcher.calibrate({key: some}, manager)
    ranges = watcher.get_model_qsvs()
    for tensor, values in ranges.items():
        if not all(np.isfinite(values[side]).all() for side in ("min", "max") if side in values):
            raise not_finite(tensor, tensor.rpartition("/")[0])
    return ranges


def weight_warnings(model: Any, scheme: str, ignore: set[str]) -> list[str]:
    """Return warnings about weights that are float32 still. Raises: ExportError when all of them are."""
    small_bytes = flatbuffer.weight_types(model).get("FLOAT16" if scheme == "fp16" else "INT8", 0)
    left = sorted({name for name in flatbuffer.float_weights(model) if name not in ignore})
    layers = [name.rstrip(";").rpartition("/")[0] or name.rstrip(";") for name in left]
    return check_weights(scheme, small_bytes=small_bytes, left=layers)
