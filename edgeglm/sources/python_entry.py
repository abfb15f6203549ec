"""`source: python`: the user's own functions build the model and load the data."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import msgspec
from msgspec import Meta

from edgeglm.sources._base import DataSource, ModelSource

if TYPE_CHECKING:
    from edgeglm_agent.processing import Preprocess

    from edgeglm.data.splits import Arrays, Data
    from edgeglm.model import Model
    from edgeglm.sources.entry import Entries
    from edgeglm.tasks import TaskConfig

EntryName = Annotated[str, Meta(pattern=r"^[^:\s]+:[A-Za-z_]\w*\Z")]  # path.py:function or module:function


class PythonModel(ModelSource, tag="python", frozen=True, kw_only=True):
    """A function that returns a torch.nn.Module, and the weights to load into it."""

    entry: EntryName  # `path.py:function`, relative to the recipe, or `module:function`
    args: dict[str, Any] = {}  # passed to the function by name
    weights: str | None = None  # safetensors, or a state_dict that torch loads weights-only

    def load(self, entries: Entries, sample: Arrays) -> Model:
        """Return the network that the function builds, with its weights, after one batch."""
        from edgeglm.sources.loading import load_network  # heavy: only when it runs

        return load_network(self, entries, sample)


class PythonData(DataSource, tag="python", frozen=True, kw_only=True):
    """A function that takes `split` and returns (inputs, targets), or a torch Dataset of (input, target)."""

    entry: EntryName  # `path.py:function`, relative to the recipe, or `module:function`
    args: dict[str, Any] = {}  # passed to the function by name
    eval_splits: Annotated[list[str], Meta(min_length=1)] = msgspec.field(
        default_factory=lambda: ["eval"]
    )  # the first decides; all are reported and gated

    def load(
        self, entries: Entries, *, preprocess: Preprocess, task: TaskConfig, labels: tuple[str, ...], seed: int
    ) -> Data:
        """Call the function once for each split."""
        from edgeglm.sources.python_data import load_python_data  # heavy: only when it runs

        return load_python_data(self, entries, preprocess=preprocess, task=task, labels=labels, seed=seed)
