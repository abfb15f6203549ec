"""Where else in a recipe a key may stand: for one that was written at another level."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Any

import msgspec

from edgeglm.data.shifts import shift_types
from edgeglm.recipe.types import (
    TAGGED,
    ArtifactConfig,
    Budget,
    Golden,
    LayerRule,
    Provenance,
    Quantize,
    Recipe,
    Search,
    Serve,
    Signatures,
)
from edgeglm.schemes import scheme_types
from edgeglm.sources.npz import Fractions
from edgeglm.steps import step_types

if TYPE_CHECKING:
    from collections.abc import Iterator

_TAG_OWNERS = {"ModelSource": "model", "DataSource": "data", "TaskConfig": "task"}


def other_level(name: str, here: type[Any]) -> str:
    """Return the hint for a key that the struct at hand does not have, and another of a recipe does; else nothing.

    What another source or kind of the same thing has is more likely meant than what stands elsewhere.
    """
    for base, known in TAGGED.items():
        beside = [f"`{tag}`" for tag, cls in known().items() if issubclass(here, base) and name in _fields(cls)]
        if beside:
            field = here.__struct_config__.tag_field
            listed = " or ".join([", ".join(beside[:-1]), beside[-1]] if len(beside) > 1 else beside)
            return f"`{name}` is for `{_TAG_OWNERS[base.__name__]}` with `{field}` {listed}"
    places = [place for place, cls in _levels() if cls is not here and name in _fields(cls)]
    return f"`{name}` belongs {' or '.join(places[:3])}" if places else ""


@cache
def _levels() -> tuple[tuple[str, type[Any]], ...]:
    return tuple(_all_levels())


def _all_levels() -> Iterator[tuple[str, type[Any]]]:
    """Yield every mapping of a recipe: where it stands, in words, and its struct."""
    yield "at the top level, not indented", Recipe
    yield "under `budget`", Budget
    yield "in an item of `artifacts`", ArtifactConfig
    yield "under `quantize` of an artifact", Quantize
    yield "in an item of `quantize.layers`", LayerRule
    yield "under `signatures` of an artifact", Signatures
    yield "under `search` of an artifact", Search
    yield "under `serve`", Serve
    yield "under `golden`", Golden
    yield "under `provenance`", Provenance
    yield "under `data.fractions`", Fractions
    for base, known in TAGGED.items():
        for tag, cls in known().items():
            yield f"under `{_TAG_OWNERS[base.__name__]}`, with `{cls.__struct_config__.tag_field}: {tag}`", cls
    for scheme, cls in scheme_types().items():
        yield f"under `quantize` of an artifact, with `scheme: {scheme}`", cls
    for shift, kind in shift_types().items():
        yield f"in the change `{shift}`", kind
    for step, cls in step_types().items():
        yield f"in the step `{step}`", cls


def _fields(cls: type[Any]) -> set[str]:
    return {field.encode_name for field in msgspec.structs.fields(cls)}
