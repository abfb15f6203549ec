"""The file that `labels` names: one label a line."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path


def labels_of(labels: str | list[str], folder: Path) -> Sequence[str]:
    """Return a recipe's names of classes; none where their file cannot be read, which is said of its own key."""
    if isinstance(labels, list):
        return labels
    try:
        return labels_in(folder / labels)
    except (OSError, UnicodeDecodeError):
        return []


def labels_in(path: Path) -> tuple[str, ...]:
    """Return the labels in a UTF-8 text file; empty lines are none. Raises: OSError, UnicodeDecodeError."""
    lines = (line.strip() for line in path.read_text(encoding="utf-8").splitlines())
    return tuple(line for line in lines if line)
