"""Recipes that come with edgeglm: in the wheel below the package, in a checkout beside it."""

from __future__ import annotations

from pathlib import Path


def shipped_recipes() -> list[tuple[str, Path, str]]:
    """Return (name, folder, first line of its README) of every shipped recipe, by name."""
    here = Path(__file__).resolve().parent
    root = next((folder for folder in (here / "_recipes", here.parent / "recipes") if folder.is_dir()), None)
    if root is None:
        return []
    return [(path.parent.name, path.parent, _summary(path.parent)) for path in sorted(root.glob("*/recipe.yaml"))]


def recipe_files(folder: Path) -> list[Path]:
    """Return every file of a shipped recipe, in order; what Python left beside them is none."""
    return sorted(path for path in folder.rglob("*") if path.is_file() and "__pycache__" not in path.parts)


def _summary(folder: Path) -> str:
    readme = folder / "README.md"
    if not readme.is_file():
        return ""
    lines = (line.strip() for line in readme.read_text(encoding="utf-8").splitlines())
    return next((line for line in lines if line and not line.startswith("#")), "")
