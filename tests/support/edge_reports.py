"""Reports at the edges: with nothing measured, with a thousand classes, with words that are markup."""

from __future__ import annotations

import random

from edgeglm.report.types import (
    ArtifactSide,
    BudgetResult,
    Change,
    ClassResult,
    DrawnBox,
    Host,
    Latency,
    LayerBytes,
    LayerLoss,
    OperatorTime,
    Parity,
    Report,
    RobustnessResult,
    Sample,
    Side,
    Skipped,
    SliceResult,
    SplitResult,
    StepSide,
    Verdict,
)
from tests.support.report_parts import HOST, accuracy, latency, paired


def bare_report() -> Report:
    """Everything that may be missing is missing; the one artifact came from a tflite file."""
    empty = Host(machine="", cpu="", cores=1, memory_bytes=0, features=[], system="", python="", versions={})
    artifact = ArtifactSide(format="tflite", scheme="none", path="model.tflite", sha256="")
    step = StepSide(index=0, step="finetune")
    return Report(
        name="bare",
        recipe={},
        target="rpi4",
        baseline=Side(),
        steps=[step],
        artifacts=[artifact],
        budget=BudgetResult(met=True),
        host=empty,
    )


def wide_report(count: int = 1000) -> Report:
    """A thousand classes with long names, most of them rare, and latencies of zero."""
    chance = random.Random(7)
    before, after = [], []
    for number in range(count):
        label = f"class {number:04d} of a very long taxonomy, sub-species with a comma (\u9577\u3044\u540d\u524d)"
        n = 50 if number % 3 == 0 else 12
        recall = chance.randint(n // 2, n) / n
        now = min(1.0, max(0.0, recall + chance.choice([-0.1, -0.04, 0.0, 0.0, 0.02])))
        before.append(ClassResult(label=label, n=n, recall=recall))
        after.append(
            ClassResult(label=label, n=n, recall=now, drop=recall - now, ci95=(recall - now - 0.1, recall - now + 0.1))
        )
    matrix = [[0] * count for _ in range(count)]
    for number in range(count):
        matrix[number][number] = 9
        matrix[number][(number * 7 + 1) % count] += 1 + number % 4
    still = Latency(p50=0.0, p95=0.0, p99=0.0, threads=1, batch=1, runs=200, runtime="onnxruntime 1.31.1")
    baseline = Side(
        params=25_557_032,
        size_bytes=102_000_000,
        metric=accuracy(38_000, 50_000),
        per_class=before,
        confusion=matrix,
        latency_ms=still,
    )
    artifact = ArtifactSide(
        format="onnx",
        scheme="static-int8",
        path="model.onnx",
        sha256="",
        size_bytes=103_000_000,
        size_ratio=0.99,
        speedup=None,
        metric=accuracy(37_000, 50_000),
        drop=paired(2_000, 1_000, 50_000),
        per_class=after,
        confusion=matrix,
        latency_ms=still,
        parity=Parity(samples=50_000, max_abs=None, max_ref=None, cosine=None, argmax_agreement=0.4, passed=False),
    )
    return Report(
        name="imagenet-" + "x" * 60,
        target="jetson-jp6",
        recipe={"budget": {"per_class_drop": 0.05}},
        baseline=baseline,
        steps=[],
        artifacts=[artifact],
        budget=BudgetResult(
            met=None,
            undecided=[
                Verdict(
                    key="budget.per_class_drop",
                    artifact="model.onnx",
                    limit=0.05,
                    measured=0.1,
                    message="model.onnx: open.",
                )
            ],
        ),
        host=HOST,
    )


HOSTILE = "<script>alert(1)</script>\"'&--></style><img src=x onerror=alert(2)>\u202e\x1b[31m"


def hostile_report() -> Report:
    """Markup and control characters in every place that a user writes."""
    side = Side(
        metric=accuracy(9, 10),
        per_class=[ClassResult(label=HOSTILE, n=40, recall=0.9), ClassResult(label="b", n=40, recall=0.9)],
        confusion=[[36, 4], [4, 36]],
        warnings=[HOSTILE],
        slices=[SliceResult(name=HOSTILE, n=40, value=0.9)],
        robustness=[RobustnessResult(name=HOSTILE, metric=accuracy(9, 10), unchanged=0.9)],
    )
    artifact = ArtifactSide(
        format="onnx",
        scheme="static-int8",
        path=f"{HOSTILE}.onnx",
        sha256="",
        metric=accuracy(8, 10),
        drop=paired(1, 0, 10),
        per_class=[
            ClassResult(label=HOSTILE, n=40, recall=0.8, drop=0.1),
            ClassResult(label="b", n=40, recall=0.9, drop=0.0),
        ],
        confusion=[[32, 8], [4, 36]],
        warnings=[HOSTILE],
        dtypes={HOSTILE: 4},
        size_bytes=9,
        layer_bytes=[LayerBytes(layer=HOSTILE, dtypes={HOSTILE: 4})],
        operator_ms=[OperatorTime(operator=HOSTILE, count=1, ms=1.0)],
        slices=[SliceResult(name=HOSTILE, n=40, value=0.8, drop=paired(1, 0, 40))],
        robustness=[RobustnessResult(name=HOSTILE, metric=accuracy(8, 10), unchanged=0.9, drop=paired(1, 0, 10))],
        changed=[
            Change(
                row=number,
                expected=HOSTILE,
                before=HOSTILE,
                after=HOSTILE,
                note=HOSTILE,
                row_before=1,
                row_after=2,
                picture_expected=HOSTILE,
                picture_before=f"data:text/html,{HOSTILE}",
                picture_after="https://example.org/x.png",
                boxes=[DrawnBox(what=HOSTILE, label=HOSTILE, box=(0.0, 0.0, 9.0, 9.0))],
            )
            for number in range(3)
        ],
        changed_count=3,
        changed_what=HOSTILE,
        reason=HOSTILE,
        sensitivity=[LayerLoss(layers=[HOSTILE], loss=0.5)],
        speedup_extra={HOSTILE: 2.0},
        metrics_extra={HOSTILE: 0.5},
        splits={HOSTILE: SplitResult(metric=accuracy(8, 10))},
        latency_ms=latency(1.0, HOSTILE),
        activation_type=HOSTILE,
    )
    verdict = Verdict(key="budget.size_mb", artifact=artifact.path, limit=1, measured=2, message=HOSTILE)
    return Report(
        name=HOSTILE,
        target=HOSTILE,
        recipe={"budget": {"size_mb": 1.0}, HOSTILE: {HOSTILE: [HOSTILE]}},
        baseline=side,
        steps=[StepSide(index=0, step=HOSTILE, settings={HOSTILE: [HOSTILE]}, notes=[HOSTILE], warnings=[HOSTILE])],
        artifacts=[artifact],
        budget=BudgetResult(met=False, violations=[verdict]),
        host=Host(
            machine=HOSTILE,
            cpu=HOSTILE,
            cores=1,
            memory_bytes=1,
            features=[HOSTILE],
            system=HOSTILE,
            python=HOSTILE,
            versions={HOSTILE: HOSTILE},
        ),
        warnings=[HOSTILE],
        skipped=[Skipped(format=HOSTILE, scheme=HOSTILE, reason=HOSTILE)],
        samples={
            "0": Sample(kind="image", image=HOSTILE, size=(9, 9)),
            "1": Sample(kind="text", text=HOSTILE),
            "2": Sample(kind="image", image="https://example.org/x.png", size=(9, 9)),
        },
        lineage={HOSTILE: HOSTILE, "provenance": {HOSTILE: HOSTILE}, "data_sha256": HOSTILE},
        started=HOSTILE,
    )
