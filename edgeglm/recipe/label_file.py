"""The file that `labels` names: one label a line."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path


def labels_in(path: Path) -> tuple[str, ...]:
    """Return the labels in a UTF-8 text file; empty lines are none. Raises: OSError, UnicodeDecodeError."""
    lines = (line.strip() for line in path.read_text(encoding="utf-8").splitlines())
    return tuple(line for line in lines if line)
