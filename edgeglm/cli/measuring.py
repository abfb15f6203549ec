"""Verbs that measure: eval, bench."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from edgeglm.cli.answer import Json, answer
from edgeglm.cli.console import ConsoleLog
from edgeglm.cli.making import Overrides, RecipePath


def evaluate(
    recipe: RecipePath,
    artifact: Annotated[
        list[Path] | None,
        typer.Option(help="A model file to judge by the recipe's data; default: those in build/<name>."),
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option("-o", "--output", help="The folder whose artifacts are judged."),
    ] = None,
    overrides: Overrides = None,
    json: Json = False,
) -> None:
    """Judge model files by a recipe's evaluation data."""
    from edgeglm.measuring import evaluate_files, render_evaluation
    from edgeglm.recipe import load_recipe

    loaded = load_recipe(recipe, overrides=overrides or [])
    with loaded.locating():
        results = evaluate_files(loaded, artifact or [], folder=output, log=ConsoleLog())
    answer(results, render_evaluation, json=json)


def bench(
    files: Annotated[
        list[Path],
        typer.Argument(metavar="FILE...", help="Model files; the first is 1.00x."),
    ],
    threads: Annotated[int, typer.Option(min=1, max=256, help="Threads of each runtime.")] = 1,
    runs: Annotated[int, typer.Option(min=10, help="Runs of each file.")] = 200,
    json: Json = False,
) -> None:
    """Time model files on this host, interleaved."""
    from edgeglm.measuring import bench_files, render_bench

    answer(bench_files(files, threads=threads, runs=runs), render_bench, json=json)
