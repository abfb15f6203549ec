"""What a recipe may say: frozen structs, one per mapping of the file. No I/O here."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Literal

import msgspec
from msgspec import Meta

from edgeglm.data.shifts import ShiftConfig
from edgeglm.plugins import tag
from edgeglm.schemes import SchemeConfig
from edgeglm.sources import DataSource, ModelSource, data_types, model_types
from edgeglm.steps import StepConfig
from edgeglm.tasks import TaskConfig, task_types

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

Scheme = Literal["none", "fp16", "dynamic-int8", "static-int8", "weight-only-int8", "weight-only-int4", "auto"]
LayerScheme = Literal["none", "dynamic-int8", "static-int8", "weight-only-int8", "weight-only-int4"]
BlockSize = Literal[32, 64, 128]
FEW_SAMPLES = 32  # fewer are too few to measure static ranges on
Target = Literal["rpi-zero2w", "rpi4", "rpi5", "jetson-jp6", "jetson-jp7", "x86-64"]

# a field of such a type holds one of these, which says itself which one by `source` or `kind`
TAGGED: dict[type[msgspec.Struct], Callable[[], Mapping[str, type[msgspec.Struct]]]] = {
    ModelSource: model_types,
    DataSource: data_types,
    TaskConfig: task_types,
}


class LayerRule(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Layers that are quantized otherwise than the rest."""

    match: str  # a layer's name, or "re:" and a pattern; a layer stands for all it holds
    scheme: LayerScheme  # none: they stay in float
    block_size: BlockSize | None = None  # as that of the whole artifact, for these layers


class Quantize(SchemeConfig, tag=False, frozen=True, kw_only=True):
    """How an artifact is quantized."""

    scheme: Scheme  # static-int8 suits CNNs, dynamic-int8 transformers; fp16 halves the file; auto: what measures best
    calibration: Annotated[int, Meta(ge=1)] = 256  # samples that static ranges are measured on
    ranges: Literal["extremes", "mean"] | None = None  # of activations: the largest seen; mean clips what is rare
    ignore: list[str] = []  # layer names, or "re:" patterns, that stay in float
    block_size: BlockSize | None = None  # weights that share a scale, of weight-only schemes; null: 32, ONNX INT8 64
    layers: list[LayerRule] = []  # layers with a scheme of their own; where several match, the last one counts
    accuracy_control: bool = False  # leave in float the layers that cost more than `budget.metric_drop`

    @property
    def schemes(self) -> frozenset[str]:
        """Every scheme that some layer may get."""
        return frozenset({self.scheme, *(rule.scheme for rule in self.layers)})

    @property
    def calibrated(self) -> bool:
        """Whether nothing can be written without samples."""
        return "static-int8" in self.schemes

    @property
    def may_be_static(self) -> bool:
        """Whether ranges of activations are measured on samples, or may be."""
        return bool(self.schemes & {"static-int8", "auto"})

    def reads_samples(self, file_format: str) -> bool:
        """Return whether samples, where there are any, change the bytes: dynamic INT8 smooths outliers in ONNX."""
        return self.calibrated or (file_format == "onnx" and "dynamic-int8" in self.schemes)

    @property
    def calibration_samples(self) -> int:
        """How many samples of the calibration split are read, at most."""
        return self.calibration


class Search(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How far `auto`, and `accuracy_control`, look; of no meaning elsewhere."""

    trials: Annotated[int, Meta(ge=0, le=1000)] = 32  # groups of layers quantized alone, where a scheme loses too much
    samples: Annotated[int, Meta(ge=1)] = 64  # calibration samples of each such trial
    keep: Literal["chosen", "pareto"] = "chosen"  # files to write: the best of each format, or all that none dominates


class Signatures(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a TFLite file can be called with, besides one row."""

    batch: Annotated[list[Annotated[int, Meta(ge=1, le=256)]], Meta(min_length=1)] = msgspec.field(
        default_factory=lambda: [1]
    )  # rows at a time


class ArtifactConfig(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One file to make."""

    format: Literal["onnx", "tflite", "openvino", "auto"]  # tflite: LiteRT; openvino: x86-64 alone; auto: all that go
    quantize: Scheme | SchemeConfig = "none"  # a scheme, or its settings; with `format: auto` the default is auto
    search: Search = Search()  # how far `auto`, and `accuracy_control`, look
    buckets: list[Annotated[int, Meta(ge=1)]] = []  # lengths that padded sequences are cut to, besides the full one
    signatures: Signatures = Signatures()  # of a TFLite file

    @property
    def several_batches(self) -> bool:
        """Whether it is to be called with other numbers of rows than one, by signatures of its own."""
        return set(self.signatures.batch) != {1}

    @property
    def is_auto(self) -> bool:
        """Whether candidates are to be made and compared."""
        return "auto" in (self.format, self.scheme)

    @property
    def scheme(self) -> str:
        """The scheme, however it was written."""
        chosen = self.quantization
        return chosen.scheme if isinstance(chosen, Quantize) else tag(chosen)

    @property
    def quantization(self) -> SchemeConfig:
        """The settings, with their defaults: ``Quantize``, or the struct that a package adds."""
        return self.quantize if isinstance(self.quantize, SchemeConfig) else Quantize(scheme=self.quantize)


class Budget(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What the result may cost; every artifact is judged by every line."""

    metric_drop: Annotated[float, Meta(ge=0)] | None = None  # a fraction: 0.01 is one point lost; rmse in its unit
    per_class_drop: Annotated[float, Meta(ge=0, le=1)] | None = None  # recall's or overlap's, 0.01 is a point; n >= 30
    per_slice_drop: Annotated[float, Meta(ge=0)] | None = None  # the metric's, in every slice; n >= 30
    size_mb: Annotated[float, Meta(gt=0)] | None = None  # 10^6 bytes, the artifact's file
    peak_rss_mb: Annotated[float, Meta(gt=0)] | None = None  # 10^6 bytes, a process that serves it on this host
    min_speedup: Annotated[float, Meta(gt=0)] | None = None  # baseline p50 / artifact p50, 1 thread
    host_latency_p95_ms: Annotated[float, Meta(gt=0)] | None = None  # on this host, 1 thread, rows as in `serve.batch`


class Provenance(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Where the model comes from, in the user's words; travels in the manifest."""

    origin: str = ""  # who trained it, and on what
    date: str = ""  # when
    license: str = ""  # of the weights
    personal_data: str = ""  # none, or what the training data held


class Golden(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Which samples travel with the artifacts to prove that they still work."""

    source: Literal["eval", "synthetic"] = "eval"  # synthetic: seeded noise, for private data


class Serve(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How the board will call the model; what is judged, timed and proved is called the same way."""

    batch: Annotated[int, Meta(ge=1, le=256)] = 1  # rows at a time; under dynamic-int8 they share one scale a tensor


class ProcessStep(msgspec.Struct, frozen=True):
    """One operation of pre- or post-processing as written: `- normalise: {mean: ..}` or `- softmax`."""

    op: str
    settings: dict[str, Any] = {}


class Recipe(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One recipe, version 1."""

    version: Literal[1]  # of the format of recipes
    name: Annotated[str, Meta(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*\Z")]  # of the model; names its output folder
    model: ModelSource  # where the network comes from
    data: DataSource  # where the samples come from
    task: TaskConfig  # what "good" means
    artifacts: Annotated[list[ArtifactConfig], Meta(min_length=1)]  # the files to make; `auto`: the best there are
    target: Target = "x86-64"  # the board; decides opset, runtimes, threads and activation type
    preprocess: list[ProcessStep] = []  # done to each input, here and on the board, in this order
    postprocess: list[ProcessStep] = []  # done to the outputs, on the board, in this order
    labels: str | list[str] = []  # a file with one label a line, or the labels
    provenance: Provenance = Provenance()  # where the model comes from; travels in the manifest
    seed: Annotated[int, Meta(ge=0, lt=2**32)] = 0  # same seed, threads, `precision`: same weights, metrics, sizes
    device: Literal["auto", "cpu", "cuda"] = "auto"  # where steps train
    threads: Annotated[int, Meta(ge=1, le=256)] | None = None  # for training; None: every core
    steps: list[StepConfig] = []  # done to the network, in this order
    slices: list[str] = []  # parts of the evaluation data: a column, or a function `path.py:function` of the samples
    serve: Serve = Serve()  # how the board will call the model
    robustness: list[ShiftConfig] = []  # changes of evaluation samples, under which the metric is measured again
    golden: Golden = Golden()  # samples that travel with the artifacts
    budget: Budget = Budget()  # what the result may cost
    on_violation: Literal["fail", "best-effort"] = "fail"  # fail: the result goes to rejected/; both exit 3
