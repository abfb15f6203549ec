"""docs/agent.md, followed to the letter in an empty folder."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

PAGE = (Path(__file__).parents[3] / "docs" / "agent.md").read_text(encoding="utf-8")


def typed() -> str:
    """What the page types, but for what installs: commands begin with `$ `, and may go on over lines."""
    commands = []
    for block in re.findall(r"^```console\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL):
        commands += [command.rstrip("\n") for command in re.split(r"^\$ ", block, flags=re.MULTILINE) if command]
    return "\n".join(command for command in commands if not command.startswith("pip "))


@pytest.mark.full
def test_the_page_ends_with_an_agent_that_answers(tmp_path: Path) -> None:
    settings = re.findall(r"^```toml\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)[0]
    (tmp_path / "agent.toml").write_text(settings, encoding="utf-8")
    programs = Path(sys.executable).parent
    assert (programs / "edgeglm-agent").exists(), "install the agent into this environment: make env"
    environment = {**os.environ, "PATH": f"{programs}:{os.environ['PATH']}"}
    script = f"set -em\n{typed()}\n"  # -m: `kill %1`, as in a terminal
    done = subprocess.run(
        ["bash", "-c", script], cwd=tmp_path, env=environment, capture_output=True, text=True, check=False, timeout=800
    )
    log = (tmp_path / "agent.log").read_text(encoding="utf-8") if (tmp_path / "agent.log").exists() else ""
    assert done.returncode == 0, f"{done.stderr}\n{log}"
    answers = [
        json.loads(line)
        for line in (tmp_path / "state/slots/main/results.jsonl").read_text(encoding="utf-8").splitlines()
    ]
    labels = (tmp_path / "first" / "labels.txt").read_text(encoding="utf-8").split()
    right = [answer["answer"][0]["label"] == labels[int(answer["name"][-5])] for answer in answers]
    assert len(right) == 8
    assert sum(right) >= 7  # the network itself is right in 99 of 100
    for said in ("ok    main", "main: serving first", "agent  desk of fleet default", "no image"):
        assert said in done.stdout, said
    assert {json.loads(line)["message"] for line in log.splitlines()} >= {"agent-started", "model-loaded", "shutdown"}
