"""What ONNX Runtime really executes of a file: its nodes after optimization, under the names of the user's layers."""

from __future__ import annotations

import errno
import os
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

from edgeglm_agent.engines import EngineError

from edgeglm.measure.frames import Operator

if TYPE_CHECKING:
    import onnx

HEAVY = (
    *("Conv", "FusedConv", "ConvTranspose", "Gemm", "FusedGemm", "MatMul", "FusedMatMul"),
    *("LSTM", "GRU", "RNN"),
)
_PRODUCTS = ("Gemm", "FusedGemm", "MatMul", "FusedMatMul")
_OPTIMIZED = "optimized.onnx"
_FULL_BYTES = 1 << 16  # a disk with less room took no file; the runtime does not say why it could not write
_STEPS_BACK = 4  # from a value that a fused node is named after, over activations, to the layer that was fused


def write_optimized(path: Path, folder: str) -> None:
    """Have ONNX Runtime write down the graph after its optimizations, which ``onnx_operators`` reads.

    Loads the file into this process: call it in one that may die.

    Raises:
        EngineError: The runtime does not load the file.
        OSError: There is no room for what it writes.
    """
    from edgeglm_agent.engines.onnx import silenced_onnxruntime

    ort = silenced_onnxruntime()
    options = ort.SessionOptions()
    options.optimized_model_filepath = str(Path(folder) / _OPTIMIZED)
    options.log_severity_level = 4
    options.intra_op_num_threads = 1
    try:
        ort.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    except Exception as error:  # its exceptions share no base class
        if shutil.disk_usage(folder).free < _FULL_BYTES:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), folder) from error
        raise EngineError(str(error), fault="bad-file") from error


def onnx_operators(path: Path, folder: str) -> list[Operator]:
    """Return the nodes of the graph of a file that ``write_optimized`` wrote into a folder."""
    import onnx

    graph = onnx.load(Path(folder) / _OPTIMIZED, load_external_data=False).graph
    names = LayerNames(onnx.load(str(path), load_external_data=False))
    constant = {tensor.name for tensor in graph.initializer}
    found: list[Operator] = []
    for node in graph.node:  # in topological order
        made = [name in constant for name in node.input if name]
        if all(made):
            constant.update(node.output)
        found.append(Operator(node.op_type, names.of(node.name), node.op_type in _PRODUCTS and not any(made[:2])))
    return found


class LayerNames:
    """Finds the layer that a node of an optimized graph computes: ONNX Runtime names what it fuses anew."""

    def __init__(self, model: onnx.ModelProto) -> None:
        """Read the names of a file; in one of ours they begin with the layer's."""
        from edgeglm.artifacts.onnx_graph import PRODUCER

        self._ours = model.producer_name == PRODUCER
        self._nodes = {node.name: node for node in model.graph.node if node.name}
        self._makers = {name: node for node in model.graph.node for name in node.output}

    def of(self, name: str) -> str:
        """Return the layer of the user's network, or of a file of others the node; else the name as it is."""
        plain = name.partition("_token_")[0].removesuffix("_nchwc").removeprefix("fused ")
        node = self._nodes.get(plain) or self._behind(plain) or self._begun_by(plain)
        if node is None:
            return plain
        head, slash, _ = node.name.rpartition("/")
        return (head if self._ours and slash else node.name) or node.op_type

    def _behind(self, value: str) -> onnx.NodeProto | None:
        """Return the layer that makes a value, which blocked convolutions are named after."""
        node = first = self._makers.get(value)
        for _ in range(_STEPS_BACK):
            if node is None or node.op_type in HEAVY:
                break
            node = next((self._makers[name] for name in node.input if name in self._makers), None)
        return node if node is not None and node.op_type in HEAVY else first

    def _begun_by(self, name: str) -> onnx.NodeProto | None:
        """Return the node whose name a longer one begins with: `layer/MatMul/MatMulScaleFusion/`."""
        begun = [known for known in self._nodes if name.startswith((f"{known}/", f"{known}_"))]
        return self._nodes[max(begun, key=len)] if begun else None
