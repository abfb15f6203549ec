"""`source: object`: model or data are given in Python (see ``edgeglm.compress``)."""

from __future__ import annotations

from edgeglm.sources._base import DataSource, ModelSource


class GivenModel(ModelSource, tag="object", frozen=True, kw_only=True):
    """A torch.nn.Module that `compress(..., model=...)` is given."""


class GivenData(DataSource, tag="object", frozen=True, kw_only=True):
    """Splits that `compress(..., data=...)` is given."""
