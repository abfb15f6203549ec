"""Data in text files: one file that is divided, or a folder with a file for each split."""

from __future__ import annotations

from typing import TYPE_CHECKING

from edgeglm.errors import DataError
from edgeglm.sources.image_folders import EVAL_NAMES
from edgeglm.sources.lfs import refuse_lfs_pointer

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

WHOLE = ""  # stands for the one file that is divided


def find_files(path: Path, suffixes: Sequence[str], eval_splits: Sequence[str], *, where: str) -> dict[str, Path]:
    """Return split name -> file, or ``WHOLE`` -> the one file that is to be divided.

    Args:
        path: The file, or the folder with ``train``, ``calibration`` (may be missing) and each evaluation split.
        suffixes: Of files that are looked for, with the dot.
        eval_splits: Names of the splits that are evaluated on.
        where: Of the data, for errors.

    Raises:
        DataError: Nothing is there, or a split has no file, or two.
    """
    if path.is_file():
        if len(eval_splits) > 1:
            raise DataError(
                f"`eval_splits` names {len(eval_splits)}, and one file is divided into one",
                hint=f"make a folder with train{suffixes[0]}, {eval_splits[1]}{suffixes[0]}, ..., or keep one",
                where=where,
                code="data-split-missing",
            )
        refuse_lfs_pointer(path, where)
        return {WHOLE: path}
    if not path.is_dir():
        raise DataError(
            "no such file or folder",
            where=where,
            hint="`data.path` is relative to the folder of the recipe",
            code="data-file-missing",
        )
    files = [file for file in sorted(path.iterdir()) if file.suffix.lower() in suffixes and file.is_file()]
    there = {file.stem: file for file in files}
    for name in ("train", "calibration", *eval_splits):
        named = [file.name for file in files if file.stem == name]
        if len(named) > 1:
            raise DataError(
                f"the split `{name}` has {len(named)} files: {', '.join(named)}",
                hint="keep one of them",
                where=where,
                code="data-split-twice",
            )
    for name in eval_splits:
        if name not in there:
            usual = [other for other in EVAL_NAMES if other in there]
            raise DataError(
                f"there is no file {name}{suffixes[0]} for the split of that name"
                + (f"; there is {', '.join(file.name for file in there.values())}" if there else ""),
                hint=f"write `eval_splits: [{usual[0]}]` under `data`"
                if usual
                else f"one file for each split ({', '.join(suffixes)}), or one file as `data.path` that is divided",
                where=where,
                code="data-split-missing",
            )
    found = {name: there[name] for name in ("train", "calibration", *eval_splits) if name in there}
    for file in found.values():
        refuse_lfs_pointer(file, str(file))
    return found


def text_lines(path: Path) -> Iterator[tuple[int, str]]:
    """Yield (line number from 1, text without its end) of a UTF-8 file; a byte order mark is skipped.

    Lines end at a line feed, with or without a carriage return before it, and nowhere else.

    Raises:
        DataError: A line is not UTF-8 (``data-encoding``), or the file cannot be read.
    """
    try:
        with path.open("rb") as file:
            for number, line in enumerate(file, 1):
                content = line.removesuffix(b"\n").removesuffix(b"\r")
                if number == 1:
                    content = content.removeprefix(b"\xef\xbb\xbf")
                yield number, _decoded(content, path, number)
    except OSError as error:
        raise DataError(
            f"cannot be read: {error.strerror}",
            where=str(path),
            hint="look at its permissions",
            code="data-file-corrupt",
        ) from error


def _decoded(content: bytes, path: Path, number: int) -> str:
    try:
        return content.decode("utf-8")
    except UnicodeDecodeError as error:
        raise DataError(
            f"not UTF-8: byte 0x{content[error.start]:02x} at place {error.start + 1} of the line",
            where=f"{path}:{number}",
            hint="save the file as UTF-8: `iconv -f WINDOWS-1252 -t UTF-8 old > new`, with the encoding it has",
            code="data-encoding",
        ) from error
