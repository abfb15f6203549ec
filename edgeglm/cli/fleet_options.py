"""Options that several verbs of the fleet take."""

from __future__ import annotations

from typing import Annotated

import typer

DEFAULT_STORE = "sqlite:///fleet.db"  # in the current folder

StoreUrl = Annotated[
    str,
    typer.Option(
        "--store",
        metavar="URL",
        envvar="EDGEGLM_STORE",
        help="Where what came is kept: sqlite:///FILE, postgresql://...",
    ),
]
