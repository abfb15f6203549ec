"""Pre- and post-processing, the same code where a model is evaluated and where it serves."""

from edgeglm_agent.processing._base import (
    Decision,
    Detection,
    Frame,
    Placement,
    PostOperation,
    Prediction,
    PreOperation,
    ProcessingError,
)
from edgeglm_agent.processing.arrays import to_layout
from edgeglm_agent.processing.buckets import bucket_of, cut, cut_to_bucket
from edgeglm_agent.processing.pipeline import OPERATIONS, POST_OPERATIONS, PRE_OPERATIONS, Preprocess, Sample
from edgeglm_agent.processing.postprocess import Postprocess, Result

__all__ = [
    "OPERATIONS",
    "POST_OPERATIONS",
    "PRE_OPERATIONS",
    "Decision",
    "Detection",
    "Frame",
    "Placement",
    "PostOperation",
    "Postprocess",
    "PreOperation",
    "Prediction",
    "Preprocess",
    "ProcessingError",
    "Result",
    "Sample",
    "bucket_of",
    "cut",
    "cut_to_bucket",
    "to_layout",
]
