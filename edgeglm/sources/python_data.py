"""Splits from the user's own function, or given as objects by a program."""

from __future__ import annotations

import sys
import traceback
from collections.abc import Mapping
from contextlib import contextmanager
from functools import partial
from os import PathLike
from typing import TYPE_CHECKING, Any

from edgeglm.data.splits import ArraySplit
from edgeglm.errors import DataError, EdgeglmError, EntryError
from edgeglm.sources.arrays import INPUT, as_array, as_input, preprocessed
from edgeglm.sources.checking import assemble
from edgeglm.sources.dataset import DatasetSplit, is_dataset

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from contextlib import AbstractContextManager

    import numpy as np
    from edgeglm_agent.processing import Preprocess

    from edgeglm.data.splits import Data
    from edgeglm.sources.entry import Entries
    from edgeglm.sources.python_entry import PythonData
    from edgeglm.tasks import TaskConfig

KEY = "data.entry"


def load_python_data(
    config: PythonData,
    entries: Entries,
    *,
    preprocess: Preprocess,
    task: TaskConfig,
    labels: tuple[str, ...],
    seed: int,
) -> Data:
    """Call the entry once for each split.

    Raises:
        EntryError: It cannot be called, or raised.
        DataError: What it returned cannot be used.
    """
    from edgeglm.nn.determinism import seed_all

    splits: dict[str, ArraySplit | DatasetSplit | None] = {}
    where = {}
    for name in ("train", "calibration", *config.eval_splits):
        where[name] = f"{config.entry}, split `{name}`"
        seed_all(seed)  # a function that shuffles before it divides gives the same parts at each call
        returned = entries.call(config.entry, key=KEY, split=name, **config.args)
        splits[name] = _split(returned, preprocess, where[name], lambda: entries.guard(config.entry, KEY))
    return assemble(splits, eval_splits=config.eval_splits, task=task, labels=labels, seed=seed, where=where)


def data_from_objects(
    data: Any, *, preprocess: Preprocess, task: TaskConfig, labels: tuple[str, ...], seed: int
) -> Data:
    """Return data that a program holds already.

    Args:
        data: Split name -> ``(inputs, targets)`` or a Dataset; every split but ``train`` and ``calibration`` is
            evaluated on, the first decides.
        preprocess: The recipe's operations.
        task: Says what targets are.
        labels: Names of the classes; empty when they are not known.
        seed: Decides which part of train is taken for calibration, when that is not given.

    Raises:
        DataError: The data cannot be used.
        EntryError: A Dataset raised (``entry-failed``).
    """
    if not isinstance(data, Mapping):
        kind = type(data).__name__
        hint = 'give {"train": (inputs, targets), "eval": (inputs, targets)}; each may be a torch Dataset instead'
        if isinstance(data, str | PathLike):
            hint += "; a file or a folder is named in the recipe, under `data`"
        raise DataError(f"`data` is a {kind}, not a dict of splits", hint=hint, where="data", code="data-entry-result")
    where = {name: f"data[{name!r}]" for name in ("train", "calibration", *data)}
    eval_splits = [name for name in data if name not in ("train", "calibration")]
    if not eval_splits:
        raise DataError(
            "there is no split to evaluate on",
            hint='give {"train": ..., "eval": ...}',
            where="data",
            code="data-split-missing",
        )
    splits = {
        name: _split(value, preprocess, where[name], partial(_blamed, value, where[name]))
        for name, value in data.items()
    }
    return assemble(splits, eval_splits=eval_splits, task=task, labels=labels, seed=seed, where=where)


def _split(
    value: Any, preprocess: Preprocess, where: str, guard: Callable[[], AbstractContextManager[None]]
) -> ArraySplit | DatasetSplit | None:
    if value is None:
        return None
    if is_dataset(value):
        return DatasetSplit.over(value, preprocess, guard, where)
    if not (isinstance(value, tuple | list) and len(value) == 2):
        kind = type(value).__name__
        gave = f"a {kind} of {len(value)}" if isinstance(value, tuple | list) else f"a {kind}"
        hint = "return two things: inputs (an array, or a dict name -> array; first axis samples) and class numbers"
        if "Loader" in kind:
            hint = "return the Dataset itself, without a loader around it"
        elif lacking := _lacking(value):
            hint = f"a Dataset needs `__len__` and `__getitem__`, and this has no {lacking}: samples are read by number"
        raise DataError(
            f"gave {gave}, not (inputs, targets) or a Dataset", hint=hint, where=where, code="data-entry-result"
        )
    inputs, targets = value
    named = inputs if isinstance(inputs, dict) else {INPUT: inputs}
    arrays: dict[str, np.ndarray] = {}
    for name, values in named.items():
        what = "inputs" if named is not inputs else f"input `{name}`"
        arrays[str(name)] = as_input(values, what, where, preprocess)
    return array_split(arrays, None if targets is None else as_array(targets, "targets", where), preprocess, where)


@contextmanager
def _blamed(dataset: object, where: str) -> Iterator[None]:
    """Read a program's dataset inside: what it raises is shown at its own line; only what it holds is asked for."""
    try:
        yield
    except EdgeglmError:
        raise
    except Exception as error:
        file = getattr(sys.modules.get(type(dataset).__module__), "__file__", None)
        lines = [frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename == file]
        raise EntryError(
            f"the dataset {where} raised {type(error).__name__}: {error}",
            where=f"{file}:{lines[-1]}" if lines else where,
            hint="the fault is in this code; read all of its samples by themselves to see the whole traceback",
            code="entry-failed",
        ) from error


def _lacking(value: Any) -> str:
    """Return which methods something that gives samples lacks to be a dataset; nothing for anything else."""
    gives = hasattr(value, "__iter__") or hasattr(value, "__getitem__")
    if not gives or isinstance(value, dict | tuple | list | str):
        return ""
    return " and no ".join(f"`{name}`" for name in ("__len__", "__getitem__") if not hasattr(value, name))


def array_split(
    inputs: dict[str, np.ndarray], targets: np.ndarray | None, preprocess: Preprocess, where: str
) -> ArraySplit:
    """Return a split of arrays, preprocessed; as many targets as samples.

    Raises:
        DataError: Lengths differ, there are no samples, or ``preprocess`` does not fit.
    """
    counts = {f"input `{name}`": len(values) if values.ndim else 0 for name, values in inputs.items()}
    if targets is not None:
        counts["targets"] = len(targets) if targets.ndim else 0
    if len(set(counts.values())) > 1:
        raise DataError(
            "lengths differ: " + ", ".join(f"{name} {count}" for name, count in counts.items()),
            hint="the first axis is samples, everywhere",
            where=where,
            code="data-length",
        )
    if not inputs or not next(iter(counts.values())):
        raise DataError("the split is empty", where=where, hint="give it samples", code="data-empty")
    return ArraySplit(preprocessed(inputs, preprocess, where), targets)
