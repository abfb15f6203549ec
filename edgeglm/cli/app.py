"""The table of verbs."""

from __future__ import annotations

from typing import Annotated

import typer

from edgeglm.cli import looking, making, measuring, system
from edgeglm.cli.fleet import fleet_app

app = typer.Typer(
    name="edgeglm",
    help="One recipe makes a trained model small and fast for edge boards, and proves what that cost.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _version(wanted: bool) -> None:
    if wanted:
        from edgeglm import __version__

        typer.echo(f"edgeglm {__version__}")
        raise typer.Exit


@app.callback()
def edgeglm(
    version: Annotated[bool, typer.Option("--version", callback=_version, is_eager=True, help="Print it.")] = False,
) -> None:
    """One recipe makes a trained model small and fast for edge boards, and proves what that cost."""


app.command("init")(making.init)
app.command("doctor")(system.doctor)
app.command("check")(making.check)
app.command("compress")(making.compress)
app.command("inspect")(looking.inspect)
app.command("eval")(measuring.evaluate)
app.command("bench")(measuring.bench)
app.command("compare")(looking.compare)
app.command("report")(looking.report)
app.command("recipes")(system.recipes)
app.add_typer(system.cache_app, name="cache")
app.add_typer(fleet_app, name="fleet")
