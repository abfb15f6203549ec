"""A torch network as a stripped FP32 ONNX file with a dynamic batch axis."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import onnx
import torch
from edgeglm_agent.processing import cut
from onnx import shape_inference

from edgeglm.artifacts.checking import check_parity, named
from edgeglm.artifacts.failures import find_failure
from edgeglm.artifacts.network import PREFIX, Flat, example_inputs, run_torch, trace_error
from edgeglm.artifacts.onnx_compact import compact, to_bytes
from edgeglm.artifacts.onnx_graph import PRODUCER, ensure_node_names, name_nodes, pool_means
from edgeglm.artifacts.quiet import silenced
from edgeglm.artifacts.sequences import check_cuts
from edgeglm.errors import ExportError
from edgeglm.files import replacing

if TYPE_CHECKING:
    from pathlib import Path

    from edgeglm_agent.wire import Buckets

    from edgeglm.artifacts.checking import Checked
    from edgeglm.boards import Board
    from edgeglm.data.splits import Arrays
    from edgeglm.model import Model

BATCHES = (1, 3)  # an LSTM traced at batch 1 keeps batch 1: both are run


def write_float(model: Model, sample: Arrays, path: Path, *, board: Board, buckets: Buckets | None = None) -> Checked:
    """Write the network and prove that the file computes what the network does.

    Args:
        model: In eval mode, on the CPU.
        sample: Some preprocessed rows, (N, ...) each, by input name.
        path: Where the file goes.
        board: Caps the opset and the IR version.
        buckets: Lengths that sequences may have; None: they have one.

    Raises:
        ExportError: ``onnx-operator`` when ONNX lacks an operator, ``export-trace`` when the network cannot be traced,
            ``input-unused`` when the outputs do not depend on an input, ``export-differs`` when the file computes
            something else.
    """
    if buckets is not None:
        check_cuts(model, sample, buckets)
    program = _trace(model, example_inputs(model, sample, 2), buckets)
    proto = _convert(model, program, board)
    _name_interface(proto, model, buckets)
    with replacing(path, synced=False) as temporary, named(path, temporary):
        temporary.write_bytes(to_bytes(proto))
        onnx.checker.check_model(str(temporary), full_check=True)
        given = [example_inputs(model, sample, rows) for rows in BATCHES]
        if buckets is not None:
            given += [cut(given[0], length, buckets) for length in buckets.lengths[:-1]]
        return check_parity(temporary, "onnx", [(inputs, run_torch(model, inputs)) for inputs in given])


def _trace(model: Model, inputs: Arrays, buckets: Buckets | None) -> torch.export.ExportedProgram:
    wrapper = Flat(model).eval()
    arguments = tuple(torch.from_numpy(values) for values in inputs.values())
    free = torch.export.Dim.AUTO
    cut_inputs = buckets.inputs if buckets else ()
    dynamic = (tuple({0: free, 1: free} if name in cut_inputs else {0: free} for name in inputs),)
    try:
        with silenced(), torch.no_grad():
            return torch.export.export(wrapper, arguments, dynamic_shapes=dynamic, strict=False)
    except Exception as error:
        raise trace_error(error, wrapper) from error


def _convert(model: Model, program: torch.export.ExportedProgram, board: Board) -> onnx.ModelProto:
    import onnxslim

    wrapper = Flat(model).eval()
    try:
        with silenced():
            exported: Any = torch.onnx.export(
                program, dynamo=True, opset_version=board.opset, external_data=False, verbose=False
            )
            proto: onnx.ModelProto = exported.model_proto
    except Exception as error:
        failure = find_failure(error, wrapper, prefixes=(PREFIX,))
        if not failure.operator:
            raise
        raise ExportError(
            f"ONNX opset {board.opset} has no operator for {failure.operator}",
            where=failure.layer,
            hint=f"replace it in the network ({failure.line or 'forward()'}) by operators that ONNX has",
            code="onnx-operator",
        ) from error
    given = [value.name for value in proto.graph.input]
    proto.producer_name = PRODUCER
    modules = {name for name, _ in model.module.named_modules()}
    name_nodes(proto, modules, prefix=PREFIX)
    with silenced():
        slim: onnx.ModelProto = onnxslim.slim(proto)
    slim.producer_name = PRODUCER
    _check_inputs(model, given, {value.name for value in slim.graph.input})
    inferred = shape_inference.infer_shapes(slim)
    ranks = {v.name: len(v.type.tensor_type.shape.dim) for v in [*inferred.graph.value_info, *inferred.graph.input]}
    pool_means(slim, ranks)
    ensure_node_names(slim)
    slim.ir_version = min(slim.ir_version, board.ir_version)
    return slim


def _check_inputs(model: Model, given: list[str], kept: set[str]) -> None:
    """Refuse an input that the outputs do not depend on: a file drops it, and would take less than the network.

    Args:
        model: The network.
        given: What the exporter called the inputs, in the model's order.
        kept: Those of them that the cleaned graph has still.
    """
    unused = [spec.name for spec, name in zip(model.inputs, given, strict=True) if name not in kept]
    if unused:
        names = ", ".join(unused)
        raise ExportError(
            f"forward() does not use {'input' if len(unused) == 1 else 'inputs'} {names}",
            hint=f"leave {names} out of the data, and give each a default in forward()",
            code="input-unused",
        )


def _name_interface(proto: onnx.ModelProto, model: Model, buckets: Buckets | None) -> None:
    """Give inputs and outputs their public names; inner values get numbers, which no public name can equal."""
    graph = proto.graph
    for values, specs, side in ((graph.input, model.inputs, "i"), (graph.output, model.outputs, "o")):
        for index, (value, _) in enumerate(zip(values, specs, strict=True)):
            _rename(graph, value.name, f"\x00{side}{index}")  # apart first: a public name may be an inner one too
    compact(proto)
    for values, specs in ((graph.input, model.inputs), (graph.output, model.outputs)):
        for value, spec in zip(values, specs, strict=True):
            _free(graph, spec.name)
            _rename(graph, value.name, spec.name)
            value.type.tensor_type.shape.dim[0].dim_param = "batch"
            if buckets is not None and spec.name in buckets.inputs:
                value.type.tensor_type.shape.dim[1].dim_param = "length"


def _free(graph: onnx.GraphProto, name: str) -> None:
    inner = {n for node in graph.node for n in [*node.input, *node.output]} | {t.name for t in graph.initializer}
    if name in inner:
        other = f"_{name}"
        while other in inner:
            other = f"_{other}"
        _rename(graph, name, other)


def _rename(graph: onnx.GraphProto, old: str, new: str) -> None:
    for node in graph.node:
        node.input[:] = [new if name == old else name for name in node.input]
        node.output[:] = [new if name == old else name for name in node.output]
    for item in [*graph.initializer, *graph.input, *graph.output]:
        if item.name == old:
            item.name = new
