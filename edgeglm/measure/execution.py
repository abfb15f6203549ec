"""Which operators a runtime really executes: a file full of INT8 may still be computed in float, silently."""

from __future__ import annotations

from typing import TYPE_CHECKING

from edgeglm.measure.frames import Operator
from edgeglm.measure.onnx_execution import HEAVY

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from edgeglm.measure.worker import Runner

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


def float_warnings(nodes: Sequence[Operator]) -> list[str]:
    """Return warnings that name the layers which ONNX Runtime computes in float, or nothing."""
    heavy = [node for node in nodes if node.kind in HEAVY]
    layers = list(dict.fromkeys(node.layer or node.kind for node in heavy if not node.weightless))
    products = [node.layer or node.kind for node in heavy if node.weightless]
    found = [_in_float(layers, "ONNX Runtime")] if layers else []
    if products:
        number = f"{len(products)} product{'s' * (len(products) != 1)} of activations"
        runs = "runs" if len(products) == 1 else "run"
        within = _listed(list(dict.fromkeys(products)))
        found.append(f"{number} (as attention has) {runs} in float in ONNX Runtime on this host, within {within}")
    return found


def _in_float(layers: Sequence[str], runtime: str) -> str:
    count = "1 layer runs" if len(layers) == 1 else f"{len(layers)} layers run"
    return f"{count} in float in {runtime} on this host: {_listed(layers)}"


def _listed(layers: Sequence[str]) -> str:
    more = f" and {len(layers) - _NAMED} more" if len(layers) > _NAMED else ""
    return ", ".join(f"`{layer}`" for layer in layers[:_NAMED]) + more


def openvino_warnings(nodes: Sequence[Operator]) -> list[str]:
    """Return a warning that names the layers of INT8 weights that OpenVINO computes in float, or nothing."""
    layers = list(dict.fromkeys(node.layer for node in nodes if not node.kind.lower().endswith("i8")))
    return [_in_float(layers, "OpenVINO")] if layers else []


def delegate_warnings(nodes: Sequence[Operator]) -> list[str]:
    """Return a warning when XNNPACK takes over nothing, several pieces, or not the heavy operators, or nothing."""
    pieces = sum(node.kind == DELEGATE for node in nodes)
    left = ", ".join(sorted({node.kind for node in nodes if node.kind != DELEGATE}))
    if pieces == 0:
        return [f"XNNPACK takes over nothing on this host: LiteRT's slower kernels run {left}"]
    if pieces > 1:
        return [f"XNNPACK runs the graph in {pieces} pieces on this host; between them LiteRT's kernels run {left}"]
    heavy = sorted({node.kind for node in nodes if node.kind in _HEAVY_OPERATORS})
    return [f"XNNPACK leaves {', '.join(heavy)} to LiteRT's slower kernels on this host"] if heavy else []


def executed_operators(path: Path, format: str) -> list[Operator]:  # noqa: A002
    """Return every operator that this host's LiteRT executes, delegates last.

    Of an OpenVINO file: for each operator with INT8 weights, the kernel that computes it, which ends in I8 or f32.

    Loads the file into this process: call it in one that may die.

    Raises:
        EngineError: The runtime does not load the file.
    """
    return (_tflite_operators if format == "tflite" else _openvino_operators)(path)


def _tflite_operators(path: Path) -> list[Operator]:
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
    return [Operator(op["op_name"], names.get(int(op["outputs"][0]), "")) for op in [*left, *delegates]]


def _openvino_operators(path: Path) -> list[Operator]:
    """Return the kernels (``brgemm_avx512_I8``) and layers of the operators with signed INT8 weights, no tables.

    Those are what static INT8 has; compressed weights, of which OpenVINO quantizes the activations itself, are not.
    """
    from edgeglm_agent.engines.openvino import settings, silenced_openvino

    from edgeglm.artifacts.openvino_ir import NAME
    from edgeglm.measure.openvino_census import OpenVinoGraph

    ov = silenced_openvino()
    compiled = ov.Core().compile_model(str(path), "CPU", settings(1))
    kernels: dict[str, str] = {}
    for node in compiled.get_runtime_model().get_ops():
        notes = {name: node.get_rt_info()[name].astype(str) for name in ("primitiveType", "originalLayersNames")}
        for name in notes["originalLayersNames"].split(","):
            kernels.setdefault(name.partition("/Dequantization")[0], notes["primitiveType"])
    graph = OpenVinoGraph(path)
    named = [name for name, kind in graph.weighted(tables=False).items() if kind == "i8" and name in kernels]
    layers = {name: name.removesuffix("/WithoutBiases") for name in named}
    if graph.name == NAME:  # one of ours: a layer's name and the operator's
        layers = {name: layer.rpartition("/")[0] or layer for name, layer in layers.items()}
    return [Operator(kernels[name], layers[name]) for name in named]
