"""What reports in tests are made of: figures with their intervals, classes, a host."""

from __future__ import annotations

import math
import random

from edgeglm.report.types import (
    ClassResult,
    Drop,
    Host,
    Latency,
    Metric,
)

HOST = Host(
    machine="x86_64",
    cpu="Intel Xeon Platinum 8481C",
    cores=2,
    memory_bytes=25_201_000_000,
    features=["avx2", "avx512f", "avx512_vnni"],
    system="Debian GNU/Linux 12, Linux 6.1",
    python="3.11.2",
    versions={"edgeglm": "0.1.0", "torch": "2.13.0+cpu", "onnxruntime": "1.31.1", "ai-edge-litert": "2.3.0"},
)
CIFAR_LABELS = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")


def accuracy(correct: int, n: int) -> Metric:
    """Accuracy with a Wald interval: near enough for a picture."""
    share = correct / n
    half = 1.96 * math.sqrt(max(share * (1 - share), 1 / n) / n)
    return Metric(
        name="accuracy", value=share, n=n, ci95=(max(0.0, share - half), min(1.0, share + half)), higher_is_better=True
    )


def paired(worse: int, better: int, n: int) -> Drop:
    """The drop of that many changed answers, with a Wald interval."""
    value = (worse - better) / n
    half = 1.96 * math.sqrt(max(worse + better, 1)) / n
    return Drop(value=value, ci95=(value - half, value + half), n=n, worse=worse, better=better)


def latency(p50: float, runtime: str = "onnxruntime 1.31.1", *, threads: int = 1) -> Latency:
    return Latency(p50=p50, p95=p50 * 1.12, p99=p50 * 1.4, threads=threads, batch=1, runs=200, runtime=runtime)


def classes(labels: tuple[str, ...], n: int, wrong: list[int], before: list[int] | None = None) -> list[ClassResult]:
    results = []
    for number, (label, missed) in enumerate(zip(labels, wrong, strict=True)):
        drop = None if before is None else (missed - before[number]) / n
        interval = None if drop is None else (drop - 2.4 / n, drop + 2.4 / n)
        results.append(ClassResult(label=label, n=n, recall=1 - missed / n, drop=drop, ci95=interval))
    return results


def confusion(n: int, wrong: list[int], seed: int = 0) -> list[list[int]]:
    """A matrix with that many mistakes a row, most of them with a neighbour."""
    chance = random.Random(seed)
    size = len(wrong)
    matrix = []
    for target, missed in enumerate(wrong):
        row = [0] * size
        row[target] = n - missed
        for _ in range(missed):
            row[(target + chance.choice([1, 1, 2, 5])) % size] += 1
        matrix.append(row)
    return matrix
