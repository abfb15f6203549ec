"""`source: object`: model or data are given in Python (see ``edgeglm.compress``)."""

from __future__ import annotations

import msgspec


class GivenModel(
    msgspec.Struct, tag="object", tag_field="source", frozen=True, kw_only=True, forbid_unknown_fields=True
):
    """A torch.nn.Module that `compress(..., model=...)` is given."""


class GivenData(
    msgspec.Struct, tag="object", tag_field="source", frozen=True, kw_only=True, forbid_unknown_fields=True
):
    """Splits that `compress(..., data=...)` is given."""
