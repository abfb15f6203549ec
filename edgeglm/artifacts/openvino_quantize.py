"""Smaller OpenVINO graphs from an FP32 one: float16 weights, static INT8 by nncf."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

from edgeglm.artifacts import openvino_ir
from edgeglm.artifacts.calibration import Finite, in_batches_of
from edgeglm.artifacts.checking import check_weights
from edgeglm.artifacts.quiet import silenced
from edgeglm.host import cpu_features, has_fast_int8
from edgeglm.measure.openvino_census import OpenVinoGraph

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

    from edgeglm.data import Arrays

_SMALL = {"fp16": ("float16",), "static-int8": ("int8", "uint8")}
_ATTENTION = {"Softmax", "ScaledDotProductAttention"}


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
    model: Any, ignore: set[str], calibration: Iterable[Arrays], *, samples: int, batch: int
) -> tuple[Any, list[str]]:
    """Return the graph with INT8 weights and activations, and warnings.

    Ranges come from the calibration data, biases are corrected by it; where the graph holds attention, activations
    with outliers are smoothed first.

    Args:
        model: FP32, an ``openvino.Model``.
        ignore: Operators that stay float.
        calibration: Batches by input name; gone through from the start several times.
        samples: Rows of it at most.
        batch: Rows that the graph takes at a time.

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
    rows = Rows(calibration, batch)
    with silenced():
        quantized = library.quantize(
            model,
            library.Dataset(rows),
            preset=library.QuantizationPreset.MIXED,
            target_device=library.TargetDevice.CPU,
            subset_size=-(-samples // batch),
            model_type=library.ModelType.TRANSFORMER if transformer else None,
            ignored_scope=library.IgnoredScope(names=sorted(ignore)),
            advanced_parameters=library.AdvancedQuantizationParameters(overflow_fix=overflow),
        )
    return quantized, warnings


class Rows:
    """Calibration data in batches that a graph takes, from the start each time it is gone through."""

    def __init__(self, batches: Iterable[Arrays], batch: int) -> None:
        self._batches = batches
        self._batch = batch

    def __iter__(self) -> Iterator[Arrays]:
        yield from in_batches_of(self._batch, Finite(self._batches))


def weight_warnings(path: Path, scheme: str, ignore: set[str]) -> list[str]:
    """Return warnings about weights that are float32 still. Raises: ExportError when all of them are."""
    graph = OpenVinoGraph(path)
    sizes = graph.weight_dtypes()
    weighted = graph.weighted().items()
    left = [openvino_ir.node_name(name) for name, kind in weighted if kind == "f32" and name not in ignore]
    return check_weights(scheme, small_bytes=sum(sizes.get(name, 0) for name in _SMALL[scheme]), left=left)
