"""What every table of docs/benchmarks.md is made of."""

from __future__ import annotations

from statistics import median
from typing import Any


def verdict(value: float, must: float, strive: float | None = None, *, most: bool = False) -> str:
    """Return how a figure stands to what is asked; ``most``: the bar is an upper one."""

    def reached(bar: float) -> bool:
        return value <= bar if most else value >= bar

    if not reached(must):
        return "**missed**"
    return "met" + ("" if strive is None else ", and the aim" if reached(strive) else "; the aim is not")


def row(*cells: object) -> str:
    """Return one row."""
    return "| " + " | ".join(str(cell) for cell in cells) + " |"


def section(title: str, about: str) -> list[str]:
    """Return the lines above a table: its title, and what was measured where."""
    return [f"### {title}", "", about, ""]


def head(*columns: str) -> list[str]:
    """Return the first two rows of a table."""
    return [row(*columns), row(*["---"] * len(columns))]


def spread(values: list[float], unit: str = "x") -> str:
    """Return median and range; of one measurement alone, that."""
    if len(set(values)) == 1:
        return f"{values[0]:.2f}{unit}"
    return f"{median(values):.2f}{unit} ({min(values):.2f} to {max(values):.2f})"


def place(result: dict[str, Any]) -> str:
    """Return what measured."""
    host = result["host"]
    int8 = [name for name in host["features"] if "vnni" in name or name in {"amx_int8", "i8mm", "asimddp"}]
    return f"{host['machine']}, {host['cpu']}, {', '.join(int8)}; {result['date']}, commit {result['commit']}"


def standing(pair: dict[str, Any]) -> str:
    """Return how a file of ours stands to a peer's (see ``common.beside``), by what the measurements can tell.

    A size is better or worse beyond 1 %, a time when it was so in every measurement, answers when the 95 % interval of the
    difference does not hold zero.
    """
    low, high = pair["lost"]["ci95"]
    stands = {
        "size": (pair["smaller"] > 1.01) - (pair["smaller"] < 0.99),
        "speed": (min(pair["faster"]) > 1) - (max(pair["faster"]) < 1),
        "quality": (high < 0) - (low > 0),
    }
    worse, better = ([name for name, sign in stands.items() if sign == wanted] for wanted in (-1, 1))
    if worse:
        return f"**behind** in {' and '.join(worse)}"
    return f"best: {' and '.join(better)}" if better else "level"
