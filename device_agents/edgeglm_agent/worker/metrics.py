"""Figures in the text format of Prometheus: pure functions.

Source: prometheus.io/docs/instrumenting/exposition_formats, text format 0.0.4.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Literal, TypeAlias

import msgspec

from edgeglm_agent.wire.sketch import Sketch, middle

if TYPE_CHECKING:
    from collections.abc import Iterable

Row: TypeAlias = tuple[Mapping[str, str], float]  # labels and value
# upper edges of the histograms, in seconds: a Pi Zero with MiniLM and a PC with a small CNN both lie within
_EDGES = tuple(float(f"{digit}e{power}") for power in range(-5, 2) for digit in (1, 2.5, 5))
_ESCAPES = str.maketrans({"\\": "\\\\", '"': '\\"', "\n": "\\n"})


class Figures(msgspec.Struct, frozen=True, kw_only=True):
    """What a worker knows of itself; counts are since it began, and never fall."""

    slot: str
    serving: bool
    model: Mapping[str, str]  # what is served, and by what: becomes labels
    inferences: int  # samples that were answered
    errors: Mapping[str, int]  # kind -> count
    latency_ms: Sketch  # of the model alone
    latency_sum_ms: float
    total_ms: Sketch  # from the input to the answer
    total_sum_ms: float


def prometheus(figures: Figures) -> str:
    """Return the page of a worker, to which an input may add its own."""
    labels = {"slot": figures.slot}
    errors = [({**labels, "kind": kind}, count) for kind, count in sorted(figures.errors.items())]
    described = {**labels, **figures.model}
    model = _histogram(
        "edgeglm_model_seconds", "Time of the model alone.", labels, figures.latency_ms, figures.latency_sum_ms
    )
    answer = _histogram(
        "edgeglm_answer_seconds", "Time from the input to the answer.", labels, figures.total_ms, figures.total_sum_ms
    )
    return "".join(
        (
            family("edgeglm_up", "gauge", "Whether the model serves.", [(labels, int(figures.serving))]),
            family("edgeglm_model_info", "gauge", "What is served, and by what; always 1.", [(described, 1)]),
            family("edgeglm_inferences_total", "counter", "Samples answered.", [(labels, figures.inferences)]),
            family("edgeglm_errors_total", "counter", "What went wrong, by kind.", errors),
            model,
            answer,
        )
    )


def family(name: str, kind: Literal["counter", "gauge", "summary"], about: str, rows: Iterable[Row]) -> str:
    """Return one family: its two comments, and a line for each row; nothing where there is no row."""
    lines = [_line(name, labels, value) for labels, value in rows]
    return f"# HELP {name} {about}\n# TYPE {name} {kind}\n" + "".join(lines) if lines else ""


def _histogram(name: str, about: str, labels: Mapping[str, str], sketch: Sketch, sum_ms: float) -> str:
    """Return a histogram in seconds of a sketch in milliseconds; its edges are true within 1 %."""
    values = [(middle(index) / 1000, count) for index, count in sketch.counts.items()]
    total = sum(count for _, count in values)
    lines = [
        _line(f"{name}_bucket", {**labels, "le": f"{edge:g}"}, sum(count for value, count in values if value <= edge))
        for edge in _EDGES
    ]
    lines.append(_line(f"{name}_bucket", {**labels, "le": "+Inf"}, total))
    lines.append(_line(f"{name}_sum", labels, sum_ms / 1000))
    lines.append(_line(f"{name}_count", labels, total))
    return f"# HELP {name} {about}\n# TYPE {name} histogram\n" + "".join(lines)


def _line(name: str, labels: Mapping[str, str], value: float) -> str:
    named = ",".join(f'{key}="{str(text).translate(_ESCAPES)}"' for key, text in labels.items())
    number = str(value) if isinstance(value, int) else f"{value:.9g}"
    return f"{name}{{{named}}} {number}\n"
