"""What export libraries print does not reach the terminal; errors do."""

from __future__ import annotations

import logging
import os
import sys
import tempfile
import warnings
from typing import TYPE_CHECKING

import pytest

from edgeglm.artifacts.quiet import silenced

if TYPE_CHECKING:
    from pathlib import Path


def test_python_and_native_output_is_held_back_and_can_be_read(capfd: pytest.CaptureFixture[str]) -> None:
    with silenced() as captured:
        print("printed")
        os.write(2, b"native\n")
        logging.getLogger("library").error("logged")
        warnings.warn("advice", stacklevel=1)
        sys.stdout.flush()
        text = captured.text()
    print("after")
    out, err = capfd.readouterr()
    assert (out, err) == ("after\n", "")
    assert "printed" in text
    assert "native" in text


def test_an_exception_passes_and_output_works_again(capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(ValueError, match="real"), silenced():
        raise ValueError("real")
    print("out")
    print("err", file=sys.stderr)
    assert logging.root.manager.disable == logging.NOTSET
    assert capfd.readouterr() == ("out\n", "err\n")


def test_no_file_has_a_name_that_a_killed_process_would_leave(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    with silenced() as captured:
        print("printed")
        assert list(tmp_path.iterdir()) == []
        assert captured.text() == "printed\n"
