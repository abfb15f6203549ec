"""A user's ONNX file, brought to the form that everything else expects: samples along the first axis.

Recurrent networks often take their state as (layers, batch, hidden), and some files take settings such as the sampling
rate as inputs. The first are turned by a Transpose that the runtime folds or that costs microseconds; the second become
constants, by the recipe's word, and what depends on them alone (an ``If`` on the rate) is folded away.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import onnx
from onnx import helper, numpy_helper

from edgeglm.artifacts.onnx_graph import subgraphs
from edgeglm.artifacts.quiet import silenced
from edgeglm.errors import ModelError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path


def needs_preparing(model: onnx.ModelProto, constants: Mapping[str, Any]) -> bool:
    """Return whether ``prepared`` would change the file."""
    return bool(constants) or any(_batch_axis(value, _batch_name(model)) > 0 for value in _public(model))


def prepared(model: onnx.ModelProto, constants: Mapping[str, Any], *, where: str) -> onnx.ModelProto:
    """Return the model with constants in place of inputs, and the batch as first axis of every input and output.

    Args:
        model: As the user gave it; left as it was.
        constants: Input name -> number, or nested lists of numbers, in the input's own type and shape.
        where: The file, for errors.

    Raises:
        ModelError: A constant is no input, or does not have its shape (``constant-mismatch``).
    """
    made = onnx.ModelProto()
    made.CopyFrom(model)
    for name, value in constants.items():
        _make_constant(made, name, value, where)
    if constants:
        import onnxslim

        with silenced():
            made = onnxslim.slim(made)
    batch = _batch_name(made)
    for value in list(made.graph.input):
        if (axis := _batch_axis(value, batch)) > 0:
            _turn_input(made, value, axis)
    for value in list(made.graph.output):
        if (axis := _batch_axis(value, batch)) > 0:
            _turn_output(made, value, axis)
    return made


def read_prepared(path: Path, constants: Mapping[str, Any]) -> bytes | None:
    """Return the prepared file, or None where it can be used as it is. Raises: ModelError."""
    model = onnx.load(path)
    if not needs_preparing(model, constants):
        return None
    return bytes(prepared(model, constants, where=str(path)).SerializeToString())


def _make_constant(model: onnx.ModelProto, name: str, value: Any, where: str) -> None:
    found = next((entry for entry in model.graph.input if entry.name == name), None)
    if found is None:
        names = ", ".join(entry.name for entry in model.graph.input)
        raise ModelError(
            f"`{name}` is no input of the file; it takes {names}",
            where=f"{where}, model.constants",
            hint="name inputs of the file that are to be constants, such as a sampling rate",
            code="constant-mismatch",
        )
    kind = helper.tensor_dtype_to_np_dtype(found.type.tensor_type.elem_type)
    lengths = [length.dim_value for length in found.type.tensor_type.shape.dim]
    try:
        array = np.asarray(value).astype(kind)
        fits = array.ndim == len(lengths) and all(w in (0, g) for w, g in zip(lengths, array.shape, strict=True))
    except (ValueError, TypeError):
        fits = False
    if not fits:
        raise ModelError(
            f"input `{name}` takes {kind} of shape {lengths}, and {value!r:.60} is not that",
            where=f"{where}, model.constants",
            hint="a number for a scalar, lists of numbers for anything else",
            code="constant-mismatch",
        )
    model.graph.input.remove(found)
    model.graph.initializer.append(numpy_helper.from_array(array, name))


def _public(model: onnx.ModelProto) -> list[onnx.ValueInfoProto]:
    weights = {tensor.name for tensor in model.graph.initializer}
    return [*(value for value in model.graph.input if value.name not in weights), *model.graph.output]


def _batch_name(model: onnx.ModelProto) -> str:
    """Return the name of the free first axis of an input; empty where no input has one."""
    for value in _public(model):
        axes = value.type.tensor_type.shape.dim
        if axes and axes[0].dim_param:
            return str(axes[0].dim_param)
    return ""


def _batch_axis(value: onnx.ValueInfoProto, batch: str) -> int:
    """Return on which axis the batch lies; 0 where it is first, or not to be seen."""
    if not batch:
        return 0
    names = [axis.dim_param for axis in value.type.tensor_type.shape.dim]
    return names.index(batch) if batch in names else 0


def _turn_input(model: onnx.ModelProto, value: onnx.ValueInfoProto, axis: int) -> None:
    """Let the graph take the batch first, and turn what it reads back."""
    name = value.name
    inner = f"{name}.batch_on_axis_{axis}"
    for node in _nodes(model.graph):
        for index, read in enumerate(node.input):
            if read == name:
                node.input[index] = inner
    order = [*range(1, axis + 1), 0, *range(axis + 1, len(value.type.tensor_type.shape.dim))]
    model.graph.node.insert(0, helper.make_node("Transpose", [name], [inner], name=f"{name}_turned", perm=order))
    _move(value, axis, 0)


def _turn_output(model: onnx.ModelProto, value: onnx.ValueInfoProto, axis: int) -> None:
    """Put the batch first in what the graph puts out."""
    name = value.name
    inner = f"{name}.batch_on_axis_{axis}"
    for node in _nodes(model.graph):
        for side in (node.input, node.output):
            for index, used in enumerate(side):
                if used == name:
                    side[index] = inner
    rank = len(value.type.tensor_type.shape.dim)
    order = [axis, *(place for place in range(rank) if place != axis)]
    model.graph.node.append(helper.make_node("Transpose", [inner], [name], name=f"{name}_turned", perm=order))
    _move(value, axis, 0)


def _move(value: onnx.ValueInfoProto, axis: int, to: int) -> None:
    axes = [onnx.TensorShapeProto.Dimension() for _ in value.type.tensor_type.shape.dim]
    for copy, original in zip(axes, value.type.tensor_type.shape.dim, strict=True):
        copy.CopyFrom(original)
    axes.insert(to, axes.pop(axis))
    del value.type.tensor_type.shape.dim[:]
    value.type.tensor_type.shape.dim.extend(axes)


def _nodes(graph: onnx.GraphProto) -> list[onnx.NodeProto]:
    """Return every node, those of inner graphs too: they read names of the outer one."""
    return [
        part for node in graph.node for part in (node, *(inner for held in subgraphs(node) for inner in _nodes(held)))
    ]
