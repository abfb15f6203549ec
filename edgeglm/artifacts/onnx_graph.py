"""What stands in an ONNX graph: its layers, weights and inner graphs.

The name of a node is where the layer's name stays: ``block.conv1/Conv``, so that `ignore` patterns work on
the file alone.
"""

from __future__ import annotations

import ast
import math
from collections import Counter
from typing import TYPE_CHECKING

import onnx
from onnx import helper

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

PRODUCER = "edgeglm"
_SCOPES = "pkg.torch.onnx.name_scopes"
_WEIGHTED = {"Conv": 1, "ConvTranspose": 1, "Gemm": 1, "MatMul": 1, "LSTM": 1, "GRU": 1, "RNN": 1, "Gather": 0}
_BLOCKWISE = {"MatMulNBits": 1, "GatherBlockQuantized": 0}  # position of the packed weights


def name_nodes(model: onnx.ModelProto, modules: set[str], *, prefix: str) -> None:
    """Name every node after the layers of the torch network that it computes.

    Args:
        model: As the exporter wrote it, with its metadata.
        modules: Names of all modules of the network, without the wrapper's prefix.
        prefix: Name under which the wrapper holds the network, with its dot.
    """
    taken: Counter[str] = Counter()
    for node in model.graph.node:
        layer = _scope(node).removeprefix(prefix)
        position = _WEIGHTED.get(node.op_type)
        if position is not None and len(node.input) > position:
            owner = node.input[position].removeprefix(prefix).rpartition(".")[0]
            layer = owner if owner and owner in modules else layer  # a folded batch norm is where the node ends
        name = (layer if layer in modules else "") + f"/{node.op_type}"
        taken[name] += 1
        node.name = name if taken[name] == 1 else f"{name}_{taken[name]}"


def _scope(node: onnx.NodeProto) -> str:
    """Return the module path of a node; the exporter's last entry is the operator's own name."""
    for entry in node.metadata_props:
        if entry.key == _SCOPES:
            scopes = ast.literal_eval(entry.value)
            return str(scopes[-2]) if len(scopes) > 1 else ""
    return ""


def layers_of(model: onnx.ModelProto) -> dict[str, list[str]]:
    """Return node name -> names of the layers it computes; of a file of others, its node's and tensors' names."""
    ours = model.producer_name == PRODUCER
    constants = {tensor.name for tensor in model.graph.initializer}
    names: dict[str, list[str]] = {}
    for node in model.graph.node:
        head, slash, _ = node.name.rpartition("/")
        if ours and slash:
            names[node.name] = [head] if head else []
        else:
            names[node.name] = [node.name, *node.output, *(name for name in node.input if name in constants)]
    return names


def fixed_batch(model: onnx.ModelProto) -> int | None:
    """Return the one batch size that a file takes, or None when it takes any."""
    constants = {tensor.name for tensor in model.graph.initializer}
    inputs = [value.type.tensor_type.shape.dim for value in model.graph.input if value.name not in constants]
    return min((dims[0].dim_value for dims in inputs if len(dims) and dims[0].HasField("dim_value")), default=None)


def ensure_node_names(model: onnx.ModelProto) -> None:
    """Give every node without a name of its own one; quantizers exclude nodes by name."""
    taken = {node.name for node in model.graph.node if node.name}
    seen: set[str] = set()
    for index, node in enumerate(model.graph.node):
        if not node.name or node.name in seen:
            name = f"{node.name or node.op_type}_{index}"
            while name in taken:
                name += "_"
            node.name = name
            taken.add(name)
        seen.add(node.name)


def float_weights(model: onnx.ModelProto) -> list[str]:
    """Return the names of nodes that multiply by, or look up in, a constant that is still float32."""
    floats = {t.name for t in model.graph.initializer if t.data_type == onnx.TensorProto.FLOAT and len(t.dims) > 1}
    found = []
    for node in model.graph.node:
        position = _WEIGHTED.get(node.op_type)
        if position is not None and len(node.input) > position and node.input[position] in floats:
            found.append(node.name or node.output[0])
    return found


def weight_types(model: onnx.ModelProto) -> dict[str, int]:
    """Return bytes of weights, constants of two axes or more, by numpy type name; uint4: two a byte."""
    sizes: dict[str, int] = {}
    halves = packed_constants(model.graph)
    for tensor in model.graph.initializer:
        if len(tensor.dims) < 2:
            continue
        dtype = helper.tensor_dtype_to_np_dtype(tensor.data_type)
        name = "uint4" if tensor.name in halves else dtype.name
        sizes[name] = sizes.get(name, 0) + math.prod(tensor.dims) * dtype.itemsize
    return sizes


def packed_constants(graph: onnx.GraphProto) -> set[str]:
    """Return the names of constants of bytes that hold two 4-bit weights each."""
    return {
        node.input[_BLOCKWISE[node.op_type]]
        for node in graph.node
        if node.op_type in _BLOCKWISE and next((a.i for a in node.attribute if a.name == "bits"), 4) == 4
    }


def remove_unused_constants(graph: onnx.GraphProto) -> None:
    """Remove constants that no node reads, and no output is."""
    used = {name for node in graph.node for name in reads(node)} | {value.name for value in graph.output}
    kept = [onnx.TensorProto.FromString(t.SerializeToString()) for t in graph.initializer if t.name in used]
    del graph.initializer[:]
    graph.initializer.extend(kept)


def pool_means(model: onnx.ModelProto, ranks: Mapping[str, int]) -> None:
    """Write a mean over height and width as GlobalAveragePool: runtimes have an integer kernel for that alone.

    Args:
        model: Changed in place.
        ranks: Value name -> number of axes, where known.
    """
    constants = {tensor.name: tensor for tensor in model.graph.initializer}
    nodes = list(model.graph.node)
    changed = False
    for index, node in enumerate(nodes):
        if node.op_type != "ReduceMean" or len(node.input) < 2 or node.input[1] not in constants:
            continue
        axes = sorted(int(axis) % 4 for axis in onnx.numpy_helper.to_array(constants[node.input[1]]).reshape(-1))
        if ranks.get(node.input[0]) != 4 or axes != [2, 3]:
            continue
        keep = next((a.i for a in node.attribute if a.name == "keepdims"), 1)
        pooled = node.output[0] if keep else f"{node.output[0]}__pooled"
        scope = node.name.rpartition("/")[0]
        pool = helper.make_node(
            "GlobalAveragePool", [node.input[0]], [pooled], name=f"{scope}/GlobalAveragePool_{index}"
        )
        replaced = [pool]
        if not keep:
            flat = f"{scope}/Flatten_{index}"
            replaced.append(helper.make_node("Flatten", [pooled], [node.output[0]], name=flat, axis=1))
        nodes[index : index + 1] = replaced
        changed = True
    if changed:
        del model.graph.node[:]
        model.graph.node.extend(nodes)


def subgraphs(node: onnx.NodeProto) -> list[onnx.GraphProto]:
    """Return the graphs that a node holds itself: the branches of an If, the body of a Loop."""
    return [g for a in node.attribute for g in ([a.g] if a.HasField("g") else []) + list(a.graphs)]


def reads(node: onnx.NodeProto) -> Iterable[str]:
    """Yield the values a node reads, those of its inner graphs included."""
    yield from node.input
    for inner in subgraphs(node):
        for part in inner.node:
            yield from reads(part)


def sort_nodes(graph: onnx.GraphProto) -> None:
    """Put every node after those it reads from, and keep the order where it does not matter."""
    nodes = list(graph.node)
    maker = {name: index for index, node in enumerate(nodes) for name in node.output if name}
    order: list[int] = []
    entered: set[int] = set()
    done: set[int] = set()
    for start in range(len(nodes)):
        stack = [start]
        while stack:
            index = stack[-1]
            entered.add(index)
            before = {maker[name] for name in reads(nodes[index]) if name in maker} - entered
            if before:
                stack.append(min(before))
                continue
            stack.pop()
            if index not in done:
                done.add(index)
                order.append(index)
    if order != list(range(len(nodes))):
        copies = [onnx.NodeProto.FromString(nodes[index].SerializeToString()) for index in order]
        del graph.node[:]
        graph.node.extend(copies)
