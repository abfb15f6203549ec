"""Smaller TFLite files from an FP32 one, each scheme of a plan, by ai-edge-quantizer."""

from __future__ import annotations

import re
from itertools import islice
from typing import TYPE_CHECKING, Any

import numpy as np

from edgeglm.artifacts import flatbuffer
from edgeglm.artifacts.calibration import Finite, in_batches_of, not_finite
from edgeglm.artifacts.checking import check_weights
from edgeglm.artifacts.masking import INFINITE, masking_operators
from edgeglm.artifacts.plan import DEFAULT_BLOCK
from edgeglm.artifacts.quiet import silenced
from edgeglm.artifacts.tflite_layout import fitted, to_file_layout

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from edgeglm.artifacts.plan import Plan
    from edgeglm.data.splits import Arrays

_SEEN = "edgeglm_seen"  # of a range that is a mean: of how many samples
_AT_ONCE = 32  # batches handed to the calibrator in one call
_EVERY = ".*"
_LONGEST_ROW = 128  # of 4-bit weights that share a scale


def quantized_bytes(
    data: bytes,
    plan: Plan,
    narrow: dict[str, int],
    masks: set[str],
    calibration: Iterable[Arrays],
    *,
    channels_last: list[str],
    signatures: Mapping[str, Mapping[str, tuple[int, ...]]],
) -> bytes:
    """Return the file, quantized.

    Args:
        data: The FP32 flatbuffer.
        plan: What each operator gets, by its scope.
        narrow: Operators that get 4-bit weights -> the block that shares a scale (see ``narrow_operators``).
        masks: Operators whose values are no range to be measured (see ``masking``).
        calibration: Batches by input name, in the network's layout; read for static INT8 alone, one at a time.
        channels_last: Inputs that the file takes as NHWC.
        signatures: Of the file, each with the shapes of its inputs; each is calibrated.

    Raises:
        ExportError: Calibration data or a range is not finite, or there is none.
    """
    with silenced():
        from ai_edge_quantizer import quantizer

        job = quantizer.Quantizer(data)
        chief, *others = plan.groups
        _configure(job, chief.scheme, _EVERY)
        for group in others:
            for scope in sorted(group.operators):
                _configure(job, group.scheme, _exactly(scope))
        for scope, block in sorted(narrow.items()):
            _four_bits(job, _exactly(scope), block)
        for scope in sorted(masks & plan.of("static-int8")):
            _configure(job, "none", _exactly(scope))
        calibrated = job.need_calibration
    ranges = None
    if calibrated:
        ranges = _ranges(data, job.get_quantization_recipe(), calibration, channels_last, signatures, plan.ranges)
    with silenced():
        return bytes(job.quantize(ranges).quantized_model)


def _exactly(scope: str) -> str:
    return f"^{re.escape(scope)}$"


def _configure(job: Any, scheme: str, scopes: str) -> None:
    """Add to a quantizer what a scheme means for the operators whose scopes match."""
    from ai_edge_quantizer import algorithm_manager, qtyping

    operator = qtyping.TFLOperationName
    names = algorithm_manager.AlgorithmName
    every = operator.ALL_SUPPORTED
    if scheme == "none":
        job.update_quantization_recipe(scopes, every, algorithm_key=names.NO_QUANTIZE)
    elif scheme == "fp16":
        half = qtyping.TensorQuantizationConfig(num_bits=16, dtype=qtyping.TensorDataType.FLOAT)
        settings = qtyping.OpQuantizationConfig(
            weight_tensor_config=half, compute_precision=qtyping.ComputePrecision.FLOAT, explicit_dequantize=False
        )
        job.update_quantization_recipe(scopes, every, settings, algorithm_key=names.FLOAT_CASTING)
    elif scheme == "dynamic-int8":
        job.add_dynamic_config(scopes, every, 8)
    elif scheme == "static-int8":
        job.add_static_config(scopes, every, 8, 8)
        job.add_dynamic_config(scopes, operator.EMBEDDING_LOOKUP, 8)  # a static recipe leaves tables in float
        for boundary in (operator.INPUT, operator.OUTPUT):  # float32 in and out
            job.update_quantization_recipe(_EVERY, boundary, algorithm_key=names.NO_QUANTIZE)
    else:
        job.add_weight_only_config(scopes, every, 8)
        job.add_dynamic_config(scopes, operator.EMBEDDING_LOOKUP, 8)  # reads one row, instead of dequantizing all


def _four_bits(job: Any, scopes: str, block: int) -> None:
    """Give 4-bit weights to operators that have a fast form of them.

    Blocks exist in the form alone that multiplies in INT8. The one that turns weights into float32 each time has one
    scale a channel, leaves XNNPACK, and makes MiniLM four times slower than float. OCTAV clips what is rare where that
    lowers the squared error: MiniLM's cosine is .960 with it and .958 without.

    Source: Sakr et al. 2022, arXiv:2206.06501 (OCTAV).
    """
    from ai_edge_quantizer import algorithm_manager, qtyping

    job.add_dynamic_config(
        scopes,
        qtyping.TFLOperationName.ALL_SUPPORTED,
        4,
        granularity=qtyping.QuantGranularity[f"BLOCKWISE_{block}" if block else "CHANNELWISE"],
        algorithm_key=algorithm_manager.AlgorithmName.OCTAV,
    )


def masking(model: Any) -> set[str]:
    """Return the scopes of operators of a float file that compute with numbers which stand for infinity."""
    found: set[str] = set()
    for graph in model.subgraphs:
        infinite = set()
        for index, tensor in enumerate(graph.tensors):
            data = flatbuffer.data_of(model, tensor) if flatbuffer.type_name(tensor) == "FLOAT32" else None
            if data and float(np.max(np.abs(np.frombuffer(data, np.float32)))) >= INFINITE:
                infinite.add(str(index))
        operators = (
            (
                flatbuffer.scope(graph, operator),
                flatbuffer.operator_name(model, operator),
                [str(index) for index in operator.inputs],
                [str(index) for index in operator.outputs],
            )
            for operator in graph.operators
        )
        found |= masking_operators(operators, infinite)
    return found


def narrow_operators(model: Any, plan: Plan) -> tuple[dict[str, int], set[str]]:
    """Return which operators get 4-bit weights, and which shall but cannot.

    Args:
        model: FP32.
        plan: What each operator gets, by its scope.

    Returns:
        Scope -> block of products and tables, 0 where a short row that no block divides is one; the others' scopes.
    """
    narrow: dict[str, int] = {}
    wide: set[str] = set()
    blocks = {
        scope: group.block_size or DEFAULT_BLOCK
        for group in plan.groups
        if group.scheme == "weight-only-int4"
        for scope in group.operators
    }
    for weights in flatbuffer.weights(model):
        if weights.scope not in blocks:
            continue
        block, length = blocks[weights.scope], weights.shape[-1]
        while length % block and block > DEFAULT_BLOCK:
            block //= 2
        if weights.operator not in ("FULLY_CONNECTED", "EMBEDDING_LOOKUP") or length % 2:
            wide.add(weights.scope)
        elif length % block == 0:
            narrow[weights.scope] = block
        elif length <= _LONGEST_ROW:
            narrow[weights.scope] = 0
        else:
            wide.add(weights.scope)
    return narrow, wide


def _mean_update(known: dict[str, Any], new: dict[str, Any]) -> dict[str, Any]:
    """Return the mean of every smallest and largest value so far; all samples count alike."""
    if not known:
        return {**new, _SEEN: 1}
    seen = known.get(_SEEN, 1) + 1
    sides = {side: known[side] + (new[side] - known[side]) / seen for side in ("min", "max")}
    return {**known, **sides, _SEEN: seen}


def _ranges(
    data: bytes,
    settings: Any,
    calibration: Iterable[Arrays],
    channels_last: list[str],
    signatures: Mapping[str, Mapping[str, tuple[int, ...]]],
    kind: str | None,
) -> Any:
    """Return smallest and largest value of every tensor over all samples, or (``kind`` mean) the mean of each sample's.

    The calibrator's default is a moving average, in which samples count less the earlier they come.
    """
    with silenced():
        from ai_edge_quantizer import calibrator, recipe_manager
        from ai_edge_quantizer.utils import qsv_utils

        manager = recipe_manager.RecipeManager()
        manager.load_quantization_recipe(settings)
        update = _mean_update if kind == "mean" else qsv_utils.min_max_update
        watcher = calibrator.Calibrator(data, num_threads=1, qsv_update_func=update)
    batches: Iterable[Arrays] = Finite(calibration)
    if len(signatures) > 1:  # they are read once for each
        batches = list(batches)
    for key, shapes in signatures.items():
        rows = min((shape[0] for shape in shapes.values() if shape), default=1)
        fed = (fitted(to_file_layout(batch, channels_last), shapes) for batch in in_batches_of(rows, batches))
        while some := list(islice(fed, _AT_ONCE)):
            with silenced():
                watcher.calibrate({key: some}, manager)
    ranges = watcher.get_model_qsvs()
    for tensor, values in ranges.items():
        values.pop(_SEEN, None)
        if not all(np.isfinite(values[side]).all() for side in ("min", "max") if side in values):
            raise not_finite(tensor, tensor.rpartition("/")[0])
    return ranges


def weight_warnings(model: Any, plan: Plan, weighted: set[str], wide: set[str]) -> list[str]:
    """Return warnings about weights that are larger than their scheme says.

    Args:
        model: Quantized.
        plan: What each operator got.
        weighted: Scopes of operators with weights, in the float file.
        wide: Those that have 8-bit weights instead of 4-bit ones.

    Raises:
        ExportError: ``quantized-nothing``: a scheme changed no weight.
    """
    scheme = plan.groups[0].scheme
    found = flatbuffer.weights(model)
    floats = {weights.scope for weights in found if weights.type == "FLOAT32"}
    plan.check(weighted, large=floats | wide)
    wanted = {"fp16": "FLOAT16", "weight-only-int4": "INT4"}.get(scheme, "INT8")
    left = floats - plan.of("none")
    return check_weights(
        scheme,
        small_bytes=sum(weights.size_bytes for weights in found if weights.type == wanted),
        left=list(dict.fromkeys(_layer(scope) for scope in sorted(left))),  # once, of however many signatures
        wide=list(dict.fromkeys(_layer(scope) for scope in sorted(wide))),
    )


def _layer(scope: str) -> str:
    return scope.rstrip(";").rpartition("/")[0] or scope.rstrip(";")
