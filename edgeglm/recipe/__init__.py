"""A recipe: YAML in, frozen structs out, every error at once."""

from __future__ import annotations

from edgeglm.recipe.dump import dump_recipe, resolved
from edgeglm.recipe.load import LoadedRecipe, load_recipe, parse_recipe
from edgeglm.recipe.types import (
    ArtifactConfig,
    Budget,
    Golden,
    ProcessStep,
    Provenance,
    Quantize,
    Recipe,
    Search,
    Serve,
)

__all__ = [
    "ArtifactConfig",
    "Budget",
    "Golden",
    "LoadedRecipe",
    "ProcessStep",
    "Provenance",
    "Quantize",
    "Recipe",
    "Search",
    "Serve",
    "dump_recipe",
    "load_recipe",
    "parse_recipe",
    "resolved",
]
