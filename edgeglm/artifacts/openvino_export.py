"""An FP32 ONNX file as OpenVINO IR, its operators named after the layers of the network."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from edgeglm.artifacts import openvino_ir
from edgeglm.artifacts.checking import check_parity, named
from edgeglm.artifacts.onnx_graph import PRODUCER
from edgeglm.artifacts.quiet import silenced
from edgeglm.errors import ExportError
from edgeglm.measure.worker import Runner

if TYPE_CHECKING:
    from pathlib import Path

    from edgeglm.artifacts.checking import Checked
    from edgeglm.data.splits import Arrays

_COUNTED = re.compile(r"\w+_\d+")  # what OpenVINO calls an operator of its own making


def write_float(source: Path, path: Path, inputs: Arrays, *, batch: int) -> Checked:
    """Convert an ONNX file and prove that the result computes what it does.

    Args:
        source: FP32 ONNX.
        path: Where the .xml goes, its .bin beside it.
        inputs: Rows as the ONNX file takes them, by name.
        batch: Rows that the result takes at a time, where the ONNX file takes any number.

    Raises:
        ExportError: ``openvino-operator`` when OpenVINO cannot convert it, ``export-differs`` when the result computes
            something else.
    """
    import onnx

    proto = onnx.load(str(source), load_external_data=False)
    ours = proto.producer_name == PRODUCER
    model = _convert(source, proto, batch)
    names = _name_operators(model, proto, ours=ours)
    with Runner(source, format="onnx", threads=1) as runner:
        cases = [(inputs, runner.run(inputs))]
    with openvino_ir.replacing_both(path) as temporary, named(path, temporary):
        openvino_ir.write(model, temporary, names=names, name=openvino_ir.NAME if ours else "")
        return check_parity(temporary, "openvino", cases)


def _convert(source: Path, proto: Any, batch: int) -> Any:
    """Return the graph with a fixed batch axis; shapes that depend on it are then constants."""
    ov = openvino_ir.openvino()
    from openvino.tools.ovc import convert_model

    constants = {tensor.name for tensor in proto.graph.initializer}
    shapes = {}
    for value in proto.graph.input:
        if value.name not in constants:
            lengths = value.type.tensor_type.shape.dim
            sizes = [length.dim_value if length.HasField("dim_value") else -1 for length in lengths]
            shapes[value.name] = ov.PartialShape([batch if sizes[0] < 0 else sizes[0], *sizes[1:]] if sizes else [])
    try:
        with silenced():
            return convert_model(str(source), input=shapes)
    except Exception as error:  # its frontends raise exceptions of many kinds
        lines = [line.strip() for line in str(error).splitlines() if line.strip()]
        said = next((line for line in reversed(lines) if "not supported" in line or "operation" in line), lines[-1])
        raise ExportError(
            f"OpenVINO cannot convert the network: {said}",
            where=str(source),
            hint="ask for an onnx artifact, or replace that operator in the network",
            code="openvino-operator",
        ) from error


def _name_operators(model: Any, proto: Any, *, ours: bool) -> set[str]:
    """Name operators as the ONNX file does, and those that OpenVINO split one into after the layer; return the names.

    OpenVINO calls the last operator after the output that it computes, and its own ones by a counter.
    """
    known = {node.name for node in proto.graph.node if node.name}
    makers = {name: node.name for node in proto.graph.node for name in node.output if node.name}
    outputs = {value.name for value in proto.graph.output}
    names: set[str] = set()
    for operator in reversed(model.get_ordered_ops()):  # those that read it have their names then
        kind = operator.get_type_name()
        if kind in ("Constant", "Parameter", "Result"):
            continue
        name = operator.get_friendly_name()
        if name in outputs and name in makers:
            name = makers[name]
        elif _COUNTED.fullmatch(name) and name not in known:
            if not ours:
                continue
            readers = [end.get_node() for port in operator.outputs() for end in port.get_target_inputs()]
            name = f"{readers[0].get_friendly_name().partition('/')[0] if readers else ''}/{kind}"
        unique, number = name, 2
        while unique in names:
            unique, number = f"{name}_{number}", number + 1
        operator.set_friendly_name(unique)
        names.add(unique)
    return names
