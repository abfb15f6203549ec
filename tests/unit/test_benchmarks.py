"""What the benchmarks record of the tree that they measure."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from types import ModuleType

BENCHMARKS = Path(__file__).resolve().parents[2] / "benchmarks"


@pytest.fixture
def common(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    spec = importlib.util.spec_from_file_location("benchmarks_common", BENCHMARKS / "common.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """Return a repository of code, a page and a result, all committed."""
    for name in ("benchmarks/results/one.json", "benchmarks/one.py", "recipes/a/README.md", "edgeglm/code.py"):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("first")
    for arguments in (["init", "-q"], ["add", "."], ["commit", "-q", "-m", "first"]):
        who = ["-c", "user.name=a", "-c", "user.email=a@b", "-c", "commit.gpgsign=false"]
        subprocess.run(["git", *who, *arguments], cwd=tmp_path, check=True)
    return tmp_path


@pytest.mark.parametrize(
    ("changed", "dirty"),
    [
        ("benchmarks/results/one.json", False),
        ("recipes/a/README.md", False),
        ("benchmarks/one.py", True),
        ("edgeglm/code.py", True),
    ],
)
def test_a_tree_counts_as_changed_by_code_and_not_by_what_benchmarks_write(
    common: Any, tree: Path, changed: str, dirty: bool
) -> None:
    clean = common.commit(tree / "benchmarks")
    assert clean
    assert not clean.endswith("+")
    (tree / changed).write_text("second")
    assert common.commit(tree / "benchmarks") == clean + "+" * dirty


def test_a_result_names_the_commit_that_was_there_at_the_start(
    common: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(common, "RESULTS", tmp_path)
    monkeypatch.setattr(common, "HERE", tmp_path / "benchmarks")
    monkeypatch.setattr(common, "commit", lambda _: pytest.fail("it was asked again"))
    assert f'"commit": "{common.COMMIT}"' in common.write_result("one").read_text()


@pytest.mark.parametrize(("windows", "events"), [(288, 4), (24, 4), (4, 4), (3, 3), (1, 1)])
def test_a_day_on_the_network_holds_four_events_however_short_it_is(
    monkeypatch: pytest.MonkeyPatch, windows: int, events: int
) -> None:
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    import agent_wire

    due = [number for number in range(windows) if agent_wire.has_event(number, windows)]
    assert len(due) == events
    if windows == 288:
        assert due == [5, 77, 149, 221]


def test_the_docs_have_the_figures_of_the_results() -> None:
    checked = subprocess.run(
        [sys.executable, BENCHMARKS / "table.py", "--check"], capture_output=True, text=True, check=False
    )
    assert checked.returncode == 0, checked.stderr


def test_a_million_boards_are_reckoned_with_postgresql(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    import table_scaling

    medians = {"closed": {"committed_per_second": 10_000.0}, "open": {"cpu_us_per_message": 60.0}}
    rounds = {"closed": [{"bytes_per_row": 500.0}]}
    results = {
        "fleet_collector_postgresql": {"medians": medians, "rounds": rounds},
        "fleet_connected": {"broker_kb_per_device": 5.0},
    }
    made = table_scaling.million(results)
    assert "| collectors | 1 | 4 |" in made
    assert "| an hour without collectors is worked off in | 30 minutes | 43 minutes |" in made
    assert "| rows a day | 288 million, 144 GB | 1,440 million, 720 GB |" in made


def test_a_peer_is_beside_a_run_of_ours_for_one_file(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    import table_peers

    pair = {
        "peer": "theirs", "ours": "edgeglm onnx dynamic-int8", "smaller": 1.0, "faster": [1.0],
        "lost": {"value": 0.0, "ci95": [-0.1, 0.1], "n": 9}, "minutes": [0.7, 0.3], "minutes_alone": 0.2,
    }  # fmt: skip
    results = {"minilm": {"beside": [pair, pair | {"minutes_alone": 0.4}]}}
    ((_, _, said, _),) = table_peers.asked_peers(results)
    assert said.endswith("in minutes for one file, 1 best")
    assert "| 0.30 | 0.20 | 0.70 | level |" in table_peers.peers(results)


def test_the_supervisor_is_judged_by_the_memory_that_it_has_with_a_broker(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    import table_overhead

    results = {
        "agent_overhead": {"networks": {"a": {"supervisor_rss_kb": [25_000, 25_200]}}},
        "agent_memory": {"processes": {"supervisor": {"end": {"rss_kb": 32_000}}}},
    }
    ((_, _, said, stands),) = table_overhead.asked_supervisor(results)
    assert said == "32.8 MB (25.8 without a broker)"
    assert stands == "met; the aim is not"


@pytest.mark.parametrize(("rss_kb", "told"), [(188.0, True), (5900.0, False)])
def test_pss_that_grew_is_laid_to_others_only_where_no_pages_were_added(
    monkeypatch: pytest.MonkeyPatch, rss_kb: float, told: bool
) -> None:
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    import table_agent

    kinds = {"rss_kb": rss_kb, "pss_kb": 5900.0, "own_kb": 188.0}
    grown = {kind: {"kb": kb, "off_by_kb": 9.0} for kind, kb in kinds.items()}
    result = {
        "seconds": 60, "inferences": 9, "windows": 9, "counted_from": {"inferences": 1, "windows": 1},
        "processes": {"main": {"end": {"rss_kb": 3, "pss_kb": 2, "own_kb": 1}, **grown}},
    }  # fmt: skip
    result["processes"]["asked"] = result["processes"]["main"] | {"inferences": 1}
    result |= {"host": {"machine": "m", "cpu": "c", "features": []}, "date": "d", "commit": "c"}
    assert ("no pages of files were added" in table_agent.agent_memory(result)) == told
