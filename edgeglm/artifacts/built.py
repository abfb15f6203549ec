"""What an export or a quantization gives back."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path  # noqa: TC003 - a cache entry is converted to Built, which looks the types up

from edgeglm_agent.wire import Buckets, TensorSpec  # noqa: TC002

SLOW_CONVOLUTIONS = "dynamic-int8 makes convolutions slower than float on most CPUs; static-int8 suits them"
SLOW_DEPTHWISE = "dynamic-int8 makes depthwise convolutions slower than float in LiteRT; static-int8 suits them"


@dataclass(frozen=True)
class Built:
    """One file that was written, loaded again and run."""

    path: Path
    format: str  # onnx | tflite | openvino
    scheme: str  # none | fp16 | dynamic-int8 | static-int8 | weight-only-int8 | weight-only-int4 | a package's
    inputs: tuple[TensorSpec, ...]  # as the file takes them, shapes without the batch axis
    outputs: tuple[TensorSpec, ...]
    batch: int | None  # the one batch size the file takes; None: any
    activation_type: str = ""  # of static-int8: uint8 | int8
    warnings: list[str] = field(default_factory=list)
    buckets: Buckets | None = None  # lengths that sequences may be cut to


@dataclass(frozen=True)
class Calls:
    """What a float file shall be callable with, besides one row of full length."""

    batches: tuple[int, ...] = (1,)  # rows at a time, of a TFLite file; an ONNX file takes any
    buckets: Buckets | None = None


ONE_ROW = Calls()


def layout(shape: tuple[int, ...], *, channels_last: bool) -> str:
    """Return the axes of a shape that lacks the batch axis: NCHW, NHWC, NC, or "" when the rank says nothing."""
    if len(shape) == 3:
        return "NHWC" if channels_last else "NCHW"
    return "NC" if len(shape) == 1 else ""
