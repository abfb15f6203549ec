"""Which machines are like a board: one rule, whatever a system calls its processors."""

from __future__ import annotations

import platform
from typing import TYPE_CHECKING

import msgspec
import pytest

from edgeglm.boards import BOARDS
from edgeglm.checks.check import check_recipe
from edgeglm.host import has_fast_int8
from edgeglm.report.findings import host_note, is_targets
from tests.support.edge_reports import bare_report
from tests.support.report_parts import HOST

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.parametrize(
    ("machine", "board", "like"),
    [
        ("aarch64", "rpi5", True),
        ("arm64", "rpi5", True),
        ("arm64", "jetson-jp6", True),
        ("x86_64", "rpi5", False),
        ("AMD64", "x86-64", True),
        ("arm64", "x86-64", False),
        ("riscv64", "rpi5", False),
    ],
)
def test_a_machine_is_like_a_board_whatever_its_system_calls_it(machine: str, board: str, like: bool) -> None:
    assert BOARDS[board].is_like(machine) is like
    report = msgspec.structs.replace(bare_report(), target=board, host=msgspec.structs.replace(HOST, machine=machine))
    assert is_targets(report) is like
    assert ("the one that will serve it" in host_note(report)) is like


def test_dot_products_of_arm_count_whatever_the_machine_is_called() -> None:
    assert has_fast_int8(["asimddp"], "arm64")
    assert has_fast_int8(["asimddp"], "aarch64")
    assert not has_fast_int8(["asimddp"], "x86_64")


@pytest.mark.parametrize(("machine", "warned"), [("arm64", False), ("aarch64", False), ("x86_64", True)])
def test_a_latency_budget_is_doubted_on_a_machine_unlike_the_target_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, machine: str, warned: bool
) -> None:
    (tmp_path / "model.py").write_text("def build(): ...\n")
    (tmp_path / "data.py").write_text("def load(split): ...\n")
    (tmp_path / "recipe.yaml").write_text(
        'version: 1\nname: tiny\nmodel: {source: python, entry: "model.py:build"}\n'
        'data: {source: python, entry: "data.py:load"}\ntask: {kind: classification}\ntarget: rpi5\n'
        "artifacts:\n  - {format: onnx}\nbudget: {host_latency_p95_ms: 5}\n"
    )
    monkeypatch.setattr(platform, "machine", lambda: machine)
    said = [warning.message for warning in check_recipe(tmp_path / "recipe.yaml").warnings]
    assert any("judged on this host" in message for message in said) is warned
