"""What a recipe may say: frozen structs, one per mapping of the file. No I/O here."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from edgeglm.sources import DataSource, ModelSource
from edgeglm.steps import StepConfig
from edgeglm.tasks import TaskConfig

Scheme = Literal["none", "fp16", "dynamic-int8", "static-int8"]
Target = Literal["rpi-zero2w", "rpi4", "rpi5", "jetson-jp6", "jetson-jp7", "x86-64"]


class Quantize(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How an artifact is quantized."""

    scheme: Scheme
    calibration: Annotated[int, Meta(ge=1)] = 256  # samples that static ranges are measured on
    ignore: list[str] = []  # layer names, or "re:" patterns, that stay in float


class ArtifactConfig(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One file to make."""

    format: Literal["onnx", "tflite"]
    quantize: Scheme | Quantize = "none"

    @property
    def scheme(self) -> Scheme:
        """The scheme, however it was written."""
        return self.quantize.scheme if isinstance(self.quantize, Quantize) else self.quantize

    @property
    def quantization(self) -> Quantize:
        """The settings, with their defaults."""
        return self.quantize if isinstance(self.quantize, Quantize) else Quantize(scheme=self.quantize)


class Budget(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What the result may cost; every artifact is judged by every line."""

    metric_drop: Annotated[float, Meta(ge=0, le=1)] | None = None  # absolute, in the bad direction
    per_class_drop: Annotated[float, Meta(ge=0, le=1)] | None = None  # recall, classes with n >= 30
    size_mb: Annotated[float, Meta(gt=0)] | None = None  # 10^6 bytes, the artifact's file
    peak_rss_mb: Annotated[float, Meta(gt=0)] | None = None  # 10^6 bytes, a process that serves it on this host
    min_speedup: Annotated[float, Meta(gt=0)] | None = None  # baseline p50 / artifact p50, batch 1, 1 thread
    host_latency_p95_ms: Annotated[float, Meta(gt=0)] | None = None  # on this host, batch 1, 1 thread


class Provenance(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Where the model comes from, in the user's words; travels in the manifest."""

    origin: str = ""
    date: str = ""
    license: str = ""
    personal_data: str = ""


class Golden(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Which samples travel with the artifacts to prove that they still work."""

    source: Literal["eval", "synthetic"] = "eval"  # synthetic: seeded noise, for private data


class ProcessStep(msgspec.Struct, frozen=True):
    """One operation of pre- or post-processing as written: `- normalise: {mean: ..}` or `- softmax`."""

    op: str
    settings: dict[str, Any] = {}


class Recipe(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One recipe, version 1."""

    version: Literal[1]
    name: Annotated[str, Meta(pattern="^[A-Za-z0-9][A-Za-z0-9._-]*$")]
    model: ModelSource
    data: DataSource
    task: TaskConfig
    artifacts: Annotated[list[ArtifactConfig], Meta(min_length=1)]
    target: Target = "x86-64"
    preprocess: list[ProcessStep] = []
    postprocess: list[ProcessStep] = []
    labels: str | list[str] = []  # a file with one label a line, or the labels
    provenance: Provenance = Provenance()
    seed: Annotated[int, Meta(ge=0, lt=2**32)] = 0
    device: Literal["auto", "cpu", "cuda"] = "auto"  # where steps train
    threads: Annotated[int, Meta(ge=1)] | None = None  # for training; None: every core
    steps: list[StepConfig] = []
    golden: Golden = Golden()
    budget: Budget = Budget()
    on_violation: Literal["fail", "best-effort"] = "fail"
