"""Export libraries print progress, advice and native logs; the terminal belongs to the run's own output."""

from __future__ import annotations

import logging
import os
import sys
import tempfile
import warnings
from contextlib import contextmanager
from typing import IO, TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

NATIVE_SILENCE = {"TF_CPP_MIN_LOG_LEVEL": "3", "GLOG_minloglevel": "3", "TORCH_CPP_LOG_LEVEL": "ERROR"}


class Captured:
    """What was printed meanwhile; converters name a failing operator nowhere else."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file

    def text(self) -> str:
        """Return everything printed so far."""
        sys.stdout.flush()
        sys.stderr.flush()
        number = self._file.fileno()
        return os.pread(number, os.fstat(number).st_size, 0).decode(errors="replace")


@contextmanager
def silenced() -> Iterator[Captured]:
    """Send file descriptors 1 and 2, logging and warnings of this process to a temporary file without a name.

    Exceptions pass through, and a process that is killed meanwhile leaves no file. Native code writes past
    ``sys.stderr``, so nothing short of the descriptors holds it. What other threads print meanwhile is lost.
    """
    for name, value in NATIVE_SILENCE.items():
        os.environ.setdefault(name, value)
    disabled = logging.root.manager.disable
    sys.stdout.flush()
    sys.stderr.flush()
    with tempfile.TemporaryFile() as file, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        kept = [os.dup(descriptor) for descriptor in (1, 2)]
        stdout, stderr = sys.stdout, sys.stderr
        with os.fdopen(os.dup(file.fileno()), "w", encoding="utf-8") as text:  # one position for all that is written
            try:
                for descriptor in (1, 2):
                    os.dup2(file.fileno(), descriptor)
                sys.stdout = sys.stderr = text
                logging.disable(logging.CRITICAL)
                yield Captured(file)
            finally:
                logging.disable(disabled)
                sys.stdout, sys.stderr = stdout, stderr
                for descriptor, copy in zip((1, 2), kept, strict=True):
                    os.dup2(copy, descriptor)
                    os.close(copy)
