"""Options of the verbs that move, merge and remove rows by their age."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from edgeglm.fleet.store.keeping import Keeping

CompactAfter = Annotated[
    str | None,
    typer.Option(
        metavar="AGE",
        help="SQLite: rows that are older go from the file into Parquet files beside it (1d).",
        show_default=False,
    ),
]
KeepRaw = Annotated[
    str | None,
    typer.Option(
        metavar="AGE",
        help="Windows that are older become one an hour, histograms added up. Default: none do.",
        show_default=False,
    ),
]
KeepWindows = Annotated[
    str | None,
    typer.Option(metavar="AGE", help="Older windows are removed. Default: none are.", show_default=False),
]
KeepEvents = Annotated[
    str | None, typer.Option(metavar="AGE", help="Likewise events, and what boards lost.", show_default=False)
]
KeepResults = Annotated[
    str | None, typer.Option(metavar="AGE", help="Likewise answers of the models.", show_default=False)
]


def keeping_of(
    store: str,
    compact_after: str | None,
    keep_raw: str | None,
    keep_windows: str | None,
    keep_events: str | None,
    keep_results: str | None,
) -> Keeping:
    """Return what the options say. Raises: UserError: One is no age, or they contradict each other."""
    from edgeglm.errors import UserError
    from edgeglm.fleet.addresses import PostgresAddress, parse_store
    from edgeglm.fleet.seeing.times import parse_span_s
    from edgeglm.fleet.store.keeping import DAY_MS, Keeping, check_keeping

    def age_ms(text: str | None, option: str) -> int | None:
        return None if text is None else round(parse_span_s(text, option=option) * 1000)

    if compact_after is not None and isinstance(parse_store(store), PostgresAddress):
        raise UserError(
            "PostgreSQL has a table for each day and nothing to compact",
            where="--compact-after",
            hint="leave it out",
            code="keep-invalid",
        )
    return check_keeping(
        Keeping(
            age_ms(compact_after, "--compact-after") or DAY_MS,
            age_ms(keep_raw, "--keep-raw"),
            age_ms(keep_windows, "--keep-windows"),
            age_ms(keep_events, "--keep-events"),
            age_ms(keep_results, "--keep-results"),
        )
    )
