"""Compress recipes for a Raspberry Pi into OUT/FOLDER each: make_results.py OUT FOLDER/recipe.yaml...

One process for all of them, since loading the converters takes longer than these runs. Nothing is trained: how a
pruned network is trained again has no part in what an artifact gives on another processor.
"""

from __future__ import annotations

import sys
from pathlib import Path

from edgeglm.api import compress
from edgeglm.cache import Cache

OVERRIDES = ("target=rpi5", "steps=[]", "on_violation=best-effort")


def main(out: Path, *recipes: Path) -> None:
    """Compress each."""
    for recipe in recipes:
        result = compress(
            recipe, output=out / recipe.parent.name, overrides=OVERRIDES, cache=Cache(out.parent / f"{out.name}-cache")
        )
        assert result.manifest is not None


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:]))
