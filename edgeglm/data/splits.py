"""Samples as the rest of edgeglm sees them: named splits of preprocessed inputs and targets."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Protocol, TypeAlias

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

Arrays: TypeAlias = dict[str, np.ndarray]  # input name -> (N, ...) array, already preprocessed


class Split(Protocol):
    """One split: arrays in memory, or a dataset read as it is needed."""

    @property
    def input_names(self) -> tuple[str, ...]: ...

    @property
    def targets(self) -> np.ndarray | None:
        """All targets, shape (N, ...), or None."""
        ...

    def __len__(self) -> int: ...

    def rows(self, indices: np.ndarray) -> Arrays:
        """Return the inputs of these samples, in this order, first axis samples."""
        ...

    def take(self, indices: np.ndarray) -> Split:
        """Return a split of these samples alone."""
        ...


@dataclass(frozen=True)
class ArraySplit:
    """A split that lies in memory."""

    inputs: Arrays
    targets: np.ndarray | None

    @property
    def input_names(self) -> tuple[str, ...]:
        """Names of the inputs, in the order the model takes them."""
        return tuple(self.inputs)

    def __len__(self) -> int:
        return len(next(iter(self.inputs.values())))

    def rows(self, indices: np.ndarray) -> Arrays:
        """Return the inputs of these samples, in this order."""
        return {name: values[indices] for name, values in self.inputs.items()}

    def take(self, indices: np.ndarray) -> ArraySplit:
        """Return a split of these samples alone."""
        return ArraySplit(self.rows(indices), None if self.targets is None else self.targets[indices])


@dataclass(frozen=True)
class WrappedSplit:
    """Base of a split that gives the samples of another in its own way."""

    split: Split

    @property
    def input_names(self) -> tuple[str, ...]:
        """Names of the inputs."""
        return self.split.input_names

    @property
    def targets(self) -> np.ndarray | None:
        """All targets, shape (N, ...), or None."""
        return self.split.targets

    def __len__(self) -> int:
        return len(self.split)


@dataclass(frozen=True)
class RenamedSplit(WrappedSplit):
    """A split whose one input goes by the model's name for it."""

    name: str

    @property
    def input_names(self) -> tuple[str, ...]:
        """The model's name of its one input."""
        return (self.name,)

    def rows(self, indices: np.ndarray) -> Arrays:
        """Return the inputs of these samples, in this order."""
        (values,) = self.split.rows(indices).values()
        return {self.name: values}

    def take(self, indices: np.ndarray) -> RenamedSplit:
        """Return a split of these samples alone."""
        return RenamedSplit(self.split.take(indices), self.name)


@dataclass(frozen=True)
class Places:
    """Where the samples of a split stand in what they were read from: an error names them so."""

    numbers: np.ndarray  # (N,)
    word: str = "sample"  # what a number counts: row (of an array, from 0), line (of a file, from 1)

    def of(self, index: int) -> str:
        """Return what to call one sample, by its place in the split."""
        return f"{self.word} {int(self.numbers[index])}"

    def take(self, indices: np.ndarray) -> Places:
        """Return those of these samples alone."""
        return Places(self.numbers[indices], self.word)


@dataclass(frozen=True)
class Data:
    """All splits of one recipe: one or more to evaluate on, and ``train`` and ``calibration`` where they are needed."""

    splits: Mapping[str, Split]
    eval_splits: tuple[str, ...]  # the first decides the budget's metric; all are reported and gated
    labels: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()
    sha256: str = ""
    slices: Mapping[str, Mapping[str, np.ndarray]] = field(default_factory=dict)  # split -> `device=a` -> (N,) bool
    places: Mapping[str, Places] = field(default_factory=dict)  # split -> where its samples stand; without: as they are

    @property
    def evaluation(self) -> Split:
        """The split that decides."""
        return self.splits[self.eval_splits[0]]

    @property
    def calibration(self) -> Split:
        """The samples that ranges are measured on; none where nothing measures any (``project.open_project``)."""
        found = self.splits.get("calibration")
        return self.evaluation.take(np.arange(0)) if found is None else found

    def place(self, split: str, index: int) -> str:
        """Return what to call one sample of a split in an error."""
        return self.places[split].of(index) if split in self.places else f"sample {index}"

    def for_inputs(self, names: tuple[str, ...]) -> Data:
        """Return the same data, its one input under the model's name for it; several inputs keep their names."""
        if len(names) != 1 or self.evaluation.input_names == names:
            return self
        return replace(self, splits={name: _renamed(split, names[0]) for name, split in self.splits.items()})


def _renamed(split: Split, name: str) -> Split:
    if isinstance(split, ArraySplit):  # stays what it is: some work is done once only for what lies in memory
        (values,) = split.inputs.values()
        return ArraySplit({name: values}, split.targets)
    return RenamedSplit(split, name)


def batches(split: Split, size: int) -> Iterator[tuple[np.ndarray, Arrays]]:
    """Yield ``(indices, inputs)`` in order; the last batch may be smaller."""
    for start in range(0, len(split), size):
        indices = np.arange(start, min(start + size, len(split)))
        yield indices, split.rows(indices)


def sample_digests(split: Split, *, batch: int = 256) -> list[bytes]:
    """Return a 16-byte digest of every sample's inputs, in order; equal samples have equal digests."""
    digests: list[bytes] = []
    for indices, inputs in batches(split, batch):
        columns = [np.ascontiguousarray(values) for values in inputs.values()]
        for row in range(len(indices)):
            digest = hashlib.blake2b(digest_size=16)
            for column in columns:
                digest.update(column[row].tobytes())
            digests.append(digest.digest())
    return digests
