"""A recipe: YAML in, frozen structs out, every error at once."""

from __future__ import annotations

from edgeglm.recipe.types import ArtifactConfig, Budget, Golden, ProcessStep, Provenance, Quantize, Recipe

__all__ = ["ArtifactConfig", "Budget", "Golden", "ProcessStep", "Provenance", "Quantize", "Recipe"]
