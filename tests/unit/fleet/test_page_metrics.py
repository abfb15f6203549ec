"""What Prometheus reads: sums, of a bounded number of series, and right by Prometheus' own parser."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

import pytest
from prometheus_client.parser import text_string_to_metric_families

from edgeglm.fleet.alerts.judging import Alarms
from edgeglm.fleet.alerts.reading import load_rules
from edgeglm.fleet.health import KINDS
from edgeglm.fleet.page.glance import Glance, Trouble
from edgeglm.fleet.page.metrics import exposition
from tests.support.fleet.boards import HOSTILE, NOW_MS, sketch, slot, state, summary, window

if TYPE_CHECKING:
    from edgeglm.fleet.page.watch import Watch
    from edgeglm.fleet.store.types import DeviceSummary


class Looked:
    """What is known after one look."""

    def __init__(self, *boards: DeviceSummary, trouble: Trouble | None = None) -> None:
        self.glance = Glance().after(boards, 7, NOW_MS)
        self.alarms = Alarms(load_rules(None))
        self.alarms.judge(boards, self.glance.problems, {}, self.glance.nothing, NOW_MS)
        self.summaries, self.look_s = boards, 0.01
        if trouble:
            self.glance = self.glance.failed(trouble)


def scraped(looked: Looked) -> dict[str, list[tuple[dict[str, str], float]]]:
    found: dict[str, list[tuple[dict[str, str], float]]] = {}
    for family in text_string_to_metric_families(exposition(cast("Watch", looked)).decode()):
        for sample in family.samples:
            found.setdefault(sample.name.removeprefix("edgeglm_fleet_"), []).append((sample.labels, sample.value))
    return found


def test_a_scrape_has_the_fleet_in_sums() -> None:
    slow = summary("gate-2", window(latency_ms=sketch(*[900.0] * 50), errors={"run": 500}), rows=5, lost_rows=3)
    found = scraped(Looked(summary(rows=7), slow))
    assert found["boards"] == [({}, 2)]
    assert found["boards_ill"] == [({}, 1)]
    assert ({"problem": "erroring"}, 1) in found["boards_with_problem"]
    assert len(found["boards_with_problem"]) == len(KINDS), "also those that no board has"
    assert ({"problem": "erroring", "severity": "error"}, 1) in found["alarms"]
    assert (found["rows"], found["rows_lost"], found["unreadable_total"]) == (
        [({}, 12)],
        [({}, 3)],
        [({}, 7)],
    )
    by_quantile = {labels["quantile"]: value for labels, value in found["latency_seconds"]}
    assert by_quantile["0.95"] == pytest.approx(0.9, rel=0.01)
    assert found["store_up"] == [({}, 1)]
    assert scraped(Looked(trouble=Trouble("gone")))["store_up"] == [({}, 0)]


def test_what_falls_when_a_board_is_forgotten_is_no_counter() -> None:
    """Prometheus takes a counter that falls for one that began anew, and adds the whole of it to every rate."""
    both = summary(rows=7, lost_rows=2, duplicates=1), summary("gate-2", rows=5, lost_rows=3, duplicates=4)
    before, after = [
        {
            sample.name: (family.type, sample.value)
            for family in text_string_to_metric_families(exposition(cast("Watch", Looked(*boards))).decode())
            for sample in family.samples
            if not sample.labels
        }
        for boards in (both, both[:1])
    ]
    fallen = {name for name, (_, value) in after.items() if value < before[name][1]}
    assert {f"edgeglm_fleet_{name}" for name in ("boards", "rows", "rows_lost", "rows_again")} <= fallen
    assert {before[name][0] for name in fallen} == {"gauge"}
    assert before["edgeglm_fleet_unreadable_total"][0] == "counter"


def test_however_many_boards_and_names_the_series_are_bounded_and_whole() -> None:
    boards = [
        summary(f"b-{number}", said=state(slots={"main": slot(f'{HOSTILE}"}}{number}', f"{number:064x}")}))
        for number in range(1000)
    ]
    found = scraped(Looked(*boards))
    assert sum(len(samples) for samples in found.values()) < 1100
    assert sum(value for _, value in found["group_boards"]) == 1000
