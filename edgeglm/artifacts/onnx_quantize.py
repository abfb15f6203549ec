"""A smaller ONNX graph from an FP32 one: each scheme of a plan, one after the other."""

from __future__ import annotations

import tempfile
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING

from edgeglm.artifacts.built import SLOW_CONVOLUTIONS
from edgeglm.artifacts.checking import check_weights
from edgeglm.artifacts.onnx_dynamic import to_dynamic_int8
from edgeglm.artifacts.onnx_float16 import to_float16
from edgeglm.artifacts.onnx_graph import fixed_batch, float_weights, weight_types
from edgeglm.artifacts.onnx_smoothing import SAMPLES, smooth
from edgeglm.artifacts.onnx_static import to_static_int8
from edgeglm.artifacts.onnx_weights import SCHEMES as WEIGHT_ONLY
from edgeglm.artifacts.onnx_weights import quantize_weights
from edgeglm.host import cpu_features, has_fast_int8

if TYPE_CHECKING:
    from collections.abc import Iterator

    import onnx

    from edgeglm.artifacts.plan import Plan
    from edgeglm.boards import Board
    from edgeglm.data.splits import Arrays


def quantize_graph(
    model: onnx.ModelProto, plan: Plan, row: Arrays | None, batches: Iterator[Arrays], *, board: Board
) -> tuple[onnx.ModelProto, list[str]]:
    """Return the model, quantized, and warnings.

    Args:
        model: FP32, every node with a name; changed.
        plan: What each node gets.
        row: One real sample; None: there is none.
        batches: Calibration samples. Static INT8 reads them all, dynamic INT8 the first ones.
        board: Decides the activation type of static INT8.

    Raises:
        ExportError: ``quantized-nothing``, ``fp16-overflow``, ``calibration-not-finite``, ``calibration-empty``.
    """
    scheme = plan.groups[0].scheme
    weighted = float_weights(model)
    convolutions = {node.name for node in model.graph.node if node.op_type == "Conv"}
    warnings: list[str] = []
    wide: set[str] = set()
    first = next(batches, None) if plan.has("dynamic-int8") else None
    runs = _runs(first, fixed_batch(model)) if first is not None else []
    batches = batches if first is None else chain([first], batches)
    with tempfile.TemporaryDirectory(prefix="edgeglm-onnx-") as folder:
        scratch = Path(folder) / "quantized.onnx"
        if scheme == "fp16":
            model = to_float16(model, plan.of("none"), row)
        if plan.has("static-int8"):
            reduce_range = board.activation_type == "uint8" and not has_fast_int8(cpu_features(), "x86_64")
            if reduce_range:
                warnings.append("7-bit weights: this x86 CPU has no VNNI, and 8-bit products would saturate")
            ignore = plan.but("static-int8")
            model = to_static_int8(
                model, ignore, batches, scratch, board=board, reduce_range=reduce_range, ranges=plan.ranges
            )
        if plan.has("dynamic-int8"):
            if convolutions & plan.of("dynamic-int8"):
                warnings.append(SLOW_CONVOLUTIONS)
            ignore = plan.but("dynamic-int8")
            smooth(model, ignore, runs)
            model = to_dynamic_int8(model, ignore, scratch)
        if plan.has(*WEIGHT_ONLY):  # last: the other quantizers know none of its operators
            wide = quantize_weights(model, plan)
    left = float_weights(model)
    plan.check(weighted, large={*left, *wide})
    sizes = weight_types(model)
    small = ("float16",) if scheme == "fp16" else ("uint4",) if scheme == "weight-only-int4" else ("int8", "uint8")
    small_bytes = sum(sizes.get(name, 0) for name in small)
    ignored = plan.of("none")
    warnings += check_weights(
        scheme, small_bytes=small_bytes, left=[name for name in left if name not in ignored], wide=sorted(wide)
    )
    return model, warnings


def _runs(first: Arrays, batch: int | None) -> list[Arrays]:
    """Return samples one by one, as a file that takes any batch is served; else in batches as the file takes them."""
    size = batch or 1
    rows = len(next(iter(first.values())))
    starts = range(0, min(rows, SAMPLES), size)
    return [{name: values[start : start + size] for name, values in first.items()} for start in starts]
