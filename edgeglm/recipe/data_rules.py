"""Rules between keys that say what the data is, how it is divided, and which parts of it are looked at."""

from __future__ import annotations

import math
import re
from typing import TYPE_CHECKING

from edgeglm.plugins import tag
from edgeglm.recipe.wording import ENTRY_PATTERN, slice_column
from edgeglm.sources import CsvData, DataSource, ImagesData, NpzData, TextData
from edgeglm.tasks import ObjectDetection, Segmentation, TaskConfig

if TYPE_CHECKING:
    from edgeglm.recipe.walk import Walker

_CONFLICT = "recipe-conflict"


def check_data_rules(walker: Walker) -> None:
    """Report what contradicts what."""
    _splits(walker)
    _targets(walker)
    _texts(walker)
    _tables(walker)
    _slices(walker)
    _slice_budget(walker)


def _splits(walker: Walker) -> None:
    data = walker.built.get("data")
    names = walker.built.get("data.eval_splits", [])
    for index, name in enumerate(names):
        key = f"data.eval_splits[{index}]"
        if name in ("train", "calibration"):
            walker.report(
                key,
                f"`{name}` cannot be evaluated on: the model has seen it",
                "evaluate on samples of their own, such as `eval`",
                code=_CONFLICT,
            )
        elif name in names[:index]:
            walker.report(key, f"`{name}` is listed twice", "keep one of them", code=_CONFLICT)
    fractions = walker.built.get("data.fractions", getattr(data, "fractions", None))
    if fractions is not None:
        total = math.fsum((fractions.train, fractions.calibration, fractions.eval))
        if total > 1 + 1e-9:
            walker.report(
                "data.fractions",
                f"the shares add up to {total:g}, more than 1: {fractions.train:g} + {fractions.calibration:g}"
                f" + {fractions.eval:g}",
                "lower one of train, calibration and eval (a share that is not written has its default)",
                code=_CONFLICT,
            )
    if isinstance(data, NpzData):
        arrays = data.inputs if isinstance(data.inputs, list) else [data.inputs]
        if not arrays:
            walker.report("data.inputs", "no array is named", "name at least one", code="recipe-out-of-range")
        for index, name in enumerate(arrays):
            if name in arrays[:index] or name in (data.targets, data.group):
                key = f"data.inputs[{index}]" if isinstance(data.inputs, list) else "data.inputs"
                walker.report(key, f"the array `{name}` is named twice", "name each array once", code=_CONFLICT)


def _targets(walker: Walker) -> None:
    """A task that is judged by targets needs a source that gives them, and in the form that it takes."""
    data, task = walker.built.get("data"), walker.built.get("task")
    if not isinstance(data, DataSource) or not isinstance(task, TaskConfig):
        return
    kind = tag(task)
    if isinstance(task, ObjectDetection | Segmentation) and isinstance(data, CsvData | ImagesData | TextData):
        wanted = "boxes" if isinstance(task, ObjectDetection) else "a map of classes"
        walker.report(
            "data.source",
            f"`source: {tag(data)}` gives a class or numbers for each sample, and `kind: {kind}` is judged by {wanted}",
            "give them by arrays (`source: npz`), or by a function (`source: python`)",
            code=_CONFLICT,
        )
    elif task.needs_targets and isinstance(data, CsvData) and not data.target_names and not data.horizon:
        walker.report(
            "data.target",
            f"no column of targets is named, and `kind: {kind}` is judged by them",
            "name it: `target: ` and the column of the " + ("class" if kind == "classification" else "0 and 1"),
            code=_CONFLICT,
        )
    elif task.needs_targets and isinstance(data, CsvData) and data.horizon and data.target_names:
        walker.report(
            "data.horizon",
            f"the targets are the next {data.horizon} values, and `kind: {kind}` is judged by one of each sample",
            "remove it, for the state of a window's last row, or write `task: {kind: forecasting}`",
            code=_CONFLICT,
        )
    elif task.needs_targets and isinstance(data, NpzData) and data.targets is None:
        walker.report(
            "data.targets",
            f"no array of targets is named, and `kind: {kind}` is judged by them",
            "write `targets: ` and the name of the array",
            code=_CONFLICT,
        )
    if isinstance(data, TextData) and data.tsv == "pairs" and task.needs_targets:
        walker.report(
            "data.tsv",
            f"scored pairs are judged by `kind: embedding`, and this is `kind: {kind}`",
            "write `tsv: labels`, or another task",
            code=_CONFLICT,
        )


def _texts(walker: Walker) -> None:
    """Texts are read only to be tokenized."""
    if not isinstance(walker.built.get("data"), TextData):
        return
    first = next(iter(walker.built.get("preprocess") or []), None)
    if first is None or first.op != "tokenize":
        walker.report(
            "data.source",
            "texts are read, and nothing makes numbers of them",
            "begin `preprocess` with `- tokenize: {tokenizer: tokenizer.json, length: 64}`",
            code=_CONFLICT,
        )


def _slices(walker: Walker) -> None:
    """A column is named where the data has columns, and a slice once; functions go by their names without the file."""
    data, names = walker.built.get("data"), walker.built.get("slices") or []
    called = [slice_column(name) for name in names]
    for index, name in enumerate(names):
        if name in names[:index]:
            walker.report(f"slices[{index}]", f"`{name}` is listed twice", "keep one of them", code=_CONFLICT)
        elif called[index] in called[:index]:
            other = names[called.index(called[index])]
            walker.report(
                f"slices[{index}]",
                f"its slices would be called `{called[index]}=...`, as those of `{other}`",
                "rename one of the two",
                code=_CONFLICT,
            )
        elif re.search(ENTRY_PATTERN, name) is None and isinstance(data, DataSource) and not data.has_columns:
            walker.report(
                f"slices[{index}]",
                f"data of `source: {tag(data)}` has no columns, such as `{name}`",
                "name a function `path.py:function` that takes inputs, targets and split",
                code=_CONFLICT,
            )


def _slice_budget(walker: Walker) -> None:
    """A limit for slices needs slices."""
    if walker.built.get("budget.per_slice_drop") is not None and not walker.built.get("slices"):
        walker.report(
            "budget.per_slice_drop",
            "no slice is named",
            "name columns or functions in `slices`, or remove the line",
            code=_CONFLICT,
        )


def _tables(walker: Walker) -> None:
    """Windows overlap, so rows are never shuffled into splits; what belongs to windows needs some."""
    data = walker.built.get("data")
    if not isinstance(data, CsvData):
        return
    if data.divided_by == "group" and data.group is None:
        walker.report("data.split", "no `group` is named", "name the column of groups in `data.group`", code=_CONFLICT)
    if data.window is not None and data.split == "rows":
        walker.report(
            "data.split",
            "windows are cut from rows that follow each other, and `rows` shuffles them",
            "divide by `time`, or by `group`",
            code=_CONFLICT,
        )
    if data.window is None:
        for key, unused in (("stride", data.stride != 1), ("horizon", data.horizon != 0)):
            if unused:
                walker.report(f"data.{key}", "there is no `window`", "set `data.window`, or remove it", code=_CONFLICT)
    elif data.horizon and not data.target_names:
        walker.report(
            "data.horizon",
            "no `target` is named that could be predicted",
            "name the columns to predict in `data.target`",
            code=_CONFLICT,
        )
    for key, names in (("features", data.features or []), ("target", data.target_names), ("ignore", data.ignore)):
        for index, name in enumerate(names):
            place = f"data.{key}" if isinstance(getattr(data, key), str) else f"data.{key}[{index}]"
            if name in names[:index]:
                walker.report(place, f"the column `{name}` is named twice", "name each column once", code=_CONFLICT)
            elif key == "features" and not data.horizon and name in data.target_names:
                walker.report(
                    place,
                    f"`{name}` is the target, too: it would tell the answer",
                    "remove one of them",
                    code=_CONFLICT,
                )
