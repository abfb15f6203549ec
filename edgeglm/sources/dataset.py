"""A split that is read as it is needed: a torch Dataset of the user's, or images too large for memory together."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from edgeglm.errors import DataError
from edgeglm.sources.arrays import INPUT, as_input, preprocessed

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractContextManager

    from edgeglm_agent.processing import Preprocess

    from edgeglm.data.splits import Arrays


class MapDataset(Protocol):
    """What a torch ``Dataset`` of (input, target) offers; an input is an array, or a dict name -> array."""

    def __getitem__(self, index: int, /) -> Any: ...
    def __len__(self) -> int: ...


def is_dataset(value: object) -> bool:
    """Tell a dataset from arrays, without importing torch."""
    plain = isinstance(value, tuple | list | dict | str | np.ndarray) or hasattr(value, "numpy")
    return not plain and hasattr(value, "__getitem__") and hasattr(value, "__len__")


@dataclass(frozen=True)
class DatasetSplit:
    """Rows of a dataset, preprocessed each time they are read."""

    dataset: MapDataset
    preprocess: Preprocess
    guard: Callable[[], AbstractContextManager[None]]  # user code runs inside
    indices: np.ndarray  # of the dataset
    given_names: tuple[str, ...]  # of the inputs, as the dataset has them
    where: str  # of the data, for errors
    targets: np.ndarray | None = None

    @classmethod
    def over(
        cls,
        dataset: MapDataset,
        preprocess: Preprocess,
        guard: Callable[[], AbstractContextManager[None]],
        where: str,
    ) -> DatasetSplit:
        """Return all samples of a dataset, their targets not read yet."""
        with guard():
            count = len(dataset)
        split = cls(dataset, preprocess, guard, np.arange(count), (), where)
        if not count:
            return split
        first = split.samples(np.arange(1))[0][0]
        return replace(split, given_names=tuple(first) if isinstance(first, dict) else (INPUT,))

    @property
    def input_names(self) -> tuple[str, ...]:
        """Names of the inputs, in the order the model takes them."""
        if not self.preprocess.takes_texts:
            return self.given_names
        return tuple(self.rows(np.arange(1)))  # one text becomes several inputs

    def __len__(self) -> int:
        return len(self.indices)

    def rows(self, indices: np.ndarray) -> Arrays:
        """Return the inputs of these samples, in this order."""
        return self.inputs_of(self.samples(indices))

    def take(self, indices: np.ndarray) -> DatasetSplit:
        """Return a split of these samples alone."""
        targets = None if self.targets is None else self.targets[indices]
        return replace(self, indices=self.indices[indices], targets=targets)

    def samples(self, indices: np.ndarray) -> list[tuple[Any, Any]]:
        """Return (input, target) of these samples as the dataset gives them.

        Raises:
            DataError: A sample is not such a pair.
            EntryError: The user's code raised.
        """
        wanted = [int(index) for index in self.indices[indices]]
        with self.guard():
            many = getattr(self.dataset, "__getitems__", None)
            found = list(many(wanted)) if many is not None else [self.dataset[index] for index in wanted]
        for index, sample in zip(wanted, found, strict=True):
            if not (isinstance(sample, tuple | list) and len(sample) == 2):
                raise DataError(
                    f"sample {index} of the dataset is a {type(sample).__name__}, not a pair (input, target)",
                    hint="`__getitem__` returns (input, target): an array or a dict name -> array, and a class number",
                    where=self.where,
                    code="data-entry-result",
                )
        return [(sample[0], sample[1]) for sample in found]

    def inputs_of(self, samples: list[tuple[Any, Any]]) -> Arrays:
        """Return the preprocessed inputs of samples, stacked."""
        columns: dict[str, list[np.ndarray]] = {name: [] for name in self.given_names}
        for value, _ in samples:
            named = value if isinstance(value, dict) else {INPUT: value}
            if set(named) != set(columns):
                raise DataError(
                    f"samples differ in their inputs: {', '.join(columns)}, and {', '.join(named)}",
                    hint="every sample has the same inputs",
                    where=self.where,
                    code="data-shape",
                )
            for name in columns:
                columns[name].append(as_input(named[name], f"input `{name}`", self.where, self.preprocess))
        return preprocessed(columns, self.preprocess, self.where)
