"""One tiny network with the same weights in torch, ONNX, TFLite and OpenVINO; written by hand in milliseconds.

It takes `image`, 3 x 8 x 8 (8 x 8 x 3 in TFLite), and gives `logits`, 5 classes: a 3 x 3 convolution to 4 channels,
ReLU, the mean over the image, a linear layer.
"""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, Any

import numpy as np
from edgeglm_agent.wire import TensorSpec

if TYPE_CHECKING:
    from pathlib import Path

    from torch import nn

INPUTS = (TensorSpec("image", "float32", (3, 8, 8), "NCHW"),)
OUTPUTS = (TensorSpec("logits", "float32", (5,), "NC"),)
PARAMS = 4 * 3 * 9 + 4 + 4 * 5 + 5
MACS = 8 * 8 * 4 * 3 * 9 + 4 * 5


def tiny_weights() -> dict[str, np.ndarray]:
    """Return the weights under torch's names and in torch's axes."""
    rng = np.random.default_rng(0)
    shapes = {"conv.weight": (4, 3, 3, 3), "conv.bias": (4,), "head.weight": (5, 4), "head.bias": (5,)}
    return {name: rng.normal(size=shape).astype(np.float32) for name, shape in shapes.items()}


def tiny_images(count: int, *, seed: int = 0) -> np.ndarray:
    """Return (count, 3, 8, 8) float32."""
    return np.random.default_rng(seed).normal(size=(count, 3, 8, 8)).astype(np.float32)


def tiny_logits(images: np.ndarray) -> np.ndarray:
    """Return what the network gives for (N, 3, 8, 8), computed here in NumPy: no runtime has a say in it."""
    weights = tiny_weights()
    padded = np.pad(images, ((0, 0), (0, 0), (1, 1), (1, 1)))
    windows = np.lib.stride_tricks.sliding_window_view(padded, (3, 3), axis=(2, 3))  # (N, 3, 8, 8, 3, 3)
    hidden = np.einsum("ncijkl,mckl->nmij", windows, weights["conv.weight"]) + weights["conv.bias"][:, None, None]
    pooled = np.maximum(hidden, 0).mean(axis=(2, 3))
    return (pooled @ weights["head.weight"].T + weights["head.bias"]).astype(np.float32)


def tiny_cnn() -> nn.Module:
    """Return the network in torch, in eval mode."""
    import torch
    from torch import nn

    class TinyCnn(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv = nn.Conv2d(3, 4, 3, padding=1)
            self.head = nn.Linear(4, 5)

        def forward(self, image: torch.Tensor) -> torch.Tensor:
            return self.head(torch.relu(self.conv(image)).mean((2, 3)))

    network = TinyCnn()
    network.load_state_dict({name: torch.from_numpy(values) for name, values in tiny_weights().items()})
    return network.eval()


def write_tiny_onnx(path: Path, *, batch: int | None = None) -> Path:
    """Write the network as ONNX; ``batch`` fixes the batch size."""
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    size: int | str = "N" if batch is None else batch
    nodes = [
        helper.make_node("Conv", ["image", "conv.weight", "conv.bias"], ["c"], name="conv", pads=[1, 1, 1, 1]),
        helper.make_node("Relu", ["c"], ["r"], name="relu"),
        helper.make_node("GlobalAveragePool", ["r"], ["p"], name="pool"),
        helper.make_node("Flatten", ["p"], ["f"], name="flatten"),
        helper.make_node("Gemm", ["f", "head.weight", "head.bias"], ["logits"], name="head", transB=1),
    ]
    graph = helper.make_graph(
        nodes,
        "tiny",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, [size, 3, 8, 8])],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, [size, 5])],
        [numpy_helper.from_array(values, name) for name, values in tiny_weights().items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
    onnx.checker.check_model(model)
    onnx.save(model, str(path))
    return path


def write_slow_onnx(path: Path) -> Path:
    """Write a network of the same inputs and outputs that takes some hundred times as long."""
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    rng = np.random.default_rng(0)
    widths = [3, 128, 128, 128, 5]
    weights, nodes, last = [], [], "image"
    for number, (inputs, outputs) in enumerate(itertools.pairwise(widths)):
        values = rng.normal(size=(outputs, inputs, 3, 3)).astype(np.float32) / inputs
        weights.append(numpy_helper.from_array(values, f"w{number}"))
        nodes.append(helper.make_node("Conv", [last, f"w{number}"], [f"c{number}"], pads=[1, 1, 1, 1]))
        last = f"c{number}"
    nodes += [helper.make_node("GlobalAveragePool", [last], ["p"]), helper.make_node("Flatten", ["p"], ["logits"])]
    image = helper.make_tensor_value_info("image", TensorProto.FLOAT, ["N", 3, 8, 8])
    logits = helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["N", 5])
    graph = helper.make_graph(nodes, "slow", [image], [logits], weights)
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10), str(path))
    return path


def write_tiny_openvino(path: Path, *, batch: int | None = 1) -> Path:
    """Write the network as OpenVINO IR: ``path``, an .xml, and its .bin beside it; None: the batch axis is free."""
    from edgeglm_agent.engines.openvino import silenced_openvino

    ov = silenced_openvino()
    from openvino.tools.ovc import convert_model

    model = convert_model(write_tiny_onnx(path.with_suffix(".onnx"), batch=batch))
    ov.save_model(model, path, compress_to_fp16=False)
    return path


def write_quantized_onnx(path: Path, *, scheme: str) -> Path:
    """Write the network quantized by ONNX Runtime: ``static-int8`` (u8 activations) or ``dynamic-int8``."""
    from onnxruntime.quantization import (
        CalibrationDataReader,
        QuantFormat,
        QuantType,
        quantize_dynamic,
        quantize_static,
    )

    class Images(CalibrationDataReader):  # type: ignore[misc]
        def __init__(self) -> None:
            self._left = iter([{"image": tiny_images(16)}])

        def get_next(self) -> dict[str, np.ndarray] | None:
            return next(self._left, None)

    source = write_tiny_onnx(path.with_name("float-" + path.name))
    if scheme == "dynamic-int8":
        quantize_dynamic(source, path, per_channel=True, weight_type=QuantType.QInt8)
    else:
        quantize_static(
            source,
            path,
            Images(),
            quant_format=QuantFormat.QDQ,
            activation_type=QuantType.QUInt8,
            weight_type=QuantType.QInt8,
            per_channel=True,
        )
    return path


def write_tiny_tflite(path: Path, *, signature: bool = True) -> Path:
    """Write the network as TFLite, batch 1, NHWC; without ``signature`` as files were before there were any."""
    from ai_edge_litert import schema_py_generated as schema

    weights, file = tiny_weights(), _File()
    image = file.tensor("image", (1, 8, 8, 3))
    kernel = file.tensor("kernel", (4, 3, 3, 3), weights["conv.weight"].transpose(0, 2, 3, 1))
    conv_bias = file.tensor("conv_bias", (4,), weights["conv.bias"])
    hidden = file.tensor("hidden", (1, 8, 8, 4))
    axes = file.tensor("axes", (2,), np.array([1, 2], np.int32), kind=schema.TensorType.INT32)
    pooled = file.tensor("pooled", (1, 4))
    head = file.tensor("head", (5, 4), weights["head.weight"])
    head_bias = file.tensor("head_bias", (5,), weights["head.bias"])
    logits = file.tensor("logits", (1, 5))

    convolution, mean, dense = schema.Conv2DOptionsT(), schema.ReducerOptionsT(), schema.FullyConnectedOptionsT()
    convolution.padding, convolution.strideH, convolution.strideW = schema.Padding.SAME, 1, 1
    convolution.fusedActivationFunction = schema.ActivationFunctionType.RELU
    operators, options = schema.BuiltinOperator, schema.BuiltinOptions
    file.operator(
        operators.CONV_2D, [image, kernel, conv_bias], [hidden], options.Conv2DOptions, convolution, version=1
    )
    file.operator(operators.MEAN, [hidden, axes], [pooled], options.ReducerOptions, mean, version=1)
    file.operator(
        operators.FULLY_CONNECTED, [pooled, head, head_bias], [logits], options.FullyConnectedOptions, dense, version=1
    )
    path.write_bytes(file.content([image], [logits], signature=signature))
    return path


def write_int8_tflite(path: Path) -> Path:
    """Write one fully connected layer with INT8 inputs and outputs: y = x @ W.T with W the identity of size 4.

    Inputs are ``0.5 * (q - 3)``, outputs ``0.25 * (q + 2)``.
    """
    from ai_edge_litert import schema_py_generated as schema

    file, int8 = _File(), schema.TensorType.INT8
    x = file.tensor("x", (1, 4), kind=int8, quantization=(0.5, 3))
    identity = file.tensor("w", (4, 4), 100 * np.eye(4, dtype=np.int8), kind=int8, quantization=(0.01, 0))
    bias = file.tensor("b", (4,), np.zeros(4, np.int32), kind=schema.TensorType.INT32, quantization=(0.005, 0))
    y = file.tensor("y", (1, 4), kind=int8, quantization=(0.25, -2))
    file.operator(
        schema.BuiltinOperator.FULLY_CONNECTED,
        [x, identity, bias],
        [y],
        schema.BuiltinOptions.FullyConnectedOptions,
        schema.FullyConnectedOptionsT(),
        version=4,
    )
    path.write_bytes(file.content([x], [y], signature=True))
    return path


def write_dynamic_tflite(path: Path, *, width: int = 64, kind: str = "dynamic") -> Path:
    """Write one fully connected layer of 8-bit weights: y = x @ W.T / 100, W (8, width) of small whole numbers.

    Args:
        path: The file.
        width: Numbers that go in, as `x` (1, width) float32.
        kind: ``dynamic``: the layer is given float inputs and the 8-bit weights; ``weight-only``: an operator before
            it makes float32 of the weights.
    """
    from ai_edge_litert import schema_py_generated as schema

    file = _File()
    x = file.tensor("x", (1, width))
    numbers, int8 = dynamic_weights(width), schema.TensorType.INT8
    weights = file.tensor("w", (8, width), numbers, kind=int8, quantization=(0.01, 0), rows=8)
    y = file.tensor("y", (1, 8))
    if kind == "weight-only":
        packed, weights = weights, file.tensor("float_w", (8, width))
        file.operator(
            schema.BuiltinOperator.DEQUANTIZE,
            [packed],
            [weights],
            schema.BuiltinOptions.DequantizeOptions,
            schema.DequantizeOptionsT(),
            version=2,
        )
    file.operator(
        schema.BuiltinOperator.FULLY_CONNECTED,
        [x, weights, -1],
        [y],
        schema.BuiltinOptions.FullyConnectedOptions,
        schema.FullyConnectedOptionsT(),
        version=3,
    )
    path.write_bytes(file.content([x], [y], signature=True))
    return path


def dynamic_weights(width: int) -> np.ndarray:
    """Return the weights (8, width) int8 of ``write_dynamic_tflite``, in steps of 0.01."""
    return np.random.default_rng(1).integers(-100, 101, (8, width)).astype(np.int8)


class _File:
    """A TFLite file of one graph, put together piece by piece."""

    def __init__(self) -> None:
        from ai_edge_litert import schema_py_generated as schema

        self._schema = schema
        self.model: Any = schema.ModelT()
        self.model.version = 3
        self.model.buffers, self.model.operatorCodes = [schema.BufferT()], []
        self._graph: Any = schema.SubGraphT()
        self._graph.tensors, self._graph.operators = [], []
        self.model.subgraphs = [self._graph]

    def tensor(
        self,
        name: str,
        shape: tuple[int, ...],
        values: np.ndarray | None = None,
        *,
        kind: int = 0,  # TensorType.FLOAT32
        quantization: tuple[float, int] | None = None,
        rows: int = 1,  # that the scale is written for, one by one
    ) -> int:
        tensor = self._schema.TensorT()
        tensor.name, tensor.shape, tensor.type = name, list(shape), kind
        if quantization is not None:
            tensor.quantization = self._schema.QuantizationParametersT()
            tensor.quantization.scale = [quantization[0]] * rows
            tensor.quantization.zeroPoint = [quantization[1]] * rows
            tensor.quantization.quantizedDimension = 0
        if values is not None:
            buffer = self._schema.BufferT()
            buffer.data = np.frombuffer(np.ascontiguousarray(values).tobytes(), np.uint8)
            self.model.buffers.append(buffer)
            tensor.buffer = len(self.model.buffers) - 1
        self._graph.tensors.append(tensor)
        return len(self._graph.tensors) - 1

    def operator(
        self, kind: int, inputs: list[int], outputs: list[int], options_type: int, options: Any, *, version: int
    ) -> None:
        code = self._schema.OperatorCodeT()
        code.builtinCode = code.deprecatedBuiltinCode = kind
        code.version = version
        self.model.operatorCodes.append(code)
        operator = self._schema.OperatorT()
        operator.opcodeIndex = len(self.model.operatorCodes) - 1
        operator.inputs, operator.outputs = inputs, outputs
        operator.builtinOptionsType, operator.builtinOptions = options_type, options
        self._graph.operators.append(operator)

    def content(self, inputs: list[int], outputs: list[int], *, signature: bool) -> bytes:
        import flatbuffers  # type: ignore[import-untyped]

        self._graph.inputs, self._graph.outputs = inputs, outputs
        if signature:
            entry = self._schema.SignatureDefT()
            entry.signatureKey, entry.subgraphIndex = "serving_default", 0
            entry.inputs, entry.outputs = self._named(inputs), self._named(outputs)
            self.model.signatureDefs = [entry]
        builder = flatbuffers.Builder(1024)
        builder.Finish(self.model.Pack(builder), file_identifier=b"TFL3")
        return bytes(builder.Output())

    def _named(self, tensors: list[int]) -> list[Any]:
        named = []
        for index in tensors:
            entry = self._schema.TensorMapT()
            entry.name, entry.tensorIndex = self._graph.tensors[index].name, index
            named.append(entry)
        return named
