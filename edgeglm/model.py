"""A model on its way through a recipe."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from edgeglm_agent.wire import TensorSpec
    from torch import nn

Edit: TypeAlias = dict[str, Any]  # one change of structure, as JSON (see edgeglm.nn.structure)


@dataclass(frozen=True)
class Model:
    """A torch network with the names and shapes of what goes in and comes out.

    Steps take one and return another; the one passed in is left as it was.
    """

    module: nn.Module  # on the CPU, in eval mode
    inputs: tuple[TensorSpec, ...]  # shapes without the batch axis
    outputs: tuple[TensorSpec, ...]
    edits: tuple[Edit, ...] = field(default=())  # replayed on a fresh original, they give this structure

    def with_module(self, module: nn.Module, *edits: Edit) -> Model:
        """Return a model of the same inputs and outputs with another network, and the edits that led there."""
        return replace(self, module=module, edits=(*self.edits, *edits))


@dataclass(frozen=True)
class ModelFile:
    """A model that is a file already (``source: onnx`` or ``tflite``): it can be quantized, not trained."""

    path: Path
    format: str  # onnx | tflite
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    constants: Mapping[str, Any] = field(default_factory=dict)  # inputs of an ONNX file that become constants
