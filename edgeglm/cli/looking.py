"""Verbs that look at results: inspect, report, compare."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from edgeglm.cli.answer import Json, answer
from edgeglm.cli.console import printing


def report(folder: Annotated[Path, typer.Argument(metavar="FOLDER", help="An output folder.")]) -> None:
    """Print the summary of an output folder again."""
    from rich.console import Console

    from edgeglm.report.json import read_json
    from edgeglm.report.terminal import print_summary

    read = read_json(folder / "report.json")
    with printing():
        print_summary(read, Console(), folder)


def compare(
    first: Annotated[Path, typer.Argument(metavar="A", help="An output folder or report.json: the one that was.")],
    second: Annotated[Path, typer.Argument(metavar="B", help="An output folder or report.json: the one that is.")],
    threshold: Annotated[
        float, typer.Option(min=0.0, help="How much worse the metric may be: 0.01 is a point of accuracy, or its unit.")
    ] = 0.01,
) -> int:
    """Compare two results; exit 3 when the second is worse."""
    from rich.console import Console

    from edgeglm.report.compare import compare as compare_reports
    from edgeglm.report.compare import render_comparison
    from edgeglm.report.json import read_json

    a, b = (read_json(path / "report.json" if path.is_dir() else path) for path in (first, second))
    comparison = compare_reports(a, b, threshold)
    with printing():
        Console().print(render_comparison(comparison))
    return 3 if comparison.worse else 0


def inspect(
    path: Annotated[
        Path, typer.Argument(metavar="PATH", help="An ONNX, TFLite or OpenVINO file, or an output folder.")
    ],
    json: Json = False,
) -> None:
    """Say what a model file holds."""
    from edgeglm.inspection import inspect_path, render

    answer(inspect_path(path), render, json=json)
