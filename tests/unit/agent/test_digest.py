from __future__ import annotations

import hashlib
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest
from edgeglm_agent.worker.digest import sha256, sha256_file

from tests.support.uncovered import uncovered

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.parametrize("size", [0, 1, 4_000_000, 4_000_001, 5_000_000])
def test_digests_are_those_of_hashlib(tmp_path: Path, size: int) -> None:
    data = bytes(range(256)) * (size // 256 + 1)
    data = data[:size]
    (tmp_path / "file").write_bytes(data)
    assert sha256(data) == sha256_file(tmp_path / "file") == hashlib.sha256(data).hexdigest()


def test_a_python_without_its_own_sha256_uses_openssl(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("_sha2", "_sha256"):
        monkeypatch.setitem(sys.modules, name, None)
    assert sha256(b"x") == hashlib.sha256(b"x").hexdigest()


def test_a_small_model_is_served_without_openssl_in_memory(tmp_path: Path) -> None:
    from tests.support.model_folders import write_two

    folder = write_two(tmp_path / "model")
    code = (
        "import sys; from pathlib import Path; from edgeglm_agent.settings.types import InputConfig, Slot;"
        "from edgeglm_agent.worker.model import load_model; folder = Path(sys.argv[1]);"
        "load_model(folder, slot=Slot(model='', input=InputConfig()), state_dir=folder / 'state');"
        "print([name for name in ('_hashlib', '_ssl', 'asyncio', 'onnxruntime', 'PIL') if name in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(folder)], capture_output=True, text=True, check=False, env=uncovered()
    )
    assert done.stdout.strip() == "[]", done.stderr
