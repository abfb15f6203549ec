"""What values a float ONNX model reaches, found by running it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import onnx

if TYPE_CHECKING:
    from edgeglm.data.splits import Arrays


def largest_beyond(
    model: onnx.ModelProto,
    inputs: Arrays,
    limit: float,
    *,
    ignore: set[str] | None = None,
    infinite: float = np.inf,
) -> tuple[str, str, float] | None:
    """Run a float model and return the first node, its output and how large that is, when it exceeds a limit.

    A host without float16 kernels computes in float32 and never sees an overflow; a GPU or an ARM core does.

    Args:
        model: FP32.
        inputs: Rows by input name.
        limit: The largest value that is none too large.
        ignore: Names of nodes that are not looked at.
        infinite: Finite values from here on stand for infinity on purpose, and are passed over.
    """
    import onnxruntime

    watched = onnx.ModelProto()
    watched.CopyFrom(model)
    skipped = ignore or set()
    makers = {name: node.name for node in model.graph.node if node.name not in skipped for name in node.output if name}
    public = {value.name for value in watched.graph.output}
    watched.graph.output.extend(onnx.ValueInfoProto(name=name) for name in makers if name not in public)
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(watched.SerializeToString(), options, providers=["CPUExecutionProvider"])
    names = [value.name for value in watched.graph.output]
    found = dict(zip(names, session.run(names, inputs), strict=True))
    for name, maker in makers.items():
        array = np.asarray(found[name])
        if np.issubdtype(array.dtype, np.floating):
            values = np.abs(array)
            meant = (values < infinite) | ~np.isfinite(values)
            largest = float(np.max(values, where=meant, initial=0.0))
            if not largest <= limit:
                return maker, name, largest
    return None
