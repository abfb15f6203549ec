"""What is true of data before anything is computed with it: targets that fit the task, no NaN, disjoint splits."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from edgeglm.data.slices import masks_of
from edgeglm.data.splits import ArraySplit, Data, Places, sample_digests
from edgeglm.errors import DataError
from edgeglm.plugins import blaming
from edgeglm.sources.arrays import as_array
from edgeglm.sources.dataset import DatasetSplit
from edgeglm.sources.splitting import calibration_part
from edgeglm.tasks import GROUP as TASK_GROUP

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from edgeglm.data.splits import Arrays
    from edgeglm.tasks import TaskConfig

    Signature = dict[str, tuple[tuple[int, ...], str]]  # input -> shape of a sample, dtype

MOST_OVERLAP = 0.01  # share of an evaluation split that may be found in training data before that is an error
_ROWS = 256  # read at a time of what lies in memory
_ROWS_READ = 32  # of what is read as it is needed: samples may be large


@dataclass(frozen=True)
class Checked:
    """A split that has been read once."""

    split: ArraySplit | DatasetSplit
    digests: list[bytes]  # of every sample's inputs
    signature: Signature
    where: str
    places: Places

    def take(self, indices: np.ndarray) -> Checked:
        """Return these samples alone."""
        digests = [self.digests[index] for index in indices]
        return replace(self, split=self.split.take(indices), digests=digests, places=self.places.take(indices))

    @property
    def targets(self) -> np.ndarray | None:
        """As the task takes them, (N, ...); a split that is not evaluated may have none."""
        return self.split.targets

    def with_targets(self, targets: np.ndarray | None) -> Checked:
        """Return the same samples with these targets."""
        return replace(self, split=replace(self.split, targets=targets))


def assemble(
    splits: Mapping[str, ArraySplit | DatasetSplit | None],
    *,
    eval_splits: Sequence[str],
    task: TaskConfig,
    labels: tuple[str, ...],
    seed: int,
    where: Mapping[str, str],
    warnings: Sequence[str] = (),
    columns: Mapping[str, Mapping[str, np.ndarray]] | None = None,
    places: Mapping[str, Places] | None = None,
) -> Data:
    """Return splits as data that may be trusted, or refuse them.

    Args:
        splits: Every evaluation split, ``train`` and ``calibration`` (None: a part of train is taken). The last two may
            be missing where nothing trains and nothing is calibrated, which is for ``needed_splits`` to say.
        eval_splits: Names of those to evaluate on.
        task: Says what targets are.
        labels: Names of the classes; empty when they are not known.
        seed: Decides which part of train is taken for calibration.
        where: Split name -> what to call it in an error.
        warnings: What the source has to say.
        columns: Split name -> column name -> (N,) values that slices are made of; only evaluation splits count.
        places: Split name -> where its samples stand; without, they go by their place in the split.

    Raises:
        DataError: See docs/errors.md, codes ``data-*`` and ``splits-overlap``.
    """
    said = list(warnings)
    checked: dict[str, Checked] = {}
    for name in ("train", "calibration", *eval_splits):
        split = splits.get(name)
        if split is not None:
            checked[name] = check_split(
                split, name, seed=seed, where=where[name], places=None if places is None else places.get(name)
            )
            judged = name not in ("train", "calibration")
            try:
                with blaming(task, TASK_GROUP, where="task"):
                    targets = task.read_targets(checked[name].targets, labels=labels, judged=judged, where=where[name])
            except DataError as error:
                error.located(checked[name].places.of)
                raise
            checked[name] = checked[name].with_targets(targets)
            if isinstance(split, DatasetSplit):
                said.extend(_check_repeats(split, name, where[name]))
        elif name in eval_splits:
            raise DataError(
                f"there is no split `{name}`",
                hint="give samples of their own to every evaluation split",
                where=where[name],
                code="data-split-missing",
            )
    _check_alike(checked)
    _part_from_evaluation(checked, eval_splits, said)
    _part_calibration(checked, seed, said)
    targets_of = {name: part.targets for name, part in checked.items() if part.targets is not None}
    called = {name: part.where for name, part in checked.items()}
    with blaming(task, TASK_GROUP, where="task"):
        said += task.check_splits(targets_of, chief=eval_splits[0], labels=labels, where=called)
    ordered = {name: checked[name] for name in ("train", "calibration", *eval_splits) if name in checked}
    return Data(
        splits={name: part.split for name, part in ordered.items()},
        eval_splits=tuple(eval_splits),
        labels=labels,
        warnings=tuple(said),
        sha256=_fingerprint(ordered),
        slices={name: masks_of((columns or {}).get(name, {}), where=where[name]) for name in eval_splits},
        places={name: part.places for name, part in ordered.items()},
    )


def check_split(
    split: ArraySplit | DatasetSplit, name: str, *, seed: int, where: str, places: Places | None = None
) -> Checked:
    """Read a split once: digest and look at every sample, and give a dataset its targets.

    Raises:
        DataError: It is empty, or holds NaN or Inf.
    """
    if not len(split):
        raise DataError("the split is empty", where=where, hint="give it samples", code="data-empty")
    places = places or Places(np.arange(len(split)))
    targets: list[Any] = []
    digests: list[bytes] = []
    signature: Signature = {}
    if isinstance(split, DatasetSplit) and name == "train":
        from edgeglm.nn.determinism import seed_all

        seed_all(seed)  # one that augments at random has the same fingerprint in every run
    for indices in _parts(len(split), _ROWS_READ if isinstance(split, DatasetSplit) else _ROWS):
        if isinstance(split, DatasetSplit):
            samples = split.samples(indices)
            inputs = split.inputs_of(samples)
            targets.extend(target for _, target in samples)
        else:
            inputs = split.rows(indices)
        found = {key: (values.shape[1:], str(values.dtype)) for key, values in inputs.items()}
        signature = signature or found
        if found != signature:
            raise _unlike(where, signature, where, found)
        _check_finite(inputs, int(indices[0]), places, where)
        digests.extend(_digests(inputs))
    if isinstance(split, DatasetSplit):
        split = replace(split, targets=_target_array(targets, where))
    return Checked(split, digests, signature, where, places)


def _parts(count: int, rows: int) -> list[np.ndarray]:
    return [np.arange(start, min(start + rows, count)) for start in range(0, count, rows)]


def _target_array(targets: list[Any], where: str) -> np.ndarray | None:
    if all(target is None for target in targets):
        return None
    return as_array([as_array(target, "a target", where) for target in targets], "targets", where)


def _check_finite(inputs: Arrays, first: int, places: Places, where: str) -> None:
    for name, values in inputs.items():
        if values.dtype.kind != "f":
            continue
        good = np.isfinite(values).all(axis=tuple(range(1, values.ndim)))
        if not good.all():
            row = int(np.argmin(good))
            kind = "NaN" if np.isnan(values[row]).any() else "Inf"
            raise DataError(
                f"input `{name}` holds {kind}, first in {places.of(first + row)}",
                hint="leave such samples out, or fill them in; a preprocess that divides by 0 makes them too",
                where=where,
                code="data-nan",
            )


def _digests(inputs: Arrays) -> list[bytes]:
    split = ArraySplit(inputs, None)
    return sample_digests(split, batch=len(split))


def _check_repeats(split: DatasetSplit, name: str, where: str) -> list[str]:
    """Tell whether a dataset gives the same values when it is read again."""
    rows = np.arange(min(4, len(split)))
    first, second = split.rows(rows), split.rows(rows)
    if all(np.array_equal(first[key], second[key]) for key in first):
        return []
    if name != "train":
        raise DataError(
            "the dataset gives other values each time it is read, so nothing measured on it can be compared",
            hint="augment the split `train` alone",
            where=where,
            code="data-not-repeatable",
        )
    return [
        f"{where}: gives other values each time it is read; copies of evaluation samples among them cannot be found"
        " (`augment` of a training step keeps data and augmentation apart)"
    ]


def _check_alike(checked: dict[str, Checked]) -> None:
    first = next(iter(checked.values()))
    for other in checked.values():
        if other.signature != first.signature:
            raise _unlike(first.where, first.signature, other.where, other.signature)


def _unlike(place: str, one: Signature, other_place: str, other: Signature) -> DataError:
    def shown(signature: Signature) -> str:
        return ", ".join(f"{name} {list(shape)} {dtype}" for name, (shape, dtype) in signature.items())

    return DataError(
        f"samples are {shown(other)}, and in {place} they are {shown(one)}",
        hint="all splits have the same inputs, in one shape and type; `resize` in `preprocess` makes images alike",
        where=other_place,
        code="data-shape",
    )


def _part_from_evaluation(checked: dict[str, Checked], eval_splits: Sequence[str], said: list[str]) -> None:
    """Take samples out of train and calibration that are evaluated on; too many of them are an error."""
    used = [name for name in ("train", "calibration") if name in checked]
    for eval_name in eval_splits:
        judged = checked[eval_name]
        place = {digest: (name, row) for name in reversed(used) for row, digest in enumerate(checked[name].digests)}
        found = [(row, *place[digest]) for row, digest in enumerate(judged.digests) if digest in place]
        if not found:
            continue
        share = len(found) / len(judged.digests)
        row, name, other = found[0]
        if share > MOST_OVERLAP:
            raise DataError(
                f"{len(found)} of {len(judged.digests)} samples ({share:.1%}) are in train or calibration too: "
                f"{judged.places.of(row)} is {checked[name].places.of(other)} of `{name}`",
                hint="a model is judged on samples it has not seen: divide the data so that no copies, and no "
                "overlapping windows of one recording, lie on both sides",
                where=judged.where,
                code="splits-overlap",
            )
        seen = set(judged.digests)
        for name in used:
            keep = np.array([digest not in seen for digest in checked[name].digests])
            _drop(checked, name, keep, f"in `{eval_name}` too", said)


def _part_calibration(checked: dict[str, Checked], seed: int, said: list[str]) -> None:
    """Make calibration disjoint from train, and where it has no samples of its own take some of train."""
    if "train" not in checked:
        return
    train = checked["train"]
    if "calibration" in checked:
        seen = set(train.digests)
        keep = np.array([digest not in seen for digest in checked["calibration"].digests])
        if keep.any():
            _drop(checked, "calibration", keep, "in `train` too", said)
            return
        said.append(f"{checked['calibration'].where}: all samples are in `train` too; a part of train is used instead")
    rest, part = calibration_part(len(train.digests), seed)
    if not len(part):
        raise DataError(
            f"{len(train.digests)} training samples are too few to take calibration samples from",
            hint="give more training samples, or a split `calibration`",
            where=train.where,
            code="data-too-few",
        )
    inside = {train.digests[index] for index in part}  # copies within train stay on one side
    rest = np.array([index for index in rest if train.digests[index] not in inside], dtype=np.int64)
    checked["train"], checked["calibration"] = train.take(rest), train.take(part)


def _drop(checked: dict[str, Checked], name: str, keep: np.ndarray, why: str, said: list[str]) -> None:
    if keep.all():
        return
    part = checked[name]
    if not keep.any():
        raise DataError(
            f"all of its samples are {why}", hint="give it samples of its own", where=part.where, code="splits-overlap"
        )
    left = int((~keep).sum())
    said.append(f"{part.where}: {left} sample{'s are' if left > 1 else ' is'} {why}, and left out")
    checked[name] = part.take(np.flatnonzero(keep))


def _fingerprint(checked: dict[str, Checked]) -> str:
    """Return a digest of every split: names, shapes, types, content, targets, order."""
    digest = hashlib.sha256()
    for name, part in checked.items():
        digest.update(repr((name, len(part.digests), sorted(part.signature.items()))).encode())
        digest.update(b"".join(part.digests))
        if part.targets is not None:
            digest.update(repr((part.targets.dtype.str, part.targets.shape)).encode())
            digest.update(np.ascontiguousarray(part.targets).tobytes())
    return digest.hexdigest()
