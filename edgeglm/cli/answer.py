"""The answer of a verb on stdout: as text for people, or as JSON."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, TypeVar

import typer

from edgeglm.cli.console import printing

Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]
_Found = TypeVar("_Found")


def answer(found: _Found, render: Callable[[_Found], str], *, json: bool) -> None:
    """Print what was found: structs as indented JSON, or as `render` tells it."""
    if json:
        import msgspec

        text = msgspec.json.format(msgspec.json.encode(found), indent=2).decode()
    else:
        text = render(found)
    with printing():
        typer.echo(text)
