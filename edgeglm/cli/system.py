"""Verbs about this installation: doctor, recipes, cache."""

from __future__ import annotations

import typer

from edgeglm.cli.console import printing

cache_app = typer.Typer(
    help="Results of steps and artifacts that are kept for later runs.",
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)


def doctor() -> int:
    """Say what would fail on this machine, and how to mend it."""
    from edgeglm.checks.doctor import diagnose

    findings = diagnose()
    width = max(len(finding.name) for finding in findings)
    with printing():
        for finding in findings:
            typer.echo(f"{finding.status:<4}  {finding.name:<{width}}  {finding.detail}")
            if finding.hint:
                typer.echo(f"{'':<4}  {'':<{width}}  hint: {finding.hint}")
    return 4 if any(finding.status == "fail" for finding in findings) else 0


def recipes() -> None:
    """List the recipes that come with edgeglm."""
    from edgeglm.shipped import shipped_recipes

    with printing():
        found = shipped_recipes()
        width = max((len(name) for name, _, _ in found), default=0) + 1
        for name, folder, summary in found:
            typer.echo(f"{name:<{width}} {summary}\n{'':<{width}} {folder / 'recipe.yaml'}")


@cache_app.command("ls")
def cache_list() -> None:
    """List what is kept, oldest first."""
    from edgeglm.cache import Cache

    cache = Cache()
    total = 0
    for entry in cache.entries():
        size = entry.size_bytes
        total += size
        state = "" if entry.result is not None else "  (unfinished)"
        typer.echo(f"{entry.kind:<12} {entry.folder.name}  {size / 1e6:8.2f} MB{state}")
    typer.echo(f"{total / 1e6:.2f} MB in {cache.folder}", err=True)


@cache_app.command("clear")
def cache_clear() -> None:
    """Remove everything that is kept."""
    from edgeglm.cache import Cache

    cache = Cache()
    typer.echo(f"freed {cache.clear() / 1e6:.2f} MB in {cache.folder}")
