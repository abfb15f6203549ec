"""What pages show of the fleet: percentiles of all samples together, bounded whatever boards call themselves."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import msgspec
import pytest
from edgeglm_agent.wire.sketch import Sketch
from edgeglm_agent.wire.telemetry import BoardReading, Drift

from edgeglm.fleet.health import KINDS
from edgeglm.fleet.page import life as life_module
from edgeglm.fleet.page import stretches as stretches_module
from edgeglm.fleet.page.glance import Glance, Trouble
from edgeglm.fleet.page.groups import MOST_GROUPS, OTHERS, distribution
from edgeglm.fleet.page.life import Life, life
from edgeglm.fleet.page.words import fact, listed
from edgeglm.fleet.store.alarms import Alarm
from edgeglm.fleet.store.types import Device, DeviceSummary, StoredWindow
from tests.support.fleet.boards import (
    HOSTILE,
    MINUTE_MS,
    NOW_MS,
    sketch,
    slot,
    state,
    stored_event,
    stored_window,
    summary,
    window,
)
from tests.support.fleet.memory import ListReader

GATE = Device("north", "gate-1")


def seen(*boards: DeviceSummary, before: Glance | None = None) -> Glance:
    return (before or Glance()).after(boards, 0, NOW_MS)


def test_percentiles_of_a_group_are_those_of_all_samples_and_no_average() -> None:
    quick = summary("gate-1", window(latency_ms=sketch(*[10.0] * 990)))
    slow = summary("gate-2", window(latency_ms=sketch(*[1000.0] * 10)))
    glance = seen(quick, slow)
    (group,) = glance.groups
    assert group.p95_ms == pytest.approx(10, rel=0.01), "the average of two p95 would be 505"
    assert group.p99_ms == pytest.approx(10, rel=0.01)
    assert (group.boards, group.model, glance.head.p95_ms) == (2, "kws 1.2", group.p95_ms)


def test_a_board_whose_histogram_counts_more_than_it_answered_decides_nothing() -> None:
    honest = summary("gate-1", window(latency_ms=sketch(*[10.0] * 990), inferences=990))
    liar = summary("gate-2", window(latency_ms=Sketch({500: 2**60}).pack(), inferences=10))
    glance = seen(honest, liar)
    assert glance.head.p95_ms == pytest.approx(10, rel=0.01)
    assert glance.groups[0].p95_ms == pytest.approx(10, rel=0.01)


def test_windows_of_boards_that_are_silent_are_not_counted() -> None:
    gone = summary("gate-2", window(latency_ms=sketch(*[900.0] * 5000)), received_ms=NOW_MS - 90 * MINUTE_MS)
    (group,) = seen(summary(), gone).groups
    assert (group.boards, group.speaking, group.ill) == (2, 1, 1)
    assert group.per_second == 10
    assert group.p99_ms == pytest.approx(20, rel=0.01)


def test_only_what_has_changed_is_told_and_who_is_gone() -> None:
    first = seen(summary("gate-1"), summary("gate-2"), summary("gate-3"))
    assert [len(first.lines_since(0)[0]), first.lines_since(0)[1]] == [3, []]
    hot = summary("gate-2", window(board=BoardReading(temperature_decic=900)))
    second = seen(summary("gate-1"), hot, before=first)
    changed, gone = second.lines_since(first.version)
    assert [json.loads(line)["device"] for line in changed] == ["gate-2"]
    assert gone == ["north/gate-3"]
    assert second.lines_since(second.version) == ([], [])
    assert len(first.lines_since(0)[0]) == 3, "what one look found does not change"
    back = seen(summary("gate-1"), hot, summary("gate-3"), before=second)
    assert [json.loads(line)["device"] for line in back.lines_since(second.version)[0]] == ["gate-3"]
    assert back.lines_since(second.version)[1] == []


def test_a_store_that_cannot_be_read_leaves_what_was_known_and_says_so() -> None:
    failed = seen(summary()).failed(Trouble("gone", "put it back"))
    assert (failed.head.boards, len(failed.lines), failed.head.trouble) == (1, 1, Trouble("gone", "put it back"))
    assert seen(summary(), before=failed).head.trouble is None


def test_boards_may_call_themselves_anything_and_the_groups_stay_few() -> None:
    boards = [
        summary(f"b-{number}", said=state(slots={"main": slot(f"model {number}", f"{number:064x}")}))
        for number in range(3 * MOST_GROUPS)
    ]
    groups = seen(*boards).groups
    assert len(groups) == MOST_GROUPS
    assert [group.boards for group in groups if group.model == OTHERS] == [2 * MOST_GROUPS + 1]
    assert sum(group.boards for group in groups) == 3 * MOST_GROUPS


def texts(value: Any) -> list[str]:
    if isinstance(value, dict):
        return [text for key, one in value.items() for text in (key, *texts(one))]
    if isinstance(value, list):
        return [text for one in value for text in texts(one)]
    return [value] if isinstance(value, str) else []


def test_what_boards_write_is_plain_and_short_in_all_that_is_sent() -> None:
    said = state(
        slots={HOSTILE: slot(HOSTILE * 50, HOSTILE, why=HOSTILE, runtime=HOSTILE)}, board={"model": HOSTILE * 9}
    )
    board = summary("gate-1", window(HOSTILE, errors={HOSTILE: 2**62}, latency_ms=b"\xff\xff"), said=said)
    glance = seen(board)
    for sent in (*glance.lines.values(), msgspec.json.encode(glance.groups), msgspec.json.encode(glance.head)):
        assert len(sent) < 4000
        assert all(text.isprintable() for text in texts(json.loads(sent)))


def test_a_distribution_is_of_few_points_and_of_all_samples() -> None:
    made = Sketch()
    for at in range(1, 20_000):
        made.add(at / 10)
    points = distribution(made)
    assert len(points) <= 61
    assert [ms for ms, _ in points] == sorted(ms for ms, _ in points)
    assert distribution(Sketch()) == []
    one = Sketch()
    one.add(5.0)
    assert [share for _, share in distribution(one)] == [1.0]


def lived(windows: list[StoredWindow], span: str = "1h", **values: Any) -> Life:
    board = summary(**values)
    reader = ListReader([board], windows, [stored_event(GATE, 900, at_ms=NOW_MS - MINUTE_MS, detail={"a": HOSTILE})])
    return life(reader, board, span, None, NOW_MS, {})


def test_the_life_of_a_board_has_a_point_a_stretch_and_a_break_where_windows_are_missing() -> None:
    starts = [*range(60, 40, -5), *range(20, 0, -5)]  # minutes ago, and none between 40 and 20
    made = [stored_window(GATE, at, window(at_ms=NOW_MS - at * MINUTE_MS)) for at in starts]
    found = lived(made)
    assert found.total.windows == 8
    assert found.total.p95_ms == pytest.approx(20, rel=0.01)
    assert found.curves.p95_ms.count(None) == 1
    assert found.curves.p95_ms.index(None) == 4
    assert {len(column) for column in (found.curves.at_s, found.curves.per_second, found.curves.temperature_c)} == {9}
    assert found.curves.per_second[0] == 10
    assert [one.name for one in found.events] == ["drift-raised"]
    assert found.events[0].detail.isprintable()


def test_windows_of_one_stretch_are_added_up_by_their_histograms() -> None:
    quick = [
        stored_window(GATE, at, window(at_ms=NOW_MS - 4000 + at, latency_ms=sketch(*[10.0] * 99))) for at in range(1, 4)
    ]
    slow = stored_window(GATE, 9, window(at_ms=NOW_MS - 3990, latency_ms=sketch(800.0), errors={"run": 3}))
    found = lived([*quick, slow], "30d")
    assert len(found.curves.at_s) == 1
    assert found.curves.p99_ms[0] == pytest.approx(10, rel=0.01)
    assert found.curves.error_percent[0] == pytest.approx(100 * 3 / 12_003)
    assert found.total.errors_by_kind == "run 3"


def test_drift_is_drawn_of_the_worst_features_and_what_cannot_be_read_is_counted() -> None:
    drift = tuple(Drift(f"f{number}", number * 10, 0, 9) for number in range(9))
    found = lived([stored_window(GATE, 1, window(drift=drift, latency_ms=b"\xff", total_ms=b"\xff"))])
    assert [*found.curves.psi] == ["f8", "f7", "f6", "f5"]
    assert (found.total.unreadable, found.curves.p95_ms) == (1, [None])


def test_what_a_board_says_of_itself_is_in_words_and_units() -> None:
    board = {"model": "Raspberry Pi 5", "kind": "raspberry-pi", "memory_mb": 8000, "cores": 4, "simulated": True}
    odd = {
        "disk_mb": -1,
        "x_mb": "8000",
        "y_kb": float("nan"),
        "z_mb": 10**400,
        "_mb": 3,
        "serial_no": None,
        "t_c": 61.5,
    }
    assert lived([], said=state(board=board)).facts[2:8] == [
        ("window", "5 min"),
        ("clock", "not synchronised"),
        ("model", "Raspberry Pi 5"),
        ("kind", "Raspberry Pi"),
        ("memory", "8 GB"),
        ("processor cores", "4"),
    ]
    shown = dict(fact(key, value) for key, value in odd.items())
    assert (shown["t"], shown["serial no"], shown["x mb"], shown[" mb"]) == ("61.5 \u00b0C", "null", "8000", "3")
    assert (shown["disk mb"], shown["y kb"], len(shown["z mb"])) == ("-1", "NaN", 120)
    detail = {"feature": "input.x", "psi": 0.412, "free_mb": 120, "why": "so, psi 9"}
    assert listed(detail, 200) == 'feature input.x, stability index 0.412, free 120 MB, why "so, psi 9"'


def test_the_limit_of_drift_is_the_one_that_the_board_told() -> None:
    few = Alarm("input.x", 0.9, 0.41, NOW_MS - 9 * MINUTE_MS)
    drifting = window(drift=(Drift("input.x", 900, 0, 30), Drift("input.y", 300, 0, 900), Drift("z", 9, 0, 900)))
    raised = stored_event(GATE, 7, at_ms=NOW_MS - MINUTE_MS, detail={"feature": "input.y", "psi": 0.3, "limit": 0.25})
    board = summary("gate-1", drifting, alarms=(few,))
    reader = ListReader([board], [stored_window(GATE, 1, drifting)], [raised])
    assert life(reader, board, "1h", None, NOW_MS, {}).curves.psi_limits == {"input.x": 0.41, "input.y": 0.25}


def test_windows_of_one_moment_are_read_once_where_a_page_ends_among_them(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stretches_module, "_PAGE", 4)
    made = [stored_window(GATE, at, window(at_ms=NOW_MS - at // 3 * 1000, inferences=at)) for at in range(1, 30)]
    assert lived(made).total.inferences == sum(range(1, 30))


def test_however_much_a_board_says_a_bounded_part_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stretches_module, "_MOST_WINDOWS", 50)
    made = [stored_window(GATE, at, window(at_ms=NOW_MS - at * 1000, duration_ms=1000)) for at in range(1, 3000)]
    for window_s, page in ((1, 7), (300, 50), (86_400, 1000)):  # whatever its settings say now
        monkeypatch.setattr(stretches_module, "_PAGE", page)
        found = lived(made, said=state(window_s=window_s))
        assert found.total.windows == 50
        assert found.curves.at_s[-1] == pytest.approx(NOW_MS / 1000, abs=15), "the newest"
        assert found.since_ms == NOW_MS - 50_000 > found.asked_since_ms


def test_the_page_ranks_problems_as_the_lists_do() -> None:
    static = Path(life_module.__file__).with_name("static")
    for name, constant in (("fleet.js", r"KINDS = (\[.*?\])"), ("dom.js", r"WORST = new Set\((\[.*?\])\)")):
        found = re.search(constant, (static / name).read_text(encoding="utf-8"))
        assert found is not None
        kinds = json.loads(found[1])
        assert kinds == list(KINDS)[: len(kinds)]
        assert name == "dom.js" or len(kinds) == len(KINDS)
