"""ONNX with INT8 or INT4 weights alone: activations stay float32 between the layers.

Products become MatMulNBits and tables GatherBlockQuantized, operators of ONNX Runtime itself, in forms that 1.23 has.
MatMulNBits is asked for ``accuracy_level`` 4: it multiplies in INT8 with one activation scale a row and block, so
answers do not depend on what shares the batch. MiniLM is 1.4x faster than in float32 so, and 0.45x as fast when its
weights are turned into float32 each time instead (accuracy level 0, or a DequantizeLinear, in onnxruntime 1.23.2).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
import onnx
from onnx import helper, numpy_helper

from edgeglm.artifacts.onnx_graph import remove_unused_constants
from edgeglm.artifacts.plan import DEFAULT_BLOCK

if TYPE_CHECKING:
    from edgeglm.artifacts.plan import Plan

SCHEMES = {"weight-only-int8": 8, "weight-only-int4": 4}
_DOMAIN = "com.microsoft"
_WIDE_BLOCK = 64  # of 8-bit weights: as fast as 128, and nearer to float
_LEAST_BLOCK = 16  # of ONNX Runtime
_FEW_ROWS = 16  # a table of fewer gains nothing by 4 bits, and each of its rows counts much
_ACCURACY_LEVEL = 4  # multiply in INT8
# how far from the largest weight a 4-bit scale is looked for; beyond 1 the largest is no longer met exactly
_FACTORS = np.linspace(0.7, 1.15, 10)
# nodes whose weights are dequantized as they run: the positions of these, and the axis that has a scale each
_BY_CHANNEL = {"Conv": ((1,), 0), "ConvTranspose": ((1,), 1), "LSTM": ((1, 2), 1), "GRU": ((1, 2), 1)}


def quantize_weights(model: onnx.ModelProto, plan: Plan) -> set[str]:
    """Quantize the weights of every node that a weight-only scheme applies to.

    Args:
        model: FP32 where such a scheme applies; changed in place.
        plan: What each node gets.

    Returns:
        Names of nodes that were to have 4-bit weights and have 8-bit ones: there is no 4-bit form of theirs.
    """
    work = _Work({t.name: t for t in model.graph.initializer if t.data_type == onnx.TensorProto.FLOAT})
    wanted = {
        name: (SCHEMES[group.scheme], group.block_size)
        for group in plan.groups
        if group.scheme in SCHEMES
        for name in group.operators
    }
    nodes: list[onnx.NodeProto] = []
    wide: set[str] = set()
    for node in model.graph.node:
        bits, block = wanted.get(node.name, (0, None))
        if bits:
            made, got = work.replace(node, bits, block or (DEFAULT_BLOCK if bits == 4 else _WIDE_BLOCK))
            nodes += made
            if got > bits:
                wide.add(node.name)
        else:
            nodes.append(node)
    copies = [onnx.NodeProto.FromString(node.SerializeToString()) for node in nodes]
    del model.graph.node[:]
    model.graph.node.extend(copies)
    model.graph.initializer.extend(work.made.values())
    remove_unused_constants(model.graph)
    if not any(opset.domain == _DOMAIN for opset in model.opset_import):
        model.opset_import.append(helper.make_opsetid(_DOMAIN, 1))
    return wide


def block_scales(blocks: np.ndarray, bits: int) -> np.ndarray:
    """Return the scale of each block of weights; ``weight == scale * q``, q of ``bits`` bits, signed.

    The weight farthest from zero meets the type's lowest value, which has no positive counterpart, so scales may be
    negative. Of 4 bits, scales around that are tried too, of both signs, and that of the least squared error is taken.

    Args:
        blocks: Weights, (..., block) float32.
        bits: 4 or 8.

    Returns:
        (..., 1) float32, nowhere zero.
    """
    top = 2 ** (bits - 1)
    farthest = np.take_along_axis(blocks, np.abs(blocks).argmax(-1)[..., None], -1)
    full = np.where(farthest == 0, 1, farthest / -top).astype(np.float32)
    if bits == 8:
        return full
    best, least = full, _error(blocks, full, top)
    for factor in (*_FACTORS, *-_FACTORS):
        scale = full * np.float32(factor)
        error = _error(blocks, scale, top)
        best, least = np.where(error < least, scale, best), np.minimum(error, least)
    return best


def _error(blocks: np.ndarray, scale: np.ndarray, top: int) -> np.ndarray:
    rounded = np.clip(np.rint(blocks / scale), -top, top - 1) * scale
    return np.asarray(np.square(rounded - blocks).sum(-1, keepdims=True))


def pack(weights: np.ndarray, bits: int, block: int) -> tuple[np.ndarray, np.ndarray]:
    """Return weights as unsigned bytes (zero is 8 or 128; two of 4 bits a byte, the first one low), and scales.

    Args:
        weights: (rows, K) float32; blocks lie along K, the last one is filled up with zeros.
        bits: 4 or 8.
        block: Weights that share a scale; even.

    Returns:
        (rows, blocks, block * bits / 8) uint8 and (rows, blocks) float32.
    """
    rows, length = weights.shape
    count = -(-length // block)
    blocks = np.pad(weights, ((0, 0), (0, count * block - length))).reshape(rows, count, block)
    scales = block_scales(blocks, bits)
    top = 2 ** (bits - 1)
    packed = (np.clip(np.rint(blocks / scales), -top, top - 1) + top).astype(np.uint8)
    if bits == 4:
        packed = packed[..., ::2] | packed[..., 1::2] << 4
    return packed, scales[..., 0].astype(np.float32)


def fitting_block(length: int, bits: int, block: int) -> int:
    """Return the block, ``block`` or a half of it again and again, in which rows of this length take fewest bytes."""

    def size(candidate: int) -> int:
        count = -(-length // candidate)
        return count * (candidate * bits // 8 + 4)  # with a scale each

    candidates = [block]
    while candidates[-1] > _LEAST_BLOCK:
        candidates.append(candidates[-1] // 2)
    return next((c for c in candidates if length % c == 0), min(candidates, key=size))


@dataclass
class _Work:
    constants: dict[str, onnx.TensorProto]  # in float32
    made: dict[str, onnx.TensorProto] = field(default_factory=dict)

    def replace(self, node: onnx.NodeProto, bits: int, block: int) -> tuple[list[onnx.NodeProto], int]:
        """Return what stands for a node, and the bits of its weights; 0 when it stays in float."""
        settings = {attribute.name: helper.get_attribute_value(attribute) for attribute in node.attribute}
        if node.op_type == "MatMul" and (weights := self._matrix(node, 1)) is not None:
            return [self._product(node, weights, node.output[0], bits, block)], bits
        if node.op_type == "Gemm" and (weights := self._matrix(node, 1)) is not None and _is_plain(settings):
            weights = weights.T if settings.get("transB") else weights
            if len(node.input) < 3 or not node.input[2]:
                return [self._product(node, weights, node.output[0], bits, block)], bits
            inner = f"{node.output[0]}_product"
            add = helper.make_node("Add", [inner, node.input[2]], [node.output[0]], name=f"{node.name}_bias")
            return [self._product(node, weights, inner, bits, block), add], bits
        if node.op_type == "Gather" and (weights := self._matrix(node, 0)) is not None and not settings.get("axis"):
            few, odd = len(weights) < _FEW_ROWS, weights.shape[1] % 2
            return [self._table(node, weights, 8 if few or odd else bits, block)], 8 if odd else bits
        if node.op_type in _BY_CHANNEL:
            return self._by_channel(node)
        return [node], 0

    def _matrix(self, node: onnx.NodeProto, position: int) -> np.ndarray | None:
        tensor = self.constants.get(node.input[position])
        return numpy_helper.to_array(tensor) if tensor is not None and len(tensor.dims) == 2 else None

    def _product(self, node: onnx.NodeProto, weights: np.ndarray, output: str, bits: int, block: int) -> onnx.NodeProto:
        length, columns = weights.shape
        block = fitting_block(length, bits, block)
        turned = any(attribute.name == "transB" and attribute.i for attribute in node.attribute)
        own = f"{node.input[1]}_{columns}{'_turned' * turned}"  # one matrix may be read both ways
        names = self._packed(own, weights.T, bits, block)
        return helper.make_node(
            "MatMulNBits",
            [node.input[0], *names],
            [output],
            name=node.name,
            domain=_DOMAIN,
            K=length,
            N=columns,
            bits=bits,
            block_size=block,
            accuracy_level=_ACCURACY_LEVEL,
        )

    def _table(self, node: onnx.NodeProto, weights: np.ndarray, bits: int, block: int) -> onnx.NodeProto:
        block = fitting_block(weights.shape[1], bits, block)
        weights_name, scales_name = self._packed(f"{node.input[0]}_rows", weights, bits, block)
        rows = numpy_helper.to_array(self.made[weights_name]).reshape(len(weights), -1)
        rows = np.ascontiguousarray(rows[:, : weights.shape[1] * bits // 8])  # a table is not filled up
        self.made[weights_name] = numpy_helper.from_array(rows, weights_name)
        return helper.make_node(
            "GatherBlockQuantized",
            [weights_name, node.input[1], scales_name],
            list(node.output),
            name=node.name,
            domain=_DOMAIN,
            bits=bits,
            block_size=block,
            gather_axis=0,
            quantize_axis=1,
        )

    def _packed(self, name: str, weights: np.ndarray, bits: int, block: int) -> tuple[str, str]:
        name = f"{name}_int{bits}_{block}"
        scales_name = f"{name}_scale"
        if scales_name not in self.made:
            packed, scales = pack(np.asarray(weights), bits, block)
            self.made[name] = numpy_helper.from_array(packed, name)
            self.made[scales_name] = numpy_helper.from_array(scales, scales_name)
        return name, scales_name

    def _by_channel(self, node: onnx.NodeProto) -> tuple[list[onnx.NodeProto], int]:
        positions, axis = _BY_CHANNEL[node.op_type]
        before = []
        for position in positions:
            name = node.input[position]
            if name not in self.constants:
                continue
            values = numpy_helper.to_array(self.constants[name])
            others = tuple(i for i in range(values.ndim) if i != axis)
            largest = np.abs(values).max(axis=others)
            scale = np.where(largest == 0, 1, largest / 127).astype(np.float32)
            small = np.rint(values / np.expand_dims(scale, others)).astype(np.int8)
            own = f"{name}_int8_{axis}"  # a convolution and one that goes back may share their weights
            made = (own, f"{own}_scale", f"{own}_zero")
            arrays: tuple[np.ndarray, ...] = (small, scale, np.zeros(scale.shape, np.int8))
            for made_name, array in zip(made, arrays, strict=True):
                self.made[made_name] = numpy_helper.from_array(array, made_name)
            output = f"{node.name}_{position}_dequantized"
            before.append(helper.make_node("DequantizeLinear", list(made), [output], axis=axis))
            node.input[position] = output
        return [*before, node], 8 if before else 0


def _is_plain(settings: dict[str, object]) -> bool:
    return settings.get("alpha", 1.0) == settings.get("beta", 1.0) == 1.0 and not settings.get("transA")
