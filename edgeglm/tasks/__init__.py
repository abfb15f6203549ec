"""What "good" means; one file a task."""

from __future__ import annotations

from edgeglm.tasks.classification import Classification

TaskConfig = Classification  # a union by `kind` as tasks are added

__all__ = ["Classification", "TaskConfig"]
