"""`source: python`: the user's own functions build the model and load the data."""

from __future__ import annotations

from typing import Annotated, Any

import msgspec
from msgspec import Meta

EntryName = Annotated[str, Meta(pattern=r"^[^:\s]+:[A-Za-z_]\w*$")]  # path.py:function or module:function


class PythonModel(
    msgspec.Struct, tag="python", tag_field="source", frozen=True, kw_only=True, forbid_unknown_fields=True
):
    """A function that returns a torch.nn.Module, and the weights to load into it."""

    entry: EntryName  # `path.py:function`, relative to the recipe, or `module:function`
    args: dict[str, Any] = {}  # passed to the function by name
    weights: str | None = None  # safetensors, or a state_dict that torch loads weights-only


class PythonData(
    msgspec.Struct, tag="python", tag_field="source", frozen=True, kw_only=True, forbid_unknown_fields=True
):
    """A function that takes `split` and returns (inputs, targets), or a torch Dataset of (input, target)."""

    entry: EntryName  # `path.py:function`, relative to the recipe, or `module:function`
    args: dict[str, Any] = {}  # passed to the function by name
    eval_splits: Annotated[list[str], Meta(min_length=1)] = msgspec.field(
        default_factory=lambda: ["eval"]
    )  # the first decides; all are reported and gated
