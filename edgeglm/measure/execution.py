"""Which operators a runtime really executes: a file full of INT8 may still be computed in float, silently."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from edgeglm_agent.engines import EngineError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from edgeglm.measure.worker import Runner

_FLOAT_LAYERS = (
    "Conv",
    "FusedConv",
    "ConvTranspose",
    "Gemm",
    "FusedGemm",
    "MatMul",
    "FusedMatMul",
    "LSTM",
    "GRU",
    "RNN",
)
DELEGATE = "DELEGATE"
_HEAVY_OPERATORS = ("CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED", "BATCH_MATMUL", "TRANSPOSE_CONV")
_NAMED = 5  # layers in a warning; the rest are counted


def execution_warnings(runner: Runner, *, scheme: str) -> list[str]:
    """Return what a user must hear about how a loaded file is executed on this host.

    Args:
        runner: Holds the file, which has run.
        scheme: How it was quantized. Of a file that was quantized to INT8, layers that are computed in float are
            named; of every TFLite file, operators that XNNPACK does not take over.

    Raises:
        ExportError: The runtime does not load the file a second time.
        WorkerError: The child died.
    """
    if runner.format == "tflite":
        return delegate_warnings(runner.operators())
    if runner.format == "openvino":
        return openvino_warnings(runner.operators()) if scheme == "static-int8" else []
    whole = scheme.endswith("int8") and not scheme.startswith("weight-only")
    return float_warnings(runner.operators()) if whole else []


def float_warnings(nodes: Sequence[tuple[str, str]]) -> list[str]:
    """Return a warning that names the layers which ONNX Runtime computes in float, or nothing."""
    layers = [name or kind for kind, name in nodes if kind in _FLOAT_LAYERS]
    return [_in_float(layers, "ONNX Runtime")] if layers else []


def _in_float(layers: Sequence[str], runtime: str) -> str:
    names = ", ".join(layers[:_NAMED]) + (f" and {len(layers) - _NAMED} more" if len(layers) > _NAMED else "")
    count = "1 layer runs" if len(layers) == 1 else f"{len(layers)} layers run"
    return f"{count} in float in {runtime} on this host: {names}"


def openvino_warnings(nodes: Sequence[tuple[str, str]]) -> list[str]:
    """Return a warning that names the layers of INT8 weights that OpenVINO computes in float, or nothing."""
    layers = [name for kind, name in nodes if not kind.lower().endswith("i8")]
    return [_in_float(layers, "OpenVINO")] if layers else []


def delegate_warnings(nodes: Sequence[tuple[str, str]]) -> list[str]:
    """Return a warning when XNNPACK takes over nothing, several pieces, or not the heavy operators, or nothing."""
    pieces = sum(kind == DELEGATE for kind, _ in nodes)
    left = ", ".join(sorted({kind for kind, _ in nodes if kind != DELEGATE}))
    if pieces == 0:
        return [f"XNNPACK takes over nothing on this host: LiteRT's slower kernels run {left}"]
    if pieces > 1:
        return [f"XNNPACK runs the graph in {pieces} pieces on this host; between them LiteRT's kernels run {left}"]
    heavy = sorted({kind for kind, _ in nodes if kind in _HEAVY_OPERATORS})
    return [f"XNNPACK leaves {', '.join(heavy)} to LiteRT's slower kernels on this host"] if heavy else []


def executed_operators(path: Path, format: str) -> list[tuple[str, str]]:  # noqa: A002
    """Return type and name of every operator that this host's runtime executes, delegates last.

    Of an OpenVINO file: for each operator with INT8 weights, the kernel that computes it, which ends in I8 or f32.

    Loads the file into this process: call it in one that may die.

    Raises:
        EngineError: The runtime does not load the file.
    """
    readers = {"onnx": _onnx_operators, "tflite": _tflite_operators, "openvino": _openvino_operators}
    return readers[format](path)


def _onnx_operators(path: Path) -> list[tuple[str, str]]:
    """Return the nodes of the graph that ONNX Runtime wrote down after its optimizations."""
    import onnx
    from edgeglm_agent.engines.onnx import silenced_onnxruntime

    ort = silenced_onnxruntime()
    with tempfile.TemporaryDirectory(prefix="edgeglm-") as folder:
        optimized = Path(folder) / "optimized.onnx"
        options = ort.SessionOptions()
        options.optimized_model_filepath = str(optimized)
        options.log_severity_level = 4
        options.intra_op_num_threads = 1
        try:
            ort.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
        except Exception as error:  # its exceptions share no base class
            raise EngineError(str(error), fault="bad-file") from error
        graph = onnx.load(str(optimized), load_external_data=False).graph
    return [(node.op_type, node.name.partition("_token_")[0].removesuffix("_nchwc")) for node in graph.node]


def _tflite_operators(path: Path) -> list[tuple[str, str]]:
    """Return the operators that stay with LiteRT, then the delegates that took over the others."""
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(model_path=str(path), num_threads=1)
    interpreter.allocate_tensors()
    operators = [op for op in interpreter._get_ops_details() if op["op_name"] != DELEGATE]
    delegates = [op for op in interpreter._get_ops_details() if op["op_name"] == DELEGATE]
    makers = {int(tensor): op["index"] for op in operators for tensor in op["outputs"]}
    inputs = {op["index"]: [int(tensor) for tensor in op["inputs"]] for op in operators}
    replaced: set[int] = set()
    for delegate in delegates:  # it replaced everything between its outputs and its inputs
        given = {int(tensor) for tensor in delegate["inputs"]}
        wanted = [int(tensor) for tensor in delegate["outputs"]]
        while wanted:
            tensor = wanted.pop()
            maker = makers.get(tensor)
            if tensor not in given and maker is not None and maker not in replaced:
                replaced.add(maker)
                wanted += inputs[maker]
    names = {detail["index"]: detail["name"] for detail in interpreter.get_tensor_details()}
    left = [op for op in operators if op["index"] not in replaced]
    return [(op["op_name"], names.get(int(op["outputs"][0]), "")) for op in [*left, *delegates]]


def _openvino_operators(path: Path) -> list[tuple[str, str]]:
    """Return the kernels (``brgemm_avx512_I8``) and names of the operators with signed INT8 weights, no tables.

    Those are what static INT8 has; compressed weights, of which OpenVINO quantizes the activations itself, are not.
    """
    from edgeglm_agent.engines.openvino import settings, silenced_openvino

    from edgeglm.measure.openvino_census import OpenVinoGraph

    ov = silenced_openvino()
    compiled = ov.Core().compile_model(str(path), "CPU", settings(1))
    kernels: dict[str, str] = {}
    for node in compiled.get_runtime_model().get_ops():
        notes = {name: node.get_rt_info()[name].astype(str) for name in ("primitiveType", "originalLayersNames")}
        for name in notes["originalLayersNames"].split(","):
            kernels.setdefault(name.partition("/Dequantization")[0], notes["primitiveType"])
    weighted = OpenVinoGraph(path).weighted(tables=False)
    found = [name for name, kind in weighted.items() if kind == "i8" and name in kernels]
    return [(kernels[name], name.removesuffix("/WithoutBiases")) for name in found]
