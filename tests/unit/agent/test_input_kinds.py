from __future__ import annotations

import re
import subprocess
import sys
from importlib import import_module
from pathlib import Path
from typing import Any

import msgspec
import pytest
from edgeglm_agent.inputs import KINDS, input_type

from tests.support.uncovered import uncovered

tomllib = import_module("tomllib" if sys.version_info >= (3, 11) else "tomli")
PAGE = Path(__file__).resolve().parents[3] / "docs" / "agent" / "inputs.md"
EXAMPLES = [
    tomllib.loads(text)["slots"]["main"]["input"]
    for text in re.findall(r"```toml\n(.*?)```", PAGE.read_text(), re.DOTALL)
]


def test_every_kind_has_an_example_that_is_right() -> None:
    for example in EXAMPLES:
        msgspec.convert(example, input_type(example["kind"]))
    assert {example["kind"] for example in EXAMPLES} >= set(KINDS) - {"http"}


@pytest.mark.parametrize("kind", sorted(KINDS))
def test_a_kind_is_read_without_what_it_needs_when_it_runs(kind: str) -> None:
    """The supervisor reads the settings, and is to stay small."""
    code = f"""
import sys
from edgeglm_agent.inputs import input_type
input_type({kind!r})
print(*({{"numpy", "PIL", "av", "asyncio", "starlette", "uvicorn", "multiprocessing"}} & set(sys.modules)))
"""
    loaded = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, env=uncovered()
    ).stdout.split()
    assert loaded == []


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"kind": "directory"}, "path"),
        ({"kind": "directory", "path": "x", "after": "burn"}, "after"),
        ({"kind": "directory", "path": "x", "done": "../elsewhere"}, "done"),
        ({"kind": "directory", "path": "x", "pth": 1}, "pth"),
        ({"kind": "rtsp", "url": "http://camera"}, "url"),
        ({"kind": "replay", "path": "x", "rate": 0}, "rate"),
        ({"kind": "command", "command": []}, "command"),
    ],
)
def test_a_wrong_setting_is_named(settings: dict[str, Any], says: str) -> None:
    with pytest.raises(msgspec.ValidationError, match=says):
        msgspec.convert(settings, input_type(settings["kind"]))
