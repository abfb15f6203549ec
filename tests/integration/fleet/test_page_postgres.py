"""A fleet in PostgreSQL, as the page and the shipped Grafana dashboard see it."""

from __future__ import annotations

import itertools
import json
import re
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.support.fleet.page import running_page
from tests.support.fleet.postgres import Postgres
from tests.support.fleet.simulated import Simulated

DASHBOARD = Path("deploy/grafana/fleet.json")
DEVICES, LASTS_S = 20, 900
MEASURED = (
    "Failed samples",
    "Temperature of the hottest zones",
    "Drift: the worst stability index",
    "Workers' processors",
)


@pytest.fixture(scope="module")
def postgres() -> Iterator[Postgres]:
    server = Postgres()
    yield server
    server.remove()


@pytest.fixture(scope="module")
def url(postgres: Postgres) -> str:
    made = Simulated(
        postgres.new_database(), devices=DEVICES, window_s=60, lasts_s=LASTS_S, end_ms=time.time_ns() // 1_000_000
    )
    made.close()
    return made.url


def interpolated(sql: str, fleet: str = "all", device: str = "all", interval_s: int = 60) -> str:
    """Return what Grafana makes of a query: its variables are texts that are put in."""
    now = time.time_ns() // 1_000_000
    values = {
        "${fleet:sqlstring}": f"'{fleet}'",
        "${device:sqlstring}": f"'{device}'",
        "$__from": str(now - 6 * 3_600_000),
        "$__to": str(now),
        "$__interval_ms": str(interval_s * 1000),
    }
    for name, value in values.items():
        sql = sql.replace(name, value)
    assert not re.search(r"\$[_{a-z]", sql), sql
    return sql


def test_every_panel_of_the_dashboard_finds_what_the_store_has(postgres: Postgres, url: str) -> None:
    dashboard = json.loads(DASHBOARD.read_text(encoding="utf-8"))
    found: dict[str, list[tuple[Any, ...]]] = {}
    with postgres.connection(url) as db:
        db.execute("set default_transaction_read_only = on")
        for panel in dashboard["panels"]:
            found[panel["title"]] = db.execute(interpolated(panel["targets"][0]["rawSql"])).fetchall()
            one = db.execute(interpolated(panel["targets"][0]["rawSql"], "north", "gate-03")).fetchall()
            assert one or panel["title"] == "Newest warnings and errors", panel["title"]
        lists = [one for one in dashboard["templating"]["list"] if one["type"] == "query"]
        choices = [len(db.execute(interpolated(one["query"])).fetchall()) for one in lists]
    assert choices == [2, DEVICES + 1]
    assert found["Boards"] == [(DEVICES,)]
    assert 0 < found["Heard within 15 minutes"][0][0] <= DEVICES
    # 4 a second each, half of the time less a board that fell silent
    (answered,) = found["Inferences"][0]
    assert 0.9 * 4 * DEVICES * LASTS_S < answered <= 4 * DEVICES * LASTS_S
    rates = [row[1] for row in found["Inferences per second"]]
    assert max(rates) == pytest.approx(4 * DEVICES, rel=0.3)
    hottest = [row[1] for row in found["Temperature of the hottest zones"] if row[1] is not None]
    assert 80 < max(hottest) < 90
    assert len(found["Longest not heard"]) == DEVICES
    assert all(any(row[-1] is not None for row in rows) for rows in found.values())
    failed, events = found["Failed samples"], found["Events"]
    assert 0 < max(row[1] for row in failed if row[1] is not None) < 0.08, "one board of them all"
    assert min(min(row[1:]) for row in events) == 0, "where nothing was told, nothing was told"
    assert sum(sum(row[1:]) for row in events) > 0
    assert len({panel["id"] for panel in dashboard["panels"]}) == len(dashboard["panels"])


def test_windows_longer_than_a_point_of_the_curve_count_once_and_all_the_time(postgres: Postgres) -> None:
    devices, lasts_s, interval_s = 5, 4800, 30
    now_ms = time.time_ns() // 1_000_000
    made = Simulated(postgres.new_database(), devices=devices, window_s=300, lasts_s=lasts_s, end_ms=now_ms)
    made.close()
    panels = {panel["title"]: panel["targets"][0]["rawSql"] for panel in json.loads(DASHBOARD.read_text())["panels"]}
    with postgres.connection(made.url) as db:
        rates, speak, total = (
            db.execute(interpolated(panels[title], interval_s=interval_s)).fetchall()
            for title in ("Inferences per second", "Boards that speak", "Inferences")
        )
    for rows in (rates, speak):
        times = [row[0].timestamp() for row in rows]
        assert {round(after - before) for before, after in itertools.pairwise(times)} == {interval_s}, "no hole"
        assert len(times) >= (6 * 3600 - 2 * 300) // interval_s
    lived = range(  # of all of them: one falls silent then
        round(now_ms / 1000) - lasts_s + 300, round(now_ms / 1000) - lasts_s // 2 - 600
    )
    assert {row[1] for row in speak if round(row[0].timestamp()) in lived} == {devices}
    for at, rate in rates:
        if round(at.timestamp()) in lived:
            assert float(rate) == pytest.approx(4 * devices, rel=0.2)
        elif at.timestamp() < lived.start - 600:
            assert rate == 0
    answered = sum(float(rate) * interval_s for _, rate in rates)
    assert answered == pytest.approx(float(total[0][0]), rel=0.25), "but for the newest windows"


def test_where_no_board_spoke_no_curve_is_drawn(postgres: Postgres) -> None:
    lasts_s, interval_s = 4800, 30
    now_ms = time.time_ns() // 1_000_000
    made = Simulated(postgres.new_database(), devices=2, window_s=300, lasts_s=lasts_s, end_ms=now_ms)
    made.close()
    end_s = now_ms // 1000
    spoke, speaks_again_s = range(end_s - lasts_s + 330, end_s - 3000), end_s - 1500
    silent = range(end_s - 2400, speaks_again_s - interval_s)  # a point stands for the time that follows it
    with postgres.connection(made.url) as db:
        between = (spoke.stop * 1000, speaks_again_s * 1000)
        assert db.execute("delete from edgeglm.windows where at_ms between %s and %s", between).rowcount > 0
        for panel in json.loads(DASHBOARD.read_text())["panels"]:
            if panel["type"] != "timeseries" or panel["title"] not in (
                *MEASURED,
                "Inferences per second",
                "Boards that speak",
            ):
                continue
            assert panel["fieldConfig"]["defaults"]["custom"]["spanNulls"] is False
            rows = db.execute(interpolated(panel["targets"][0]["rawSql"], interval_s=interval_s)).fetchall()
            times = [row[0].timestamp() for row in rows]
            assert {round(after - before) for before, after in itertools.pairwise(times)} == {interval_s}, "no hole"
            nothing = None if panel["title"] in MEASURED else 0
            assert {row[1] for row in rows if round(row[0].timestamp()) in silent} == {nothing}, panel["title"]
            assert nothing not in {row[1] for row in rows if round(row[0].timestamp()) in spoke}, panel["title"]


def test_the_page_shows_a_fleet_in_postgresql_and_tells_when_it_is_gone(postgres: Postgres, url: str) -> None:
    with running_page(url) as page, httpx.Client(base_url=page.url, timeout=120) as client:
        assert f"edgeglm_fleet_boards {DEVICES}.0" in until(client, "edgeglm_fleet_store_up 1.0")
        life = client.get("life/north/gate-03?span=1h").json()
        assert life["total"]["windows"] >= LASTS_S // 60 - 1
        assert len(life["curves"]["at_s"]) > 10
        postgres.end()
        try:
            until(client, "edgeglm_fleet_store_up 0.0")
            assert client.get("life/north/gate-03?span=6h").status_code == 503
        finally:
            postgres.start()
        until(client, "edgeglm_fleet_store_up 1.0")
        code, said = page.end()
        assert code == 143
        assert "Traceback" not in said


def until(client: httpx.Client, line: str) -> str:
    give_up = time.monotonic() + 300
    while line not in (scrape := client.get("metrics").text):
        assert time.monotonic() < give_up, scrape
        time.sleep(0.2)
    return scrape
