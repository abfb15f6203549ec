"""`source: hf`: an encoder from a local folder of transformers; nothing is downloaded, no code of it is run."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from edgeglm.sources._base import ModelSource

if TYPE_CHECKING:
    from edgeglm.data.splits import Arrays
    from edgeglm.model import Model
    from edgeglm.sources.entry import Entries


class HfModel(ModelSource, tag="hf", frozen=True, kw_only=True):
    """A text encoder of transformers: a folder with config.json and model.safetensors."""

    path: str  # the folder, relative to the recipe, or `package:name/folder` in an installed package
    task: Literal["classification", "embedding"]  # what it puts out: `logits`, or one vector `embedding` a text
    pooling: Literal["mean", "cls", "max"] = "mean"  # of an embedding: how tokens become one vector; in the graph
    normalise: bool = True  # of an embedding: length 1, so that a dot product is the cosine; in the graph

    def load(self, entries: Entries, sample: Arrays) -> Model:
        """Return the encoder after one batch; its inputs are those of the data, by the names of its ``forward``."""
        from edgeglm.sources.hf_folder import load_encoder  # heavy: only when it runs

        return load_encoder(self, entries, sample)

    def class_names(self, entries: Entries) -> tuple[str, ...]:
        """Return the names that config.json gives to the outputs of a classifier."""
        from edgeglm.sources.hf_folder import checkpoint_folder, class_names

        return class_names(checkpoint_folder(entries.folder, self.path)) if self.task == "classification" else ()

    def fingerprint(self, entries: Entries) -> str:
        """Return the digest of config.json: weights alone do not say how many heads there are."""
        from edgeglm.files import sha256_file
        from edgeglm.sources.hf_folder import checkpoint_folder

        return sha256_file(checkpoint_folder(entries.folder, self.path) / "config.json")
