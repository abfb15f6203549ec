"""`kind = "replay"`: samples of a file, at a rate, for trying a model out and for measuring it."""

from __future__ import annotations

import contextlib
import csv
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from msgspec import Meta

from edgeglm_agent.inputs._base import Arrival, EndOfInput, Input, InputContext, InputError, Source
from edgeglm_agent.settings.types import AnyPath

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

_SUFFIXES = (".csv", ".tsv", ".npz", ".txt")
Names = Annotated[list[str], Meta(min_length=1)]


class ReplayInput(Input, tag="replay", frozen=True, kw_only=True):
    """Samples of a .csv, .npz or .txt file, one after the other."""

    path: AnyPath  # .csv: a row, or `window` rows, a sample; .npz: arrays with samples first; .txt: a text a line
    rate: Annotated[float, Meta(gt=0)] | None = None  # samples a second at most; none: as fast as they are answered
    loop: bool = False  # begin again at the end; else the slot is idle then
    inputs: str | Names | None = None  # arrays of a .npz; none: `x`, or those with the names of the model's inputs
    features: Names | None = None  # columns of a .csv, in this order; none: all but `target`
    target: str | None = None  # array or column with what is right, for the results; none: `y` of a .npz
    delimiter: Annotated[str, Meta(min_length=1, max_length=1)] = ","  # of a .csv
    header: bool = True  # whether the first line of a .csv names the columns; without it they are called 1, 2, ...
    window: Annotated[int, Meta(ge=1)] | None = None  # rows of a .csv that are one sample; none: each row is one
    stride: Annotated[int, Meta(ge=1)] = 1  # rows from the start of one window to that of the next

    def check(self) -> None:
        """See ``Input.check``. Raises: InputError: A file of another kind."""
        if Path(self.path).suffix.lower() not in _SUFFIXES:
            raise InputError(f"{self.path} is none of {', '.join(_SUFFIXES)}", key="path")

    def open(self, context: InputContext) -> Source:
        """Look at the file. Raises: InputError: It cannot be read, or lacks what is named."""
        self.check()
        path = Path(self.path)
        if not path.is_file():
            raise InputError(f"there is no file {path}", key="path")
        kinds: dict[str, Callable[[ReplayInput, Path, InputContext], Callable[[], Iterator[Arrival]]]] = {
            ".npz": _from_npz,
            ".csv": _from_csv,
            ".tsv": _from_csv,
            ".txt": _from_txt,
        }
        return Replay(self, kinds[path.suffix.lower()](self, path, context), str(path))


class Replay:
    """The samples, each when it is due."""

    def __init__(self, config: ReplayInput, samples: Callable[[], Iterator[Arrival]], called: str) -> None:
        """Give what ``samples`` yields; it is called again for each loop. Raises: InputError: There is nothing."""
        self._samples = samples
        self._called = called
        self._loop = config.loop
        self._period = 1 / config.rate if config.rate else 0.0
        self._stopped = threading.Event()
        self._rest = samples()
        self._next = next(self._rest, None)
        if self._next is None:
            raise InputError(f"{called} holds no sample", key="path")
        self._due = time.monotonic()

    def read(self, timeout_s: float) -> list[Arrival]:
        """Return the next sample, once it is due. Raises: EndOfInput."""
        if self._stopped.is_set():
            raise EndOfInput("told to stop")
        if self._next is None:
            raise EndOfInput(f"{self._called} has been replayed")
        if self._period:
            now = time.monotonic()
            if now < self._due:
                if self._stopped.wait(min(timeout_s, self._due - now)) or self._due - now > timeout_s:
                    return []
                now = self._due
            self._due = max(self._due + self._period, now)  # time that was lost is not made up for
        arrival = self._next
        self._next = self._following()
        if self._next is None and self._loop:
            self._rest = self._samples()
            self._next = self._following()
        arrival.at_ns = time.monotonic_ns()
        return [arrival]

    def _following(self) -> Arrival | None:
        """Return the next sample; where the file cannot be read on from there, a fault that says so, then None."""
        try:
            return next(self._rest, None)
        except InputError as error:
            return Arrival(sample=None, name=Path(self._called).name, fault=str(error))

    def stop(self) -> None:
        """Give nothing more."""
        self._stopped.set()

    def close(self) -> None:
        """Let go of the file."""
        self._rest = iter(())


def _from_npz(config: ReplayInput, path: Path, context: InputContext) -> Callable[[], Iterator[Arrival]]:
    import numpy as np

    from edgeglm_agent.inputs import decode

    try:
        arrays = decode.npz(path.read_bytes(), most_bytes=1 << 34)
    except (OSError, decode.DamagedError) as error:
        raise InputError(f"{path}: {error}", key="path") from error
    names = _array_names(config, context, arrays)
    target = config.target or ("y" if "y" in arrays and "y" not in names else None)
    for name, key in [*((name, "inputs") for name in names), *([(target, "target")] if target else [])]:
        if name not in arrays:
            raise InputError(f"{path} has no array `{name}`", key=key, hint=f"it has {', '.join(arrays)}")
    counts = {name: len(arrays[name]) if arrays[name].ndim else 0 for name in [*names, *([target] if target else [])]}
    if len(set(counts.values())) > 1:
        told = ", ".join(f"`{name}` {count}" for name, count in counts.items())
        raise InputError(f"{path}: arrays have different numbers of samples: {told}", key="path")
    single = len(names) == 1 and len(context.input_names) <= 1

    def samples() -> Iterator[Arrival]:
        for row in range(counts[names[0]]):
            sample = arrays[names[0]][row] if single else {name: arrays[name][row] for name in names}
            right = None if target is None else np.asarray(arrays[target][row]).tolist()
            yield Arrival(sample=sample, name=f"{path.name}:{row}", target=right)

    return samples


def _array_names(config: ReplayInput, context: InputContext, arrays: dict[str, Any]) -> list[str]:
    if config.inputs is not None:
        return [config.inputs] if isinstance(config.inputs, str) else list(config.inputs)
    if context.input_names and all(name in arrays for name in context.input_names):
        return list(context.input_names)
    return ["x"]


def _from_csv(config: ReplayInput, path: Path, context: InputContext) -> Callable[[], Iterator[Arrival]]:
    from edgeglm_agent.inputs.decode import DamagedError, row
    from edgeglm_agent.inputs.windows import Windows

    delimiter = "\t" if path.suffix.lower() == ".tsv" and config.delimiter == "," else config.delimiter
    first = next(_rows(path, delimiter), None)
    if first is None:
        raise InputError(f"{path} holds no rows", key="path")
    columns = [cell.strip() for cell in first[1]] if config.header else [str(n + 1) for n in range(len(first[1]))]
    features = config.features or [name for name in columns if name != config.target]
    for name, key in [*((name, "features") for name in features), (config.target or columns[0], "target")]:
        if name not in columns:
            raise InputError(f"{path} has no column `{name}`", key=key, hint=f"it has {', '.join(columns)}")
    places = [columns.index(name) for name in features]
    right = None if config.target is None else columns.index(config.target)
    if context.takes_texts and len(places) != 1:
        raise InputError("a text is one column", key="features", hint='name it: features = ["text"]')

    def samples() -> Iterator[Arrival]:
        windows = Windows(config.window or 1, config.stride)
        rows = _rows(path, delimiter)
        if config.header:
            next(rows, None)
        for line, cells in rows:
            name = f"{path.name}:{line}"
            try:
                if len(cells) != len(columns):
                    raise DamagedError(f"{len(cells)} cells, and there are {len(columns)} columns")
                sample: Any = cells[places[0]]
                if not context.takes_texts:
                    sample = windows.add(row("\0".join(cells[place] for place in places), "\0"))
            except ValueError as error:  # DamagedError among them
                windows.begin_anew()
                yield Arrival(sample=None, name=name, fault=f"line {line}: {error}")
                continue
            if sample is not None:
                sample = sample[0] if config.window is None and not context.takes_texts else sample
                yield Arrival(sample=sample, name=name, target=None if right is None else _value(cells[right]))

    return samples


def _rows(path: Path, delimiter: str) -> Iterator[tuple[int, list[str]]]:
    """Yield (line, cells). Raises: InputError: It is no table of UTF-8."""
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.reader(file, delimiter=delimiter, strict=True)
            yield from ((reader.line_num, cells) for cells in reader if cells)
    except (OSError, csv.Error, UnicodeDecodeError) as error:
        raise InputError(f"{path} cannot be read as a table: {error}", key="path") from error


def _value(cell: str) -> float | int | str:
    with contextlib.suppress(ValueError):
        return int(cell)
    with contextlib.suppress(ValueError):
        return float(cell)
    return cell.strip()


def _from_txt(config: ReplayInput, path: Path, context: InputContext) -> Callable[[], Iterator[Arrival]]:
    del config
    if not context.takes_texts:
        raise InputError(f"{path} holds texts, and the model takes none", key="path")

    def samples() -> Iterator[Arrival]:
        try:
            with path.open(encoding="utf-8-sig") as file:
                for number, line in enumerate(file, 1):
                    if line.strip():
                        yield Arrival(sample=line.rstrip("\r\n"), name=f"{path.name}:{number}")
        except (OSError, UnicodeDecodeError) as error:
            raise InputError(f"{path} cannot be read: {error}", key="path") from error

    return samples
