"""Classification: one label a sample, judged by accuracy and by the recall of every class."""

from __future__ import annotations

from typing import Annotated

import msgspec
from msgspec import Meta


class Classification(
    msgspec.Struct, tag="classification", tag_field="kind", frozen=True, kw_only=True, forbid_unknown_fields=True
):
    """Outputs are logits (N, K); targets are class numbers (N,), 0 to K - 1."""

    output: str | None = None  # name of the output that holds the logits; None: the first
    top_k: Annotated[int, Meta(ge=2)] | None = None  # also report accuracy within the k best
