"""A graph run in ONNX Runtime for values inside it: all at once, or piece by piece with a change in between."""

from __future__ import annotations

from typing import TYPE_CHECKING

import onnx
from onnx import helper

from edgeglm.artifacts.bias_correction import FEWEST
from edgeglm.artifacts.calibration import KEPT_BYTES
from edgeglm.artifacts.onnx_graph import reads

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    import numpy as np
    import onnxruntime

    from edgeglm.data.splits import Arrays


def run_each(model: onnx.ModelProto, names: Sequence[str], rows: Sequence[Arrays]) -> Iterator[list[np.ndarray]]:
    """Return what these values are in each run, of the model as it is now; nothing is computed that they do not need.

    Args:
        model: Its nodes in topological order.
        names: Outputs of nodes.
        rows: Inputs by name; those that the model does not have are left out.
    """
    session = _session(_part(model, _needed(model.graph.node, names), names, model.graph.input))
    wanted = [value.name for value in session.get_inputs()]
    return (session.run(list(names), {name: row[name] for name in wanted}) for row in rows)


class Walk:
    """A graph run up to one value after the other, on several rows at once; each node runs once a row.

    What later nodes read is held meanwhile, everything else dropped. Where that is more than ``KEPT_BYTES``, the last
    rows are dropped too, down to ``FEWEST``.
    """

    def __init__(self, model: onnx.ModelProto, names: Sequence[str], rows: Sequence[Arrays]) -> None:
        """Begin before the first node.

        Args:
            model: Its nodes in topological order, all values tensors.
            names: The values that will be asked for, in topological order; what they do not need is not run.
            rows: Inputs by name.
        """
        self._model = model
        self.held: list[Arrays] = [dict(row) for row in rows]  # values by name, what is read later
        self._fixed: list[onnx.NodeProto] = []  # nodes that depend on constants alone: weights turned into float
        self._left: list[onnx.NodeProto] = []  # all others that have not run
        changing = {name for row in rows[:1] for name in row}
        for node in _needed(model.graph.node, names):
            if changing.isdisjoint(reads(node)):
                self._fixed.append(node)
            else:
                self._left.append(node)
                changing.update(name for name in node.output if name)  # an output that nobody wants has no name

    def advance(self, name: str) -> list[np.ndarray]:
        """Return what the value is in each row that is still held; the first ones are."""
        nodes = _needed(self._left, [name])
        done = {id(node) for node in nodes}
        self._left = [node for node in self._left if id(node) not in done]
        later = {read for node in self._left for read in reads(node) if read}
        outputs = [name, *(made for node in nodes for made in node.output if made in later and made != name)]
        session = self._piece(nodes, outputs)
        wanted = [value.name for value in session.get_inputs()]
        found, size = [], 0
        for number, row in enumerate(self.held):
            given = session.run(outputs, {read: row[read] for read in wanted})
            found.append(given[0])
            values = {**row, **dict(zip(outputs, given, strict=True))}
            self.held[number] = {key: value for key, value in values.items() if key in later}
            size += sum(value.nbytes for value in self.held[number].values())
            if size > KEPT_BYTES and number + 1 >= FEWEST:
                del self.held[number + 1 :]
        return found

    def add(self, name: str, more: np.ndarray, *, axis: int) -> None:
        """Add numbers, (C,), to the channels of a value, for what reads it later."""
        for row in self.held:
            if name in row:
                values = row[name]
                shape = [1] * values.ndim
                shape[axis] = -1
                row[name] = values + more.reshape(shape).astype(values.dtype)

    def _piece(self, nodes: Sequence[onnx.NodeProto], outputs: Sequence[str]) -> onnxruntime.InferenceSession:
        read = {name for node in nodes for name in reads(node)}
        fixed = _needed(self._fixed, read)
        first = self.held[0]
        inputs = [
            helper.make_tensor_value_info(
                name, helper.np_dtype_to_tensor_dtype(first[name].dtype), [None] * first[name].ndim
            )
            for name in first
            if name in read
        ]
        return _session(_part(self._model, [*fixed, *nodes], outputs, inputs))


def _needed(nodes: Sequence[onnx.NodeProto], names: Iterable[str]) -> list[onnx.NodeProto]:
    """Return those nodes that some values depend on, in their order."""
    wanted, found = set(names), []
    for node in reversed(nodes):
        if wanted.intersection(node.output):
            found.append(node)
            wanted.update(name for name in reads(node) if name)  # an optional input may have none
    return found[::-1]


def _part(
    model: onnx.ModelProto,
    nodes: Sequence[onnx.NodeProto],
    outputs: Sequence[str],
    inputs: Iterable[onnx.ValueInfoProto],
) -> onnx.ModelProto:
    """Return a model of some nodes alone, with these values as its outputs."""
    read = {name for node in nodes for name in reads(node)}
    public = {value.name: value for value in model.graph.output}
    graph = helper.make_graph(
        nodes,
        "part",
        [value for value in inputs if value.name in read],
        [public.get(name) or onnx.ValueInfoProto(name=name) for name in outputs],
        [tensor for tensor in model.graph.initializer if tensor.name in read],
        sparse_initializer=list(model.graph.sparse_initializer),
    )
    return helper.make_model(
        graph, opset_imports=model.opset_import, ir_version=model.ir_version, functions=model.functions
    )


def _session(model: onnx.ModelProto) -> onnxruntime.InferenceSession:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    options.intra_op_num_threads = options.inter_op_num_threads = 1  # the same sums each time
    return onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
