"""A source of models: networks in a file format of our own."""

from __future__ import annotations

from typing import TYPE_CHECKING

from edgeglm.errors import ModelError
from edgeglm.sources import ModelSource

if TYPE_CHECKING:
    from edgeglm.data.splits import Arrays
    from edgeglm.model import Model
    from edgeglm.sources.entry import Entries


class JsonMlp(ModelSource, tag="json-mlp", frozen=True, kw_only=True):
    """Fully connected layers with ReLU between them, from a JSON file."""

    path: str  # of the JSON file, relative to the recipe

    def load(self, entries: Entries, sample: Arrays) -> Model:
        """Return the network, after one batch."""
        import torch  # heavy: only when it runs

        from edgeglm.nn.loading import build_python_model
        from edgeglm_example.layers import read_layers

        try:
            layers = read_layers(entries.folder / self.path)
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise ModelError(
                f"not a network in JSON: {error}", where="model.path", hint="export it again", code="model-invalid"
            ) from error
        modules: list[torch.nn.Module] = []
        for weight, bias in layers:
            linear = torch.nn.Linear(weight.shape[1], len(bias))
            linear.load_state_dict({"weight": torch.from_numpy(weight), "bias": torch.from_numpy(bias)})
            modules += [linear, torch.nn.ReLU()]
        return build_python_model(torch.nn.Sequential(*modules[:-1]), None, sample, where="model")
