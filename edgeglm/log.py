"""What long work says while it goes on. The command line prints it to stderr; the Python API is silent unless asked."""

from __future__ import annotations

from typing import Protocol


class Log(Protocol):
    """Where messages about progress go; never results."""

    def stage(self, text: str) -> None:
        """Begin a stage of work: "steps[0].prune", "artifacts[1] tflite static-int8"."""
        ...

    def note(self, text: str) -> None:
        """Say something that the user may want to know."""
        ...

    def warn(self, text: str) -> None:
        """Say something that the user should know."""
        ...

    def progress(self, done: int, total: int, **values: float) -> None:
        """Tell how far the stage is, with figures such as `loss`; the first call says where it begins."""
        ...


class SilentLog:
    """Says nothing."""

    def stage(self, text: str) -> None:
        """Say nothing."""

    def note(self, text: str) -> None:
        """Say nothing."""

    def warn(self, text: str) -> None:
        """Say nothing."""

    def progress(self, done: int, total: int, **values: float) -> None:
        """Say nothing."""
