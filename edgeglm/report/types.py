"""report.json, schema 1. What every part of edgeglm fills in and every view reads."""

from __future__ import annotations

from typing import Any

import msgspec

REPORT_SCHEMA = 1
COUNTED = 30  # a class of fewer samples is reported, never judged


class Metric(msgspec.Struct, frozen=True, kw_only=True):
    """One figure on one split; fractions, not percent."""

    name: str
    value: float
    n: int
    ci95: tuple[float, float]
    higher_is_better: bool
    chance: float | None = None  # what answers reach that take no model; None: not known
    chance_by: str = ""  # how: "always answering the mean"; "": by guessing

    @property
    def no_better_than_chance(self) -> bool:
        """Whether the interval does not lie clear of chance, on the good side of it; an error: whether it is as high.

        The errors of a model and of a trivial answer go up and down with the same samples, so that the interval of the
        one says little about the other.
        """
        if self.chance is None:
            return False
        return self.ci95[0] <= self.chance if self.higher_is_better else self.value >= self.chance


class ClassResult(msgspec.Struct, frozen=True, kw_only=True):
    """The figure of one class: its recall where whole samples are classified."""

    label: str
    n: int  # samples, images or things of it
    recall: float | None = None  # None: there is no sample of it, or the figure is another
    metric: str = "recall"  # what ``value`` is: recall | iou | average_precision
    value: float | None = None  # None: there is no sample of it
    drop: float | None = None  # baseline's value minus this one; None on the baseline itself
    ci95: tuple[float, float] | None = None  # of ``drop``, paired on the same samples
    worse: int | None = None  # samples of this class right before and wrong now
    better: int | None = None  # wrong before and right now

    def __post_init__(self) -> None:
        """Fill in ``value`` where only ``recall`` is known, as in a report of before there were other figures."""
        if self.metric == "recall" and self.value is None:
            msgspec.structs.force_setattr(self, "value", self.recall)


class Drop(msgspec.Struct, frozen=True, kw_only=True):
    """What was lost against the baseline on the same samples, in the bad direction."""

    value: float
    ci95: tuple[float, float]
    n: int
    worse: int  # samples right before and wrong now; of a metric that is no count of right answers: with a worse score
    better: int  # the other way round
    method: str = "counts"  # of the interval: counts (paired right and wrong answers) | means | bootstrap | delong


class SliceResult(msgspec.Struct, frozen=True, kw_only=True):
    """The metric on a named part of a split."""

    name: str  # device=a
    n: int
    value: float | None  # None: there is no sample of it
    drop: Drop | None = None  # None on the baseline itself


class RobustnessResult(msgspec.Struct, frozen=True, kw_only=True):
    """The metric on samples of the split that decides, after they were changed as the recipe's `robustness` says."""

    name: str  # noise std=0.1
    metric: Metric  # on the changed samples
    unchanged: float  # the same metric on the same samples as they were
    drop: Drop | None = None  # against the baseline, which sees the same changed samples; None on the baseline itself


class AlarmRate(msgspec.Struct, frozen=True, kw_only=True):
    """What the limit in the recipe's own `postprocess` comes to on evaluation data."""

    limit: float  # in units of the score
    false_alarms: int  # normal samples beyond it
    normal: int  # of so many
    rate: float
    ci95: tuple[float, float]
    wanted: float  # the task's `false_alarm_rate`
    detection_rate: float  # share of the anomalous samples beyond it


class SplitResult(msgspec.Struct, frozen=True, kw_only=True):
    """Everything measured on one evaluation split."""

    metric: Metric
    metrics_extra: dict[str, float] = {}
    per_class: list[ClassResult] = []
    confusion: list[list[int]] = []  # [target][predicted]
    drop: Drop | None = None
    alarms: AlarmRate | None = None  # of anomaly detection by a limit of the recipe's own
    slices: list[SliceResult] = []


class Latency(msgspec.Struct, frozen=True, kw_only=True):
    """Latency on this host, interleaved with the baseline; spinning threads off."""

    p50: float
    p95: float
    p99: float
    threads: int
    batch: int
    runs: int
    runtime: str  # onnxruntime 1.31.1 | litert 2.3.0


class Parity(msgspec.Struct, frozen=True, kw_only=True):
    """How far an artifact's outputs lie from those of the network it was made from."""

    samples: int
    max_abs: float | None  # None, here and below: not finite
    max_ref: float | None
    cosine: float | None  # mean of the samples; None too where there are too few numbers to have a direction
    error_share: float | None = None  # squared error / variance over the samples, of the worst number; None: as above
    argmax_agreement: float  # share of ``answers`` with the same largest value; 0 where there are none
    answers: str = ""  # what is decided by the largest value: samples | pixels; "": nothing, or not known
    passed: bool  # float: max_abs <= 1e-4 * max_ref; quantized: see ``edgeglm.measure.parity.compare``


class LayerBytes(msgspec.Struct, frozen=True, kw_only=True):
    """Constants of one layer of a file."""

    layer: str  # "": all the others
    dtypes: dict[str, int]  # type -> bytes
    layers: int = 1  # how many this stands for


class OperatorTime(msgspec.Struct, frozen=True, kw_only=True):
    """All operators of one type, as the runtime's profiler times them on this host, on 1 thread."""

    operator: str
    count: int
    ms: float  # a run, all of them together


class Sample(msgspec.Struct, frozen=True, kw_only=True):
    """One sample of the evaluation data, small enough to be looked at."""

    kind: str  # image | text | series
    image: str = ""  # data:image/png;base64,...
    text: str = ""
    series: list[list[float]] = []  # a line a channel
    size: tuple[int, int] | None = None  # of an image: width and height before it was made small; None: not known


class DrawnBox(msgspec.Struct, frozen=True, kw_only=True):
    """One box of a detector on the image of its sample."""

    what: str  # same | gone | new
    label: str
    box: tuple[float, float, float, float]  # x1, y1, x2, y2 in pixels of the image before it was made small


class Change(msgspec.Struct, frozen=True, kw_only=True):
    """One sample that an artifact answers otherwise than the original."""

    row: int  # of the split that decides
    expected: str = ""  # "": not known
    before: str
    after: str
    sure_before: float | None = None  # probability of the answer, 0 to 1
    sure_after: float | None = None
    right_before: bool | None = None
    right_after: bool | None = None
    note: str = ""  # how far it moved, and what else is to be said
    row_before: int | None = None  # the answer is another sample of the split (a nearest neighbour): which
    row_after: int | None = None
    picture_expected: str = ""  # the answer is a picture (a map of classes): data:image/png;base64,...
    picture_before: str = ""
    picture_after: str = ""
    boxes: list[DrawnBox] = []  # before and after, drawn on the sample; those that are gone or new first


class Side(msgspec.Struct, frozen=True, kw_only=True):
    """One measured side: the baseline, the network after a step, an artifact."""

    params: int | None = None
    macs: int | None = None
    size_bytes: int | None = None
    metric: Metric | None = None
    metrics_extra: dict[str, float] = {}
    per_class: list[ClassResult] = []
    confusion: list[list[int]] = []
    drop: Drop | None = None
    alarms: AlarmRate | None = None  # of anomaly detection by a limit of the recipe's own
    slices: list[SliceResult] = []
    robustness: list[RobustnessResult] = []  # in the recipe's order; on at most 2,000 samples
    splits: dict[str, SplitResult] = {}  # the further evaluation splits, by name
    latency_ms: Latency | None = None  # 1 thread, rows as in the recipe's `serve.batch`
    latency_ms_extra: list[Latency] = []  # 2 threads
    peak_rss_bytes: int | None = None
    layer_bytes: list[LayerBytes] = []  # largest first
    operator_ms: list[OperatorTime] = []  # longest first; empty: the runtime does not tell
    warnings: list[str] = []


class StepSide(Side, frozen=True, kw_only=True):
    """The network after one step; size and latency are those of its stripped FP32 ONNX file."""

    index: int
    step: str
    settings: dict[str, Any] = {}
    precision: str = ""  # that it trained in, chosen by a timing where the recipe says `auto`: float32 | bfloat16
    notes: list[str] = []
    seconds: float = 0.0
    cached: bool = False


class LayerLoss(msgspec.Struct, frozen=True, kw_only=True):
    """What quantizing one group of layers alone costs, on calibration samples."""

    layers: list[str]
    loss: float  # error of what the task reads / its variance in float, mean of its parts: 0 is exact, 1 a constant
    kept: bool = False  # left in higher precision because of it
    scheme: str = ""  # what they got instead, if kept: none (float), or a wider scheme


class BucketLatency(msgspec.Struct, frozen=True, kw_only=True):
    """Latency with sequences cut to one length, 1 thread, timed beside the full one."""

    length: int
    share: float  # of the evaluation samples that go in cut to it, one at a time
    latency_ms: Latency
    speedup: float  # baseline p50, at full length, / this p50


class ArtifactSide(Side, frozen=True, kw_only=True):
    """One file that was made."""

    format: str
    scheme: str
    path: str
    sha256: str
    activation_type: str = ""  # of static-int8: uint8 | int8
    ranges: str = ""  # of static-int8, where they are not the extremes: mean
    dtypes: dict[str, int] = {}  # weight bytes by type
    parity: Parity | None = None
    size_ratio: float | None = None  # baseline bytes / artifact bytes
    speedup: float | None = None  # baseline p50 / artifact p50, 1 thread, this host
    speedup_ci95: tuple[float, float] | None = None  # of ``speedup``, over the rounds in which both were timed
    speedup_extra: dict[str, float] = {}  # "threads=2" -> ratio
    speedup_extra_ci95: dict[str, tuple[float, float]] = {}  # the same, as ``speedup_ci95``
    changed: list[Change] = []  # the most telling first; not all of them
    changed_count: int | None = None  # all of them; None: not looked for
    changed_what: str = ""  # what they are, after "12 of 500": answers changed; "": an older report
    buckets: list[BucketLatency] = []  # lengths below the full one; empty: sequences are not cut
    ignored: list[str] = []  # layers left in float by the recipe, or in higher precision by a scan of sensitivity
    candidate: bool = False  # whether `auto` proposed it
    chosen: bool = True  # written to the result; False: a candidate that has a row here alone
    pareto: bool | None = None  # nothing else is as good, as small and as fast, and better in one; None: not asked
    dominated_by: str = ""  # path of an artifact that is
    outpaced: bool = False  # timed in fewer runs, and on 1 thread alone: another was as right and faster beyond doubt
    reason: str = ""  # why `auto` proposed it
    sensitivity: list[LayerLoss] = []  # the most sensitive first; empty: not scanned


class Verdict(msgspec.Struct, frozen=True, kw_only=True):
    """One line of the budget that one artifact did not clearly meet."""

    key: str  # budget.metric_drop
    artifact: str  # its path
    limit: float
    measured: float | None  # None: not measured
    message: str
    ci95: tuple[float, float] | None = None
    n_needed: int | None = None


class BudgetResult(msgspec.Struct, frozen=True, kw_only=True):
    """met: true when all is met, false when something is missed, null when something cannot be told.

    It is null too where the recipe sets no limit: then nothing is undecided either.
    """

    met: bool | None
    violations: list[Verdict] = []
    undecided: list[Verdict] = []
    passed_over: list[Verdict] = []  # missed by candidates of `auto` that were not chosen: no fault of the result
    passed_over_undecided: list[Verdict] = []  # lines of such candidates that could not be told


class Host(msgspec.Struct, frozen=True, kw_only=True):
    """The machine that measured; its figures are not the board's."""

    machine: str  # x86_64
    cpu: str
    cores: int
    memory_bytes: int
    features: list[str]  # avx2, avx512_vnni, asimddp, ...
    system: str
    python: str
    versions: dict[str, str]


class Skipped(msgspec.Struct, frozen=True, kw_only=True):
    """A candidate of `auto` that was not made."""

    format: str
    scheme: str  # "": every scheme of the format
    reason: str  # tflite: extra not installed


class Report(msgspec.Struct, frozen=True, kw_only=True):
    """One run of one recipe."""

    schema: int = REPORT_SCHEMA
    name: str
    recipe: dict[str, Any]  # resolved
    target: str
    baseline: Side
    steps: list[StepSide]
    artifacts: list[ArtifactSide]
    budget: BudgetResult
    host: Host
    warnings: list[str] = []
    skipped: list[Skipped] = []  # candidates of `auto` that were not made
    order_kept: bool = False  # an earlier run of the same files chose among `auto`'s by its timing: that choice stands
    samples: dict[str, Sample] = {}  # row of the split that decides -> what it looks like
    lineage: dict[str, Any] = {}  # ``edgeglm_agent.wire.Lineage`` as plain data
    started: str = ""  # RFC 3339, UTC
    seconds: float = 0.0
