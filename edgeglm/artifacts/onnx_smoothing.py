"""Outlier channels moved from a LayerNormalization's output into the weights behind it, ahead of dynamic INT8.

Dynamic INT8 gives the whole input of a product one scale. In transformers a few channels behind a LayerNormalization
are ten times as large as the rest, and leave the rest few of the 256 steps. The channels are divided by factors, which
go into scale and bias of the normalization, and the rows of the weights, which have a scale for each column, are
multiplied by them. Factors are powers of two, so no float is rounded: the float network computes the same bits. Whoever
else reads the output, a residual sum, gets it multiplied back by one small Mul.

Source: Xiao et al. 2023, SmoothQuant, arXiv:2211.10438, section 4; factors by equation 4.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import onnx
from onnx import helper, numpy_helper

from edgeglm.artifacts.onnx_graph import reads, remove_unused_constants

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from edgeglm.data.splits import Arrays

SAMPLES = 8  # runs that ranges and errors are measured on
_STRENGTHS = (0.5, 0.65, 0.8)  # how much of a channel's range goes into the weights
_WORTH = 0.9  # of the error as it was: a Mul is not added for less
_COLUMNS = 256  # of the products that errors are measured on, at most
_LEAST, _MOST = 2.0**-10, 2.0**10  # factors


@dataclass(frozen=True)
class _Place:
    """A LayerNormalization and the products that read it."""

    norm: onnx.NodeProto
    products: tuple[onnx.NodeProto, ...]

    @property
    def name(self) -> str:
        """The value between them."""
        return str(self.norm.output[0])


def smooth(model: onnx.ModelProto, ignore: set[str], runs: Sequence[Arrays]) -> list[str]:
    """Move outlier channels into weights where that makes the products' error on the samples smaller.

    Args:
        model: FP32; changed. What it computes in float stays the same.
        ignore: Names of nodes that stay as they are.
        runs: What the network is run on, one entry a run, by input name: each run has ranges of its own, as when it
            will be served. None: nothing is changed.

    Returns:
        Names of the normalizations that were changed.
    """
    places = _find(model, ignore)
    if not places or not runs:
        return []
    constants = {tensor.name: tensor for tensor in model.graph.initializer}
    values = _values(model, [place.name for place in places], runs)
    changed = []
    for place in places:
        weights = np.concatenate([_rows(product, constants) for product in place.products], axis=1)
        factors = best_factors(values[place.name], weights)
        if factors is not None:
            _apply(model, place, factors, constants)
            changed.append(str(place.norm.name))
    remove_unused_constants(model.graph)
    return changed


def best_factors(runs: Sequence[np.ndarray], weights: np.ndarray) -> np.ndarray | None:
    """Return the factors that channels are divided by, (channels,), or None when none is worth it.

    Args:
        runs: Inputs of the product in each run, (rows, channels) float32.
        weights: (channels, columns) float32.
    """
    ranges, rows = np.max([np.abs(run).max(axis=0) for run in runs], axis=0), np.abs(weights).max(axis=1)
    if not (np.isfinite(ranges).all() and np.isfinite(rows).all()):
        return None
    alive = (ranges > 0) & (rows > 0)
    if not alive.any():
        return None
    some = weights[:, :: -(-weights.shape[1] // _COLUMNS)]
    exact = np.concatenate(runs) @ some
    limit = _WORTH * _error(runs, some, np.ones(len(weights), np.float32), exact)
    best = None
    for strength in _STRENGTHS:
        logs = np.zeros(len(weights))
        logs[alive] = strength * np.log2(ranges[alive]) - (1 - strength) * np.log2(rows[alive])
        logs[alive] -= np.median(logs[alive])
        factors = np.clip(np.exp2(np.rint(logs)), _LEAST, _MOST).astype(np.float32)
        error = _error(runs, some, factors, exact)
        if error < limit:
            best, limit = factors, error
    return best


def _error(runs: Sequence[np.ndarray], weights: np.ndarray, factors: np.ndarray, exact: np.ndarray) -> float:
    """Return the sum of squared errors of the product as the runtime quantizes it."""
    scaled = weights * factors[:, None]
    steps = np.maximum(np.abs(scaled).max(axis=0), np.finfo(np.float32).tiny) / 127  # one a column
    rounded = np.rint(scaled / steps) * steps
    difference = (np.concatenate([_as_bytes(run / factors) for run in runs]) @ rounded - exact).ravel()
    return float(np.dot(difference, difference))


def _as_bytes(values: np.ndarray) -> np.ndarray:
    """Return what DynamicQuantizeLinear makes of a tensor: 256 steps from its least value, or 0, to its largest."""
    low, high = min(float(values.min()), 0.0), max(float(values.max()), 0.0)
    step = np.float32((high - low) / 255 or 1.0)
    zero = np.rint(np.float32(-low) / step)
    held: np.ndarray = (np.clip(np.rint(values / step) + zero, 0, 255) - zero) * step
    return held


def _find(model: onnx.ModelProto, ignore: set[str]) -> list[_Place]:
    graph = model.graph
    constants = {tensor.name: tensor for tensor in graph.initializer}
    users: dict[str, list[onnx.NodeProto]] = {}
    for node in graph.node:
        for name in set(reads(node)):
            users.setdefault(name, []).append(node)
    places = []
    for node in graph.node:
        if node.op_type != "LayerNormalization" or node.name in ignore or any(node.output[1:]):
            continue
        given = [constants.get(name) for name in node.input[1:] if name]
        if any(tensor is None or not _is_float(tensor, 1) for tensor in given):
            continue
        products = [user for user in users.get(node.output[0], []) if _is_product(user, node.output[0], constants)]
        products = [user for user in products if user.name not in ignore]
        channels = {_rows(product, constants).shape[0] for product in products}
        if channels == {given[0].dims[0]}:  # type: ignore[union-attr]
            places.append(_Place(node, tuple(products)))
    return places


def _is_product(node: onnx.NodeProto, name: str, constants: Mapping[str, onnx.TensorProto]) -> bool:
    if node.op_type not in {"MatMul", "Gemm"} or node.input[0] != name or name in node.input[1:]:
        return False
    turned = any(a.name == "transA" and a.i for a in node.attribute)
    return node.input[1] in constants and _is_float(constants[node.input[1]], 2) and not turned


def _is_float(tensor: onnx.TensorProto, rank: int) -> bool:
    return tensor.data_type == onnx.TensorProto.FLOAT and len(tensor.dims) == rank


def _is_turned(product: onnx.NodeProto) -> bool:
    return any(a.name == "transB" and a.i for a in product.attribute)


def _rows(product: onnx.NodeProto, constants: Mapping[str, onnx.TensorProto]) -> np.ndarray:
    """Return the weights of a product, (channels, columns)."""
    weights: np.ndarray = numpy_helper.to_array(constants[product.input[1]])
    return weights.T if _is_turned(product) else weights


def _values(model: onnx.ModelProto, names: Sequence[str], runs: Sequence[Arrays]) -> dict[str, list[np.ndarray]]:
    """Return what these values hold in each run, (rows, channels)."""
    import onnxruntime

    watched = onnx.ModelProto()
    watched.CopyFrom(model)
    del watched.graph.output[:]
    watched.graph.output.extend(onnx.ValueInfoProto(name=name) for name in names)
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    options.intra_op_num_threads = 1  # the same sums each time
    session = onnxruntime.InferenceSession(watched.SerializeToString(), options, providers=["CPUExecutionProvider"])
    found: dict[str, list[np.ndarray]] = {name: [] for name in names}
    for inputs in runs:
        for name, held in zip(names, session.run(names, dict(inputs)), strict=True):
            found[name].append(held.reshape(-1, held.shape[-1]))
    return found


def _apply(
    model: onnx.ModelProto, place: _Place, factors: np.ndarray, constants: Mapping[str, onnx.TensorProto]
) -> None:
    graph, norm, name = model.graph, place.norm, place.name
    divided = f"{name}__divided"
    taken = {value for node in graph.node for value in [*node.input, *node.output]} | set(constants)
    while divided in taken:
        divided += "_"
    taken.add(divided)

    def add(suffix: str, values: np.ndarray) -> str:
        own = f"{name}__{suffix}"
        while own in taken:
            own += "_"
        taken.add(own)
        graph.initializer.append(numpy_helper.from_array(np.ascontiguousarray(values, dtype=np.float32), own))
        return own

    for index in range(1, len(norm.input)):
        if norm.input[index]:
            norm.input[index] = add("norm", numpy_helper.to_array(constants[norm.input[index]]) / factors)
    norm.output[0] = divided
    for product in place.products:
        rows = _rows(product, constants) * factors[:, None]
        product.input[0], product.input[1] = divided, add("weights", rows.T if _is_turned(product) else rows)
    if any(name in reads(node) for node in graph.node) or any(value.name == name for value in graph.output):
        mul = helper.make_node("Mul", [divided, add("factors", factors)], [name], name=f"{norm.name}__restored")
        graph.node.insert(next(i for i, node in enumerate(graph.node) if divided in node.output) + 1, mul)
