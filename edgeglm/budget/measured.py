"""What is measured on this host: bytes, speed-up, latency."""

from __future__ import annotations

from typing import TYPE_CHECKING

from edgeglm.budget.wording import SLACK, Finding, against, unmeasured, verdict
from edgeglm.report.figures import format_bytes, format_ms, format_ratio, significant

if TYPE_CHECKING:
    from collections.abc import Iterator

    from edgeglm.boards import Board
    from edgeglm.report.types import ArtifactSide, Host, Side

_MB = 1e6


def judge_bytes(
    artifact: ArtifactSide, line: str, limit: float, measured: int | None, said: tuple[str, str], mend: str
) -> Iterator[Finding]:
    """Judge a number of bytes; ``said`` is what it is, alone and with a verb, ``mend`` how to make it smaller."""
    if measured is None:
        yield unmeasured(artifact, line, limit, f"{said[0]} was not measured")
    elif measured / _MB > limit * (1 + SLACK):
        less = 100 * (1 - limit * _MB / measured)
        message = (
            f"{artifact.path}: {said[1]} {format_bytes(measured)}; `budget.{line}` allows {limit:g} MB, "
            f"{significant(less, 2)} % less. {mend}"
        )
        yield Finding(True, verdict(artifact, line, limit, measured / _MB, message))


def judge_speedup(baseline: Side, artifact: ArtifactSide, limit: float, board: Board, host: Host) -> Iterator[Finding]:
    """Judge the speed-up by its interval; a host of another architecture than the board's cannot tell it."""
    line = "min_speedup"
    if not board.is_like(host.machine):
        seen = "" if artifact.speedup is None else f" On this host it is {format_ratio(artifact.speedup)}."
        message = (
            f"{artifact.path}: this host ({host.machine}) cannot tell the speed-up on the {board.name} ({board.arch}), "
            f"of which `budget.min_speedup` asks {limit:g}x.{seen} Measure it on the board."
        )
        yield Finding(False, verdict(artifact, line, limit, artifact.speedup, message))
    elif artifact.speedup is None:
        yield unmeasured(artifact, line, limit, "its speed-up was not measured")
    else:
        low, high = artifact.speedup_ci95 or (artifact.speedup, artifact.speedup)  # an older report has no interval
        least = limit * (1 - SLACK)
        if low >= least:
            return
        missed = high < least
        said = f"{artifact.path}: its speed-up on this host is {format_ratio(artifact.speedup)}"
        if details := _speedup_details(baseline, artifact):
            said += f" ({details})"
        message = (
            f"{said}; `budget.min_speedup` asks {limit:g}x. "
            "Prune more, or take the format or scheme that is faster here."
            if missed
            else f"{said}; {against(line, f'{limit:g}x', missed=False)} "
            "Measure again on a quieter machine, prune more, or ask for less."
        )
        yield Finding(missed, verdict(artifact, line, limit, artifact.speedup, message, artifact.speedup_ci95))


def _speedup_details(baseline: Side, artifact: ArtifactSide) -> str:
    """Return the times behind a speed-up and its interval, as far as they were measured."""
    details = []
    if baseline.latency_ms is not None and artifact.latency_ms is not None:
        details.append(f"{format_ms(baseline.latency_ms.p50)} ms to {format_ms(artifact.latency_ms.p50)} ms")
    if artifact.speedup_ci95 is not None:
        low, high = artifact.speedup_ci95
        details.append(f"95 % interval {format_ratio(low)} to {format_ratio(high)}")
    return ", ".join(details)


def judge_latency(artifact: ArtifactSide, limit: float) -> Iterator[Finding]:
    """Judge the p95 latency on this host."""
    line = "host_latency_p95_ms"
    if artifact.latency_ms is None:
        yield unmeasured(artifact, line, limit, "its latency was not measured")
    elif (p95 := artifact.latency_ms.p95) > limit * (1 + SLACK):
        message = (
            f"{artifact.path}: its p95 latency on this host is {format_ms(p95)} ms; "
            f"`budget.host_latency_p95_ms` allows {limit:g} ms. Prune more, or take the format or scheme that is "
            "faster here; a busy machine also raises p95."
        )
        yield Finding(True, verdict(artifact, line, limit, p95, message))
