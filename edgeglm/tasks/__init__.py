"""What "good" means; one file a task.

Packages add theirs by the entry point group ``edgeglm.tasks`` (kind -> a ``TaskConfig`` subclass).
"""

from __future__ import annotations

from functools import cache

from edgeglm.plugins import with_plugins
from edgeglm.tasks._base import Judge, TaskConfig
from edgeglm.tasks.anomaly import Anomaly
from edgeglm.tasks.classification import Classification
from edgeglm.tasks.detection import ObjectDetection
from edgeglm.tasks.embedding import Embedding
from edgeglm.tasks.own_metric import OwnMetric
from edgeglm.tasks.regression import Forecasting, Regression
from edgeglm.tasks.segmentation import Segmentation

GROUP = "edgeglm.tasks"


TASKS: tuple[type[TaskConfig], ...] = (
    Classification,
    Embedding,
    Regression,
    Forecasting,
    Anomaly,
    Segmentation,
    ObjectDetection,
    OwnMetric,
)


@cache
def task_types() -> dict[str, type[TaskConfig]]:
    """Return kind -> struct: ours, then those of installed packages. Raises: UserError (``plugin-invalid``)."""
    return with_plugins(TASKS, TaskConfig, group=GROUP, needs=("evaluate", "bind"))


__all__ = [
    "GROUP",
    "TASKS",
    "Anomaly",
    "Classification",
    "Embedding",
    "Forecasting",
    "Judge",
    "ObjectDetection",
    "OwnMetric",
    "Regression",
    "Segmentation",
    "TaskConfig",
    "task_types",
]
