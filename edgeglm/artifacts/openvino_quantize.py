"""Smaller OpenVINO graphs from an FP32 one: float16 weights, static INT8 and compressed weights, by nncf."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

from edgeglm.artifacts import openvino_ir
from edgeglm.artifacts.calibration import Finite, in_batches_of
from edgeglm.artifacts.checking import check_weights
from edgeglm.artifacts.plan import DEFAULT_BLOCK
from edgeglm.artifacts.quiet import silenced
from edgeglm.host import cpu_features, has_fast_int8
from edgeglm.measure.openvino_census import OpenVinoGraph

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

    from edgeglm.artifacts.plan import Plan
    from edgeglm.data.splits import Arrays

_SMALL = {
    "fp16": ("float16",),
    "static-int8": ("int8",),
    "weight-only-int8": ("uint8",),
    "weight-only-int4": ("uint4",),
}
_ATTENTION = {"Softmax", "ScaledDotProductAttention"}


def quantize_graph(model: Any, plan: Plan, calibration: Iterable[Arrays], *, samples: int) -> tuple[Any, list[str]]:
    """Return a graph whose operators are quantized by a plan, and warnings; the one given may be changed.

    Args:
        model: FP32, an ``openvino.Model`` of a fixed batch.
        plan: What is to be done with each operator.
        calibration: Batches by input name; gone through from the start several times, by static INT8 alone.
        samples: Rows of it at most.

    Raises:
        ExportError: Calibration data is not finite, or there is none.
    """
    warnings: list[str] = []
    if plan.has("fp16"):
        to_float16(model, plan.of("none"))
    if plan.of("static-int8"):
        ignore = plan.but("static-int8")
        model, warnings = to_static_int8(model, ignore, calibration, samples=samples, ranges=plan.ranges)
    for group in plan.groups:
        if group.scheme.startswith("weight-only-") and group.operators:
            others = {name for other in plan.groups if other is not group for name in other.operators}
            model = compress(model, others, group.scheme, group.block_size or DEFAULT_BLOCK)
    return model, warnings


def nncf() -> Any:
    """Import nncf with its telemetry off and its log at errors."""
    openvino_ir.openvino()  # blocks the telemetry of both
    with silenced():
        import nncf as library

        library.set_log_level(logging.ERROR)
    return library


def to_float16(model: Any, ignore: set[str]) -> None:
    """Store the weights of a graph as float16, unpacked to float32 as it is loaded; in place.

    Weights that float16 cannot hold stay float32: OpenVINO leaves out constants with values beyond its range.

    Args:
        model: FP32, an ``openvino.Model``.
        ignore: Operators whose weights stay float32.
    """
    ov = openvino_ir.openvino()
    from openvino._offline_transformations import compress_model_transformation

    kept = [
        (entry, entry.get_source_output().get_node())
        for operator in model.get_ordered_ops()
        if operator.get_friendly_name() in ignore
        for entry in operator.inputs()
        if entry.get_source_output().get_node().get_type_name() == "Constant"
    ]
    copies = [(entry, ov.op.Constant(constant.data)) for entry, constant in kept]
    compress_model_transformation(model)
    for entry, constant in copies:
        entry.replace_source_output(constant.output(0))


def to_static_int8(
    model: Any, ignore: set[str], calibration: Iterable[Arrays], *, samples: int, ranges: str | None = None
) -> tuple[Any, list[str]]:
    """Return the graph with INT8 weights and activations, and warnings.

    Ranges come from the calibration data, biases are corrected by it; where the graph holds attention, activations
    with outliers are smoothed first.

    Args:
        model: FP32, an ``openvino.Model``.
        ignore: Operators that stay float.
        calibration: Batches by input name; gone through from the start several times.
        samples: Rows of it at most.
        ranges: extremes | mean. None: the mean where the graph holds attention, else the extremes: of vectors, one a
            sample, nncf's own choice, the mean, cuts off most of what the inputs reach.

    Raises:
        ExportError: Calibration data is not finite, or there is none.

    Source: Jacob et al. 2018, arXiv:1712.05877; SmoothQuant: Xiao et al. 2023, arXiv:2211.10438; fast bias
    correction: Nagel et al. 2019, arXiv:1906.04721, section 4.2.
    """
    library = nncf()
    fast = has_fast_int8(cpu_features(), "x86_64")
    overflow = library.OverflowFix.DISABLE if fast else library.OverflowFix.ENABLE
    warnings = [] if fast else ["7-bit weights: this x86 CPU has no VNNI, and 8-bit products would saturate"]
    transformer = any(operator.get_type_name() in _ATTENTION for operator in model.get_ops())
    batch = min(int(port.shape[0]) for port in model.inputs)
    rows = Rows(calibration, batch)
    known = library.quantization.range_estimator.RangeEstimatorParametersSet
    mean = ranges == "mean" or (ranges is None and transformer)
    with silenced():
        quantized = library.quantize(
            model,
            library.Dataset(rows),
            preset=library.QuantizationPreset.MIXED,
            target_device=library.TargetDevice.CPU,
            subset_size=-(-samples // batch),
            model_type=library.ModelType.TRANSFORMER if transformer else None,
            ignored_scope=library.IgnoredScope(names=sorted(ignore)),
            advanced_parameters=library.AdvancedQuantizationParameters(
                overflow_fix=overflow,
                activations_range_estimator_params=known.MEAN_MINMAX if mean else known.MINMAX,
            ),
        )
    return quantized, warnings


def compress(model: Any, ignore: set[str], scheme: str, block_size: int) -> Any:
    """Return the graph with 8-bit weights, one scale a channel, or 4-bit ones, one scale a block; tables included.

    Both have zero points, which on MiniLM is nearer to float than without: mean cosine .9993 instead of .9992, and
    .969 instead of .961. Where no 4-bit block of 32 divides the rows, and in convolutions, weights get 8 bits.

    Args:
        model: An ``openvino.Model``; what is quantized in it already stays as it is.
        ignore: Operators that stay as they are.
        scheme: weight-only-int8 | weight-only-int4.
        block_size: 4-bit weights of a row that share a scale; half as many again and again, to 32, where that many do
            not divide the row.
    """
    library = nncf()
    mode = library.CompressWeightsMode
    scope = library.IgnoredScope(names=sorted(ignore))
    with silenced():
        if scheme == "weight-only-int8":
            return library.compress_weights(model, mode=mode.INT8_ASYM, ignored_scope=scope)
        fallback = library.GroupSizeFallbackMode.ADJUST
        return library.compress_weights(
            model,
            mode=mode.INT4_ASYM,
            group_size=block_size,
            ratio=1.0,
            all_layers=True,  # tables and the last product too
            ignored_scope=scope,
            advanced_parameters=library.AdvancedCompressionParameters(group_size_fallback_mode=fallback),
        )


class Rows:
    """Calibration data in batches that a graph takes, from the start each time it is gone through."""

    def __init__(self, batches: Iterable[Arrays], batch: int) -> None:
        self._batches = batches
        self._batch = batch

    def __iter__(self) -> Iterator[Arrays]:
        yield from in_batches_of(self._batch, Finite(self._batches))


def weight_warnings(path: Path, scheme: str, plan: Plan) -> list[str]:
    """Return warnings about weights that are larger than their scheme says.

    Raises:
        ExportError: ``quantized-nothing``: all of them are, or all that an entry of `layers` matches.
    """
    graph = OpenVinoGraph(path)
    sizes, weighted = graph.weight_dtypes(), graph.weighted()
    narrow = plan.of("weight-only-int4")
    left = {name for name in plan.but("none") if weighted.get(name) == "f32"}
    wide = {name for name in narrow if weighted.get(name) in ("i8", "u8")}
    warnings = check_weights(
        scheme,
        small_bytes=sum(sizes.get(kind, 0) for kind in _SMALL[scheme]),
        left=[openvino_ir.node_name(name) for name in weighted if name in left],
        wide=[openvino_ir.node_name(name) for name in weighted if name in wide],
    )
    plan.check(weighted, large=left | wide)
    return warnings
