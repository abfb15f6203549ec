"""Verbs that make something: init, check, compress."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Annotated

import typer

from edgeglm.cli.console import ConsoleLog, printing
from edgeglm.cli.signals import goes_on_when_started_again

RecipePath = Annotated[Path, typer.Argument(metavar="RECIPE", help="The recipe: a YAML file.")]
Overrides = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="KEY=VALUE", help="Override a value: --set steps[0].prune.channel_ratio=0.3"),
]


def init(
    directory: Annotated[Path, typer.Argument(metavar="DIR", help="Where to write; made when missing.")],
    model: Annotated[
        Path | None, typer.Option(help="Your weights, ONNX or TFLite file, or folder of a text encoder.")
    ] = None,
    images: Annotated[Path | None, typer.Option(help="Your images: a folder per class.")] = None,
    entry: Annotated[
        str | None,
        typer.Option(help="Your function that builds the network: path.py:function"),
    ] = None,
    recipe: Annotated[str | None, typer.Option(help="A shipped recipe to start from: see edgeglm recipes.")] = None,
    target: Annotated[str, typer.Option(help="The board: rpi5, jetson-jp6, x86-64, ...")] = "x86-64",
) -> None:
    """Write a recipe: one that runs as it is, or one for your files."""
    from edgeglm.scaffold import init as write

    started = write(directory, model=model, images=images, entry=entry, recipe=recipe, target=target)
    with printing():
        for path in started.files:
            typer.echo(path)
    for line in started.to_do:
        typer.echo(f"to do: {line}", err=True)
    verb = "check" if started.to_do else "compress"
    typer.echo(f"next: edgeglm {verb} {shlex.quote(str(directory / 'recipe.yaml'))}", err=True)


def check(recipe: RecipePath, overrides: Overrides = None) -> None:
    """Validate a recipe; say what this host can build."""
    from edgeglm.checks.check import check_recipe

    text = check_recipe(recipe, overrides or []).text()
    with printing():
        typer.echo(text)


def compress(
    recipe: RecipePath,
    output: Annotated[
        Path | None,
        typer.Option("-o", "--output", help="The result's folder; default build/<name>."),
    ] = None,
    overrides: Overrides = None,
    json: Annotated[bool, typer.Option("--json", help="Print report.json and nothing else.")] = False,
) -> int:
    """Run a recipe: prune, distil, quantize, measure, judge."""
    goes_on_when_started_again()
    from edgeglm.recipe import load_recipe

    loaded = load_recipe(recipe, overrides=overrides or [])
    folder = output or Path("build") / loaded.recipe.name
    from edgeglm.pipeline.run import check_budget, run_recipe  # after the recipe: its errors need no numpy

    with loaded.locating():
        result = run_recipe(loaded, output=folder, log=ConsoleLog(), named=output is not None)
    if json:
        text = (folder / "report.json").read_text()
        with printing():
            typer.echo(text, nl=False)
    else:
        from rich.console import Console

        from edgeglm.report.terminal import print_summary

        with printing():
            print_summary(result.report, Console(), folder)
    check_budget(result.report)
    return 0
