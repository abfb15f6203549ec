"""Bytes from outside to a sample. Nothing is unpickled, and nothing grows beyond what its bytes can hold."""

from __future__ import annotations

import csv
import io
import math
from typing import TYPE_CHECKING, Any

import numpy as np

from edgeglm_agent.inputs.json_arrays import check_lists, named, read_array
from edgeglm_agent.inputs.npy import NPY_MAGIC, DamagedError, npy, npz
from edgeglm_agent.processing.images import EXTRA, NEEDED, ImageError, ImageMode, read_image

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

__all__ = [
    "IMAGE_MAGICS", "MOST_PIXELS", "NPY_MAGIC", "DamagedError", "json_sample", "npy", "npz", "picture",
    "row", "sample_of", "table", "text",
]  # fmt: skip

IMAGE_MAGICS = (b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b"BM", b"GIF8", b"RIFF", b"II*\0", b"MM\0*")
_FORMATS = ("JPEG", "PNG", "BMP", "GIF", "WEBP", "TIFF", "PPM")  # of the others, one starts a program
MOST_PIXELS = 64_000_000  # 192 MB as RGB


def sample_of(arrays: Mapping[str, np.ndarray], names: Sequence[str]) -> np.ndarray | dict[str, np.ndarray]:
    """Return one sample: the only array, or arrays by the names of the model's inputs. Raises: DamagedError."""
    if len(arrays) == 1 and len(names) <= 1:
        return next(iter(arrays.values()))
    missing = [name for name in names if name not in arrays]
    if missing:
        raise DamagedError(f"it has no `{missing[0]}`; it has {', '.join(arrays)}")
    return {name: arrays[name] for name in names}


def json_sample(data: bytes, names: Sequence[str], *, most_values: int | None = None) -> Any:
    """Return the sample that JSON holds: numbers in lists, or these by the name of an input.

    Whole numbers come as int64, others as float32.

    Args:
        data: What came.
        names: The model's inputs.
        most_values: Numbers that a sample may hold, by the model's shapes; None: any number.

    Raises:
        DamagedError: It is no JSON, or holds something else than finite numbers in lists of one length, or too many.
    """
    values = data.count(b",") + 1  # or fewer
    if most_values is not None and values > most_values:
        raise DamagedError(f"it holds {values} numbers, and the model takes {most_values}")
    check_lists(data, "npy")
    if not data.lstrip().startswith(b"{"):
        return read_array(data, "")
    arrays = {name: read_array(bytes(values), name) for name, values in named(data, "").items()}
    return sample_of(arrays, names)


def picture(data: bytes, mode: ImageMode) -> np.ndarray:
    """Return an image as uint8 (height, width, channels). Raises: DamagedError."""
    try:
        return read_image(io.BytesIO(data), mode, most_pixels=MOST_PIXELS, formats=_FORMATS)
    except ImageError as error:
        raise DamagedError(f"it cannot be read as an image: {error}") from error
    except ImportError as error:
        raise DamagedError(f"{NEEDED}: {EXTRA}") from error
    except Exception as error:  # of a library that takes apart what strangers sent: anything may come
        raise DamagedError(f"it cannot be read as an image: {type(error).__name__}: {error}") from error


def text(data: bytes) -> str:
    """Return UTF-8 without a byte order mark and without the end of the line. Raises: DamagedError."""
    try:
        return data.decode("utf-8-sig").rstrip("\r\n")
    except UnicodeDecodeError as error:
        raise DamagedError(f"it is not UTF-8 (byte {error.start})") from error


def row(line: str, delimiter: str = ",") -> list[float]:
    """Return the finite numbers of one line. Raises: DamagedError."""
    cells = line.split() if delimiter == " " else line.split(delimiter)
    try:
        found = [float(cell) for cell in cells]
    except ValueError:
        raise DamagedError(f"`{line[:60]}` is no line of numbers") from None
    if not all(map(math.isfinite, found)):
        raise DamagedError(f"`{line[:60]}` holds a number that is not finite")
    return found


def table(content: str, delimiter: str = ",") -> np.ndarray:
    """Return the rows of a CSV file as (rows, columns) float32; a first line of names is skipped.

    Raises:
        DamagedError: A cell is no number, or rows have different lengths.
    """
    rows: list[list[float]] = []
    try:
        for number, cells in enumerate(csv.reader(io.StringIO(content), delimiter=delimiter, strict=True), 1):
            if not cells:
                continue
            try:
                rows.append([float(cell) for cell in cells])
            except ValueError:
                if rows or number > 1:
                    raise DamagedError(f"line {number} holds a cell that is no number") from None
            if rows and len(rows[-1]) != len(rows[0]):
                raise DamagedError(f"line {number} has {len(rows[-1])} cells, and the first row {len(rows[0])}")
    except csv.Error as error:
        raise DamagedError(f"it cannot be read as a table: {error}") from error
    if not rows:
        raise DamagedError("it holds no rows")
    return np.asarray(rows, np.float32)
