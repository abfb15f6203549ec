"""Two boards that were given one name: one says so and gives way, the other goes on."""

from __future__ import annotations

import sqlite3
from typing import TYPE_CHECKING

import pytest
from edgeglm_agent.wire.telemetry import KINDS, Event, Gap, Result

from tests.e2e.agent.test_reporting import arrived, settings, wait
from tests.e2e.agent.test_serving import drop, model
from tests.support.agent.broker import Broker
from tests.support.agent.collector import Collector
from tests.support.agent.running import running_agent
from tests.support.tiny_models import tiny_images

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["model"]  # the fixture


def results_by_epoch(store: Path) -> list[int]:
    """Return how many answers of each outbox have arrived, fewest first."""
    if not store.exists():
        return []
    query = "select count(*) from rows where kind = ? group by epoch order by 1"
    with sqlite3.connect(store) as db:
        return [count for (count,) in db.execute(query, (KINDS.index(Result),))]


@pytest.mark.full
def test_who_gives_way_says_so_and_nothing_of_either_is_lost(tmp_path: Path, model: Path) -> None:
    store, folders = tmp_path / "rows.db", [tmp_path / "one", tmp_path / "other"]
    for folder in folders:
        folder.mkdir()
    with (
        Broker(tmp_path / "broker") as broker,
        Collector(broker.port, store, lazy=0.0),
        running_agent(folders[0], settings(broker, model, folders[0])) as one,
        running_agent(folders[1], settings(broker, model, folders[1])) as other,
    ):
        agents = {one: 5, other: 7}
        for agent, count in agents.items():
            agent.until_slot(lambda slot: slot.state.status == "serving", "it serves")
            for number, image in enumerate(tiny_images(count)):
                drop(agent.folder / "inbox", f"{number}.npy", image)
        away = "another agent connects as `bench-1`: give each board a name of its own"
        wait(lambda: away in [one.status().link.why, other.status().link.why], "one stays away")
        told = one if one.status().link.why == away else other
        line = told.event("device-id-taken")
        assert (line["level"], line["device"]) == ("error", "bench-1")
        assert line["takeovers"] >= 3
        assert told.status().link.state == "waiting"
        stays = other if told is one else one
        stays.until(lambda status: status.link.state == "connected", "the other goes on")
        wait(lambda: agents[stays] in results_by_epoch(store), "what it answers arrives, with two of that name")
        assert told.status().link.state == "waiting"
        for agent, count in agents.items():
            agent.until_slot(lambda slot, count=count: slot.answered == count, "it goes on with its work")
            assert agent.status().queue.lost == 0
            assert agent.stop() == 0
        for agent in (stays, told):  # one after the other: each has the name to itself
            agent.restart()
            agent.until(lambda status: status.link.state == "connected" and status.queue.rows <= 1, "it is heard")
            wait(lambda agent=agent: agents[agent] in results_by_epoch(store), "what it has answered, once")
            if agent is told:
                wait(lambda: "device-id-taken" in [event.name for event in arrived(store, Event)], "the event")
            assert agent.stop() == 0
        assert results_by_epoch(store) == [5, 7]
        assert not arrived(store, Gap)
