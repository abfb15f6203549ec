"""Reports as edgeglm writes them, made by arithmetic: a good run, a bad one, and those at the edges (``SAMPLES``)."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from edgeglm_agent.wire import TensorSpec

from edgeglm.data.samples import map_picture, show_sample
from edgeglm.report.types import (
    ArtifactSide,
    BudgetResult,
    Change,
    ClassResult,
    DrawnBox,
    Drop,
    LayerBytes,
    LayerLoss,
    Metric,
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
from tests.support.edge_reports import bare_report, hostile_report, wide_report
from tests.support.report_parts import CIFAR_LABELS, HOST, accuracy, classes, confusion, latency, paired


def cifar_report(**changes: Any) -> Report:
    """ResNet-56 on 500 images of CIFAR-10: pruned, distilled, four files, one line of the budget open."""
    n, a_class = 500, 50
    base_wrong = [3, 1, 5, 8, 3, 6, 1, 2, 1, 2]
    tflite_wrong = [3, 1, 6, 9, 2, 7, 2, 2, 1, 2]
    onnx_wrong = [4, 1, 5, 9, 3, 7, 1, 2, 2, 2]
    float_wrong = [3, 1, 5, 9, 3, 6, 2, 2, 1, 2]
    baseline = Side(
        params=853_018,
        macs=125_485_696,
        size_bytes=3_436_112,
        metric=accuracy(n - sum(base_wrong), n),
        metrics_extra={"top-5 accuracy": 0.998},
        per_class=classes(CIFAR_LABELS, a_class, base_wrong),
        confusion=confusion(a_class, base_wrong),
        latency_ms=latency(4.216),
        latency_ms_extra=[latency(2.611, threads=2)],
        peak_rss_bytes=61_400_000,
    )

    def artifact(
        path: str,
        scheme: str,
        size: int,
        p50: float,
        p50_2: float,
        wrong: list[int],
        drop: Drop,
        seed: int,
        **more: Any,
    ) -> ArtifactSide:
        kind = path.rsplit(".", 1)[1]
        runtime = "onnxruntime 1.31.1" if kind == "onnx" else "litert 2.3.0"
        return ArtifactSide(
            format=kind,
            scheme=scheme,
            path=path,
            sha256="5f" * 32,
            params=392_154,
            macs=57_802_752,
            size_bytes=size,
            metric=accuracy(n - sum(wrong), n),
            metrics_extra={"top-5 accuracy": 0.996},
            per_class=classes(CIFAR_LABELS, a_class, wrong, base_wrong),
            confusion=confusion(a_class, wrong, seed),
            drop=drop,
            latency_ms=latency(p50, runtime),
            latency_ms_extra=[latency(p50_2, runtime, threads=2)],
            size_ratio=3_436_112 / size,
            speedup=4.216 / p50,
            speedup_extra={"threads=2": 2.611 / p50_2},
            **more,
        )

    quantized = Parity(samples=500, max_abs=1.83, max_ref=14.2, cosine=0.9986, argmax_agreement=0.988, passed=True)
    exact = Parity(samples=500, max_abs=1.1e-5, max_ref=14.2, cosine=1.0, argmax_agreement=1.0, passed=True)
    artifacts = [
        artifact(
            "model.none.onnx",
            "none",
            1_588_204,
            2.31,
            1.52,
            float_wrong,
            paired(6, 4, n),
            1,
            dtypes={"float32": 1_568_616},
            parity=exact,
            peak_rss_bytes=55_100_000,
        ),
        artifact(
            "model.static-int8.onnx",
            "static-int8",
            467_010,
            2.08,
            1.49,
            onnx_wrong,
            paired(11, 7, n),
            2,
            dtypes={"int8": 391_120, "float32": 21_004},
            parity=quantized,
            activation_type="uint8",
            peak_rss_bytes=52_800_000,
        ),
        artifact(
            "model.static-int8.tflite",
            "static-int8",
            529_880,
            1.137,
            0.741,
            tflite_wrong,
            paired(9, 6, n),
            3,
            dtypes={"int8": 391_120, "int32": 17_360},
            parity=quantized,
            activation_type="int8",
            peak_rss_bytes=31_250_000,
        ),
        artifact(
            "model.dynamic-int8.onnx",
            "dynamic-int8",
            474_400,
            9.62,
            6.31,
            float_wrong,
            paired(7, 5, n),
            4,
            dtypes={"int8": 391_120, "float32": 21_004},
            parity=quantized,
            peak_rss_bytes=57_300_000,
            warnings=["dynamic-int8 suits transformers, not convolutional networks"],
        ),
    ]
    artifacts = [artifacts[1], artifacts[2], artifacts[0], artifacts[3]]  # best first, as the pipeline orders them
    steps = [
        StepSide(
            index=0,
            step="steps[0].prune",
            settings={
                "method": "taylor",
                "channel_ratio": 0.33,
                "round_to": 8,
                "ignore": ["re:.*head"],
                "global": False,
            },
            params=392_154,
            macs=57_802_752,
            size_bytes=1_588_204,
            metric=accuracy(319, n),
            drop=paired(151, 2, n),
            latency_ms=latency(2.33),
            seconds=14.2,
            notes=["55 convolutions lost 33 % of their channels on average"],
        ),
        StepSide(
            index=1,
            step="steps[1].distill",
            settings={"teacher": "original", "epochs": 12, "temperature": 4.0, "alpha": 0.7, "learning_rate": 0.02},
            params=392_154,
            macs=57_802_752,
            size_bytes=1_588_204,
            metric=accuracy(466, n),
            drop=paired(6, 4, n),
            latency_ms=latency(2.30),
            seconds=611.0,
            cached=True,
            notes=["best weights after epoch 11 of 12; bfloat16"],
        ),
    ]
    slow = "model.dynamic-int8.onnx"
    budget = BudgetResult(
        met=False,
        violations=[
            Verdict(
                key="budget.host_latency_p95_ms",
                artifact=slow,
                limit=5.0,
                measured=10.77,
                message=f"{slow}: p95 latency on this host is 10.8 ms; the budget allows 5 ms. Leave this scheme out.",
            )
        ],
        undecided=[
            Verdict(
                key="budget.metric_drop",
                artifact="model.static-int8.tflite",
                limit=0.02,
                measured=0.006,
                ci95=(-0.009, 0.021),
                n_needed=612,
                message="model.static-int8.tflite: accuracy fell by 0.6 pt (95 % interval -0.9 to 2.1 pt, n 500); "
                "the limit of 2 pt lies inside the interval. About 612 samples would tell.",
            )
        ],
    )
    fields: dict[str, Any] = {
        "name": "resnet56-cifar10",
        "target": "rpi5",
        "recipe": {
            "version": 1,
            "name": "resnet56-cifar10",
            "target": "rpi5",
            "seed": 0,
            "model": {"source": "python", "entry": "./model.py:build", "weights": "resnet56.safetensors"},
            "data": {"source": "python", "entry": "./data.py:load", "args": {"folder": "cifar-10"}},
            "steps": [{"prune": steps[0].settings}, {"distill": steps[1].settings}],
            "artifacts": [{"format": a.format, "quantize": a.scheme} for a in artifacts],
            "budget": {"metric_drop": 0.02, "size_mb": 2.0, "host_latency_p95_ms": 5.0, "min_speedup": None},
            "on_violation": "best-effort",
        },
        "baseline": baseline,
        "steps": steps,
        "artifacts": artifacts,
        "budget": budget,
        "host": HOST,
        "warnings": ["3 of 10,000 training images are also in the evaluation split; they were left out of training"],
        "lineage": {"recipe_sha256": "ab" * 32, "data_sha256": "cd" * 32, "versions": HOST.versions},
        "started": "2026-11-22T03:58:41Z",
        "seconds": 742.0,
    }
    return Report(**(fields | changes))


def digits_report() -> Report:
    """A small run that met its budget: one file, a further split, classes too rare to judge."""
    labels = tuple(str(digit) for digit in range(10))
    wrong, after = [0, 1, 0, 1, 0, 0, 0, 0, 2, 1], [0, 1, 0, 0, 0, 1, 0, 0, 2, 1]
    per_class = classes(labels, 36, wrong)
    rare = [ClassResult(label="smudge", n=7, recall=0.571)]
    rare_after = [ClassResult(label="smudge", n=7, recall=0.286, drop=0.285, ci95=(-0.1, 0.6))]
    baseline = Side(
        params=77_850,
        macs=2_512_000,
        size_bytes=318_144,
        metric=accuracy(355, 367),
        per_class=per_class + rare,
        latency_ms=latency(0.149),
        peak_rss_bytes=48_000_000,
        splits={"night": SplitResult(metric=accuracy(180, 190))},
    )
    artifact = ArtifactSide(
        format="tflite",
        scheme="static-int8",
        path="model.tflite",
        sha256="0a" * 32,
        size_bytes=98_496,
        metric=accuracy(354, 367),
        drop=paired(2, 1, 367),
        per_class=classes(labels, 36, after, wrong) + rare_after,
        splits={"night": SplitResult(metric=accuracy(178, 190), drop=paired(3, 1, 190))},
        latency_ms=latency(0.041, "litert 2.3.0"),
        size_ratio=3.23,
        speedup=3.63,
        speedup_extra={"threads=2": 3.1},
        peak_rss_bytes=24_000_000,
        dtypes={"int8": 77_100, "int32": 2_100},
        activation_type="int8",
        parity=Parity(samples=367, max_abs=0.4, max_ref=9.0, cosine=0.999, argmax_agreement=0.997, passed=True),
    )
    return Report(
        name="digits-cnn",
        target="x86-64",
        recipe={"budget": {"metric_drop": 0.05, "size_mb": 0.2}, "name": "digits-cnn"},
        baseline=baseline,
        steps=[],
        artifacts=[artifact],
        budget=BudgetResult(met=True),
        host=HOST,
    )


def embedding_report() -> Report:
    """Vectors, whose changes have many digits: the columns are as wide as they get."""
    found = cifar_report()

    def cosine(value: float) -> Metric:
        ends = (value - 0.00008, value + 0.00008)
        return Metric(name="cosine_to_original", value=value, n=157, ci95=ends, higher_is_better=True)

    drop = Drop(value=0.000541, ci95=(0.000522, 0.00056), n=157, worse=157, better=0, method="means")
    texts = {
        3: "The pump is hot, and the valve that was loud yesterday is quiet today.",
        7: "The valve was quiet.",
        9: "A pump that runs hot wears its bearings out long before anybody hears of it.",
    }
    drawn = map_picture(np.arange(64 * 64).reshape(64, 64) // 512)
    changed = [
        Change(
            row=3,
            before="nearest: sample 7, cosine 0.713",
            after="nearest: sample 9, cosine 0.708",
            row_before=7,
            row_after=9,
            note="cosine of its vector to the original's 0.9812",
        ),
        Change(
            row=9,
            before="93.1 % of pixels right",
            after="88.4 % of pixels right",
            note="6.2 % of the pixels changed (254 of 4,096)",
            picture_expected=drawn,
            picture_before=drawn,
            picture_after=drawn,
        ),
        Change(
            row=12,
            expected="2 dog",
            before="2 dog, 1 cat",
            after="2 dog",
            note="gone: dog 62 %, cat 41 %; new: dog 37 %",
            boxes=[
                DrawnBox(what="gone", label="dog", box=(4.0, 6.0, 20.0, 30.0)),
                DrawnBox(what="gone", label="cat", box=(30.0, 6.0, 50.0, 20.0)),
                DrawnBox(what="new", label="dog", box=(6.0, 36.0, 26.0, 60.0)),
                DrawnBox(what="same", label="dog", box=(36.0, 30.0, 60.0, 60.0)),
            ],
        ),
    ]
    artifacts = [
        msgspec.structs.replace(
            side,
            changed=changed,
            changed_count=12,
            changed_what="nearest neighbours changed",
            format="openvino",
            scheme="weight-only-int8",
            metric=cosine(0.9995),
            metrics_extra={"cosine_min": 0.9989, "neighbour_agreement_1": 0.9682},
            per_class=[],
            confusion=[],
            drop=drop,
        )
        for side in found.artifacts
    ]
    baseline = msgspec.structs.replace(found.baseline, metric=cosine(1.0), per_class=[], confusion=[])
    samples = {str(row): Sample(kind="text", text=text) for row, text in texts.items()}
    samples["12"] = Sample(kind="image", image=drawn, size=(64, 64))
    return msgspec.structs.replace(found, baseline=baseline, artifacts=artifacts, steps=[], samples=samples)


def rejected_report(**changes: Any) -> Report:
    """The CIFAR run where every file missed the budget and none may be shipped."""
    found = cifar_report()
    missed = [
        Verdict(key="budget.size_mb", artifact=side.path, limit=0.1, measured=0.5, message=f"{side.path}: too large.")
        for side in found.artifacts
    ]
    return msgspec.structs.replace(
        found,
        recipe=found.recipe | {"on_violation": "fail"},
        budget=BudgetResult(met=False, violations=missed, undecided=found.budget.undecided),
        **changes,
    )


def rich_report(**changes: Any) -> Report:
    """The CIFAR run by `auto`: candidates that were not chosen, slices, disturbances, bytes, times, changed answers."""
    found = cifar_report()
    n = 500
    names = ("camera=north", "camera=south", "light=day", "light=night", "weather=fog")
    sizes = (260, 240, 350, 150, 12)

    def slices(lost: list[int] | None) -> list[SliceResult]:
        results = []
        for place, (name, size) in enumerate(zip(names, sizes, strict=True)):
            drop = None if lost is None else paired(lost[place] + 2, 2, size)
            results.append(SliceResult(name=name, n=size, value=0.936 - (lost[place] / size if lost else 0), drop=drop))
        return results

    def disturbed(wrong: list[int], drop: bool) -> list[RobustnessResult]:
        return [
            RobustnessResult(
                name=name,
                metric=accuracy(n - missed, n),
                unchanged=0.936,
                drop=paired(9 + place, 6, n) if drop else None,
            )
            for place, (name, missed) in enumerate(zip(("noise std=0.1", "blur sigma=1"), wrong, strict=True))
        ]

    layers = [
        LayerBytes(layer=f"layer{stage}.{block}.conv", dtypes={"float32": 300_000 // block})
        for stage in (3, 2, 1)
        for block in (1, 2, 3)
    ]
    layers.append(LayerBytes(layer="", dtypes={"float32": 40_000}, layers=31))
    times = [
        OperatorTime(operator=kind, count=count, ms=ms)
        for kind, count, ms in (("Conv", 55, 3.6), ("Relu", 55, 0.4), ("Add", 27, 0.2), ("Gemm", 1, 0.01))
    ]
    baseline = msgspec.structs.replace(
        found.baseline,
        slices=slices(None),
        robustness=disturbed([60, 80], drop=False),
        layer_bytes=layers,
        operator_ms=times,
    )
    small = [msgspec.structs.replace(row, dtypes={"int8": sum(row.dtypes.values()) // 8}) for row in layers]
    grey = np.add.outer(np.arange(24), np.arange(24)).astype(np.float32)[None]
    picture = show_sample({"x": grey}, [TensorSpec("x", "float32", (1, 24, 24), "NCHW")], [], Path())
    samples = {
        "17": picture,
        "204": Sample(kind="text", text="The pump is hot, and the valve that was loud yesterday is quiet."),
        "318": Sample(kind="series", series=[[math.sin(place / 6) for place in range(90)], [0.1] * 90]),
    }
    changed = [
        Change(
            row=17,
            expected="cat",
            before="cat",
            after="dog",
            sure_before=0.61,
            sure_after=0.93,
            right_before=True,
            right_after=False,
        ),
        Change(
            row=204,
            expected="ship",
            before="truck",
            after="airplane",
            sure_before=0.4,
            sure_after=0.5,
            right_before=False,
            right_after=False,
        ),
        Change(
            row=318,
            expected="bird",
            before="frog",
            after="bird",
            sure_before=0.5,
            sure_after=0.6,
            right_before=False,
            right_after=True,
        ),
    ]
    artifacts = []
    for place, side in enumerate(found.artifacts):
        artifacts.append(
            msgspec.structs.replace(
                side,
                candidate=True,
                chosen=place < 2,
                pareto=place != 3,
                dominated_by=found.artifacts[0].path if place == 3 else "",
                reason="dynamic-int8 is quick to make" if place == 3 else "static-int8 is the fastest on this target",
                slices=slices([1, 4, 0, 9, 3]),
                robustness=disturbed([70, 99], drop=True),
                layer_bytes=small,
                operator_ms=times if side.format == "onnx" else [],
                changed=changed if place < 2 else [],
                changed_count=18 if place < 2 else None,
            )
        )
    artifacts[0] = msgspec.structs.replace(
        artifacts[0],
        sensitivity=[
            LayerLoss(layers=["fc"], loss=0.31, kept=True),
            LayerLoss(layers=["layer1.0.conv1", "layer1.0.conv2"], loss=0.04),
        ],
    )
    missed, open_ = found.budget.violations, found.budget.undecided
    fields: dict[str, Any] = {
        "baseline": baseline,
        "artifacts": artifacts,
        "budget": BudgetResult(met=None, undecided=open_, passed_over=missed),
        "samples": samples,
        "skipped": [Skipped(format="openvino", scheme="static-int8", reason="`edgeglm[openvino]` is not installed")],
    }
    return msgspec.structs.replace(found, **(fields | changes))


SAMPLES = {
    "rich": rich_report,
    "embedding": embedding_report,
    "cifar": cifar_report,
    "digits": digits_report,
    "bare": bare_report,
    "wide": wide_report,
    "hostile": hostile_report,
}
