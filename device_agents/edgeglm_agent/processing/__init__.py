"""Pre- and post-processing, the same code where a model is evaluated and where it serves."""

from edgeglm_agent.processing._base import Prediction, PreOperation, ProcessingError
from edgeglm_agent.processing.arrays import to_layout
from edgeglm_agent.processing.pipeline import (
    OPERATIONS,
    POST_OPERATIONS,
    PRE_OPERATIONS,
    Postprocess,
    Preprocess,
    Result,
)

__all__ = [
    "OPERATIONS",
    "POST_OPERATIONS",
    "PRE_OPERATIONS",
    "Postprocess",
    "PreOperation",
    "Prediction",
    "Preprocess",
    "ProcessingError",
    "Result",
    "to_layout",
]
