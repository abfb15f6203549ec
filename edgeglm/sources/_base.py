"""What every source is: a frozen struct with one method."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal

import msgspec

if TYPE_CHECKING:
    from edgeglm_agent.processing import Preprocess

    from edgeglm.data.splits import Arrays, Data
    from edgeglm.model import Model, ModelFile
    from edgeglm.sources.entry import Entries
    from edgeglm.tasks import TaskConfig


class ModelSource(msgspec.Struct, tag_field="source", frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Base of all sources of models: settings as fields, the work in ``load``."""

    gives: ClassVar[Literal["network", "onnx", "tflite"]] = "network"  # or a file, which takes no steps

    def load(self, entries: Entries, sample: Arrays) -> Model | ModelFile:
        """Return the model: a network after one batch, or a file after a look at its inputs and outputs.

        Args:
            entries: The recipe's functions; paths are relative to ``entries.folder``.
            sample: A few preprocessed rows by input name, first axis samples.

        Raises:
            EntryError: The user's function cannot be called, or raised.
            ModelError: The weights do not fit, the network refuses the batch, the file is missing or damaged.
        """
        raise NotImplementedError

    def class_names(self, entries: Entries) -> tuple[str, ...]:
        """Return the names of the classes in the order of the outputs, where the model says them; asked before data.

        Raises:
            ModelError: What says them is missing or damaged.
        """
        del entries
        return ()

    def fingerprint(self, entries: Entries) -> str:
        """Return what decides the answers beside settings, weights and user code; asked after ``load``."""
        del entries
        return ""


class DataSource(msgspec.Struct, tag_field="source", frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Base of all sources of data: settings as fields, the work in ``load``."""

    has_columns: ClassVar[bool] = False  # whether ``load`` takes ``slices`` too: names of columns, for ``Data.slices``

    def load(
        self, entries: Entries, *, preprocess: Preprocess, task: TaskConfig, labels: tuple[str, ...], seed: int
    ) -> Data:
        """Return the data, preprocessed, checked, its splits disjoint (``data_from_objects`` makes it so).

        Args:
            entries: The recipe's functions; paths are relative to ``entries.folder``.
            preprocess: What is done to inputs; float inputs become float32 in any case, uint8 too (0 to 255).
            task: Says what targets are.
            labels: Names of the classes; empty: they are not known, and folders of images give them.
            seed: Decides every division that the recipe leaves open.

        Raises:
            EntryError: The user's function cannot be called, or raised.
            DataError: The data cannot be used; see docs/errors.md.
        """
        raise NotImplementedError
