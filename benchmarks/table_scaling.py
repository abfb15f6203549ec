"""What docs/scaling.md reckons with: the figures of one collector, and of a million boards by them."""

from __future__ import annotations

import math
from statistics import median
from typing import TYPE_CHECKING, Any

from table_rows import head, row

if TYPE_CHECKING:
    from collections.abc import Mapping

_BOARDS = 1_000_000
_WINDOWS_S = (300, 60)
_AWAY_S = 3600.0


def figures(results: Mapping[str, dict[str, Any]]) -> str:
    """Return what one collector takes, of SQLite and of PostgreSQL."""
    lite, postgres = results["fleet_collector"]["medians"], results["fleet_collector_postgresql"]["medians"]
    kept = results["fleet_week"]["sides"]
    rate, cpu, late = "committed_per_second", "cpu_us_per_message", "latency_p99_ms"
    lines = [
        *head("", "of the result", "SQLite", "PostgreSQL", "yours"),
        row(
            "R, messages a second that one collector commits",
            f"`medians.closed.{rate}`",
            _round(lite["closed"][rate]),
            _round(postgres["closed"][rate]),
            "",
        ),
        row(
            "c, processor time of a message, in us",
            f"`medians.open.{cpu}`; under full load `closed`",
            f"{lite['open'][cpu]:.0f}; {lite['closed'][cpu]:.0f}",
            f"{postgres['open'][cpu]:.0f}; {postgres['closed'][cpu]:.0f}",
            "",
        ),
        row(
            "p99 from sent to acknowledged, in ms",
            f"`medians.open.{late}`",
            f"{lite['open'][late]:.0f}",
            f"{postgres['open'][late]:.0f}",
            "",
        ),
        row(
            "b, bytes of a row",
            "`fleet_week.json`, `sides.*.bytes_per_row`; PostgreSQL: `rounds.closed`",
            f"{kept['journal']['bytes_per_row']:.0f} in the journal, {kept['compacted']['bytes_per_row']:.0f} compacted",
            f"{_row_bytes(results):.0f}",
            "",
        ),
    ]
    return "\n".join(lines)


def million(results: Mapping[str, dict[str, Any]]) -> str:
    """Return what a million boards take of collectors and PostgreSQL, which several of them need."""
    medians = results["fleet_collector_postgresql"]["medians"]
    rate, cpu_us = medians["closed"]["committed_per_second"], medians["open"]["cpu_us_per_message"]
    each_kb = results["fleet_connected"]["broker_kb_per_device"]
    messages = [_BOARDS / window_s for window_s in _WINDOWS_S]
    collectors = [math.ceil(each / (rate / 2)) for each in messages]
    back_s = [_AWAY_S * each / (n * rate - each) for each, n in zip(messages, collectors, strict=True)]
    rows = [each * 86_400 for each in messages]
    lines = [
        *head("", *(f"`window_s = {window_s}`" for window_s in _WINDOWS_S)),
        row("messages a second", *(f"{each:,.0f}" for each in messages)),
        row("collectors", *collectors),
        row("a core of them", *(f"{each * cpu_us / 1e6:.2g}" for each in messages)),
        row("an hour without collectors is worked off in", *(f"{each / 60:.0f} minutes" for each in back_s)),
        row(
            f"connections, at {each_kb:.1f} KB each in the broker (mosquitto)",
            *[f"{_BOARDS * each_kb / 1e6:.1f} GB"] * len(_WINDOWS_S),
        ),
        row(
            "rows a day",
            *(f"{each / 1e6:,.0f} million, {each * _row_bytes(results) / 1e9:,.0f} GB" for each in rows),
        ),
    ]
    return "\n".join(lines)


def _row_bytes(results: Mapping[str, dict[str, Any]]) -> float:
    rounds = results["fleet_collector_postgresql"]["rounds"][
        "closed"
    ]  # what an empty database takes counts least there
    return median(one["bytes_per_row"] for one in rounds)


def _round(value: float) -> str:
    return f"{round(value, -2):,.0f}"
