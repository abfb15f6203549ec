"""Splits from files of texts: lines, texts with labels, scored pairs of texts."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from edgeglm.data.splits import Places
from edgeglm.errors import DataError
from edgeglm.files import tidied
from edgeglm.plugins import tag
from edgeglm.sources.checking import assemble
from edgeglm.sources.python_data import array_split
from edgeglm.sources.split_files import WHOLE, find_files, text_lines
from edgeglm.sources.splitting import divide
from edgeglm.sources.target_column import Column, read_target_columns
from edgeglm.sources.text import SUFFIXES
from edgeglm.sources.text_columns import column_problems, is_table, plain_problems, wanted_columns

if TYPE_CHECKING:
    from collections.abc import Hashable, Sequence
    from pathlib import Path

    from edgeglm_agent.processing import Preprocess

    from edgeglm.data.splits import Data
    from edgeglm.sources.text import TextData
    from edgeglm.tasks import TaskConfig

INPUT = "text"
_NO_PAIR = -1.0


@dataclass
class Texts:
    """What one file holds. Of pairs, the two texts are two samples, one after the other."""

    path: Path
    texts: list[str] = field(default_factory=list)
    lines: list[int] = field(default_factory=list)  # where each sample stands
    targets: list[str] = field(default_factory=list)  # as written; empty: there are none
    pairs: bool = False
    extra: dict[str, list[str]] = field(default_factory=dict)  # further columns that slices are made of

    def take(self, rows: np.ndarray) -> Texts:
        """Return these samples alone."""

        def chosen(values: list[str]) -> list[str]:
            return [values[row] for row in rows] if values else []

        lines = [self.lines[row] for row in rows]
        extra = {name: chosen(values) for name, values in self.extra.items()}
        return Texts(self.path, chosen(self.texts), lines, chosen(self.targets), self.pairs, extra)


def load_texts(
    config: TextData,
    folder: Path,
    *,
    preprocess: Preprocess,
    task: TaskConfig,
    labels: tuple[str, ...],
    seed: int,
    slices: Sequence[str] = (),
) -> Data:
    """Read a file for each split, or divide one by ``fractions``.

    Raises:
        DataError: A file is missing, is not UTF-8 or has other columns; the line is named.
    """
    path = tidied(folder / config.path)
    if not preprocess.takes_texts:
        raise DataError(
            "texts are read, and nothing makes numbers of them",
            where=str(path),
            hint="begin `preprocess` with `- tokenize: {tokenizer: tokenizer.json, length: 64}`",
            code="data-dtype",
        )
    files = find_files(path, SUFFIXES, config.eval_splits, where=str(path))
    classes = task.objective == "classes"
    judged_by = tag(task) if task.needs_targets else ""
    for name, file in files.items():
        if name in ("train", "calibration") or is_table(file):
            continue
        if problems := plain_problems(file, dict.fromkeys(slices, "slices"), judged_by=judged_by):
            raise DataError.of(problems)
    parts = {name: read_texts(file, config, slices, labels) for name, file in files.items()}
    if WHOLE in parts:
        parts = _divided(parts[WHOLE], config, seed, labels, classes=classes)
    targets, labels = _targets(parts, config, labels, names=classes)
    where = {name: f"{path}, split `{name}`" for name in ("train", "calibration", *config.eval_splits)}
    splits = {
        name: array_split({INPUT: np.array(part.texts, dtype=object)}, targets.get(name), preprocess, where[name])
        for name, part in parts.items()
    }
    return assemble(
        splits,
        eval_splits=config.eval_splits,
        task=task,
        labels=labels,
        seed=seed,
        where=where,
        columns={name: {key: np.array(values) for key, values in part.extra.items()} for name, part in parts.items()},
        places={name: Places(np.array(part.lines), "line") for name, part in parts.items()},
    )


def read_texts(path: Path, config: TextData, slices: Sequence[str] = (), labels: Sequence[str] = ()) -> Texts:
    """Return what one file holds; empty lines are skipped.

    Raises:
        DataError: A line is not UTF-8, or has too few columns.
    """
    found = Texts(path, pairs=is_table(path) and config.tsv == "pairs")
    if not is_table(path):
        for number, line in text_lines(path):
            if line.strip():
                found.texts.append(line)
                found.lines.append(number)
        return _not_empty(found)
    wanted = [name for name, _ in wanted_columns(config)]
    places: dict[str, int] = {}
    for number, line in text_lines(path):
        if not line.strip():
            continue
        cells = line.split("\t")
        if not places:
            if problems := column_problems(path, (number, line), config, dict.fromkeys(slices, "slices"), labels):
                raise DataError.of(problems)
            places = {name.strip(): place for place, name in enumerate(cells if config.header else wanted)}
            if config.header:
                continue
        _add(found, cells, places, wanted, slices, number)
    return _not_empty(found)


def _add(
    found: Texts, cells: list[str], places: dict[str, int], wanted: list[str], slices: Sequence[str], number: int
) -> None:
    most = max(places[name] for name in (*wanted, *slices))
    if len(cells) <= most:
        raise DataError(
            f"{len(cells)} column{'s' * (len(cells) != 1)}, and {most + 1} are wanted: {', '.join(wanted)}",
            where=f"{found.path}:{number}",
            hint="columns are parted by one tab; a text holds none. Texts without a label go into a .txt file",
            code="data-columns",
        )
    *texts, target = (cells[places[name]] for name in wanted)
    for name, text in zip(wanted, texts, strict=False):  # the last is the target
        if not text.strip():
            raise DataError(
                f"column `{name}` is empty",
                where=f"{found.path}:{number}",
                hint="give every sample a text, or remove the line",
                code="data-missing",
            )
    for text in texts:
        found.texts.append(text)
        found.lines.append(number)
        found.targets.append(target)
        for name in slices:
            found.extra.setdefault(name, []).append(cells[places[name]].strip())


def _not_empty(found: Texts) -> Texts:
    if not found.texts:
        raise DataError("holds no text", where=str(found.path), hint="one text a line", code="data-empty")
    return found


def _targets(
    parts: dict[str, Texts], config: TextData, labels: tuple[str, ...], *, names: bool
) -> tuple[dict[str, np.ndarray], tuple[str, ...]]:
    labelled = {name: part for name, part in parts.items() if part.targets}
    columns = {name: _column(part, config) for name, part in labelled.items()}
    if not any(part.pairs for part in labelled.values()):
        return read_target_columns(columns, labels, names=names)
    targets: dict[str, np.ndarray] = {}
    for name, column in columns.items():
        scores = np.array([_score(column, row) for row in range(len(column.values))], np.float32)
        numbers = np.arange(len(scores)) // 2 if labelled[name].pairs else np.full(len(scores), _NO_PAIR)
        targets[name] = np.stack([numbers.astype(np.float32), scores], axis=1)
    return targets, labels


def _column(part: Texts, config: TextData) -> Column:
    names = wanted_columns(config)
    called = f"`{names[-1][0]}`" if config.header else str(len(names))
    return Column(f"column {called} (`data.target`)", part.targets, part.lines, part.path)


def _score(column: Column, row: int) -> float:
    try:
        value = float(column.values[row])
    except ValueError:
        value = float("nan")
    if not np.isfinite(value):
        raise DataError(
            f"{column.called} holds `{column.values[row]:.40}`, which is no number",
            where=column.where(row),
            hint="a pair is text, text and a number (its score), parted by tabs",
            code="data-targets",
        )
    return value


def _divided(whole: Texts, config: TextData, seed: int, labels: tuple[str, ...], *, classes: bool) -> dict[str, Texts]:
    """Divide one file; equal texts stay together, and pairs that share one."""
    stratify = None
    if classes and whole.targets and not whole.pairs:
        stratify = read_target_columns({WHOLE: _column(whole, config)}, labels, names=True)[0][WHOLE]
    units: Sequence[Hashable] = _linked(whole.texts) if whole.pairs else whole.texts
    chosen = divide(
        config.fractions,
        seed,
        eval_split=config.eval_splits[0],
        units=units,
        targets=stratify,
        where=str(whole.path),
    )
    return {name: whole.take(rows) for name, rows in chosen.items()}


def _linked(texts: list[str]) -> list[int]:
    """Return a number for each sample, the same for all samples of pairs that share a text, however indirectly."""
    root: dict[str, str] = {}

    def find(text: str) -> str:
        root.setdefault(text, text)
        while root[text] != text:
            root[text] = root[root[text]]
            text = root[text]
        return text

    for first, second in zip(texts[::2], texts[1::2], strict=True):
        root[find(first)] = find(second)
    numbers: defaultdict[str, int] = defaultdict(lambda: len(numbers))
    return [numbers[find(text)] for text in texts]
