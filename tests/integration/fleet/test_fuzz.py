"""What nobody should send reaches the collector on every topic: it goes on, and so does everything that reads."""

from __future__ import annotations

import json
import random
import time
import urllib.request
from pathlib import Path

import pytest
from edgeglm_agent.wire.telemetry import Window, row_of
from edgeglm_agent.wire.topics import Topics

from edgeglm.fleet.page.life import SPANS
from edgeglm.fleet.store.sqlite_reader import SqliteReader
from edgeglm.fleet.store.types import Device, Span
from tests.support.agent.broker import Broker
from tests.support.fleet.broker import broker_verb
from tests.support.fleet.collector import Sender, running_collector
from tests.support.fleet.odd import odd_message
from tests.support.fleet.page import running_page

EVER = Span(-(2**61), 2**61)
SOUND = Device("works", "press-2")
EPOCH = b"epoch--2"
_PORTION = 1_000


@pytest.mark.parametrize("count", [4_000, pytest.param(100_000, marks=pytest.mark.full)])
def test_whatever_comes_is_kept_or_put_aside_and_can_be_looked_at(tmp_path: Path, count: int) -> None:
    chance = random.Random(7)
    now = int(time.time() * 1000)
    boards = [Topics("works", f"press-{number}") for number in (1, 3, 4, 5)]
    with (
        Broker(tmp_path / "broker") as broker,
        running_collector(tmp_path / "fleet.db", f"mqtt://127.0.0.1:{broker.port}") as collector,
        Sender(broker.port) as sender,
    ):
        for number in range(1, count + 1):
            sender.client.publish(*odd_message(chance, chance.choice(boards)), qos=number % 2)
            if number % _PORTION == 0:  # a sound board is heard all the while
                row = row_of(number // _PORTION, Window("main", 1, "0" * 16, now, number, 1000, True, number))
                sender.give(SOUND.name, EPOCH, [row])
                sender.until_acknowledged()
        sender.say(boards[0].telemetry, b"x" * (5 << 20))  # longer than any is read
        assert collector.end() == 143
        log = collector.log()
        assert "Traceback" not in log
        assert "bug" not in log

    reader = SqliteReader(collector.store)
    try:
        assert reader.poison_count() > count / 4
        kept = reader.poison(10_000)
        assert len(kept) == 1000
        assert all(one.reason and len(one.payload) <= 4096 for one in kept)
        known = reader.devices()
        assert sum(board.rows for board in known) > count / 4, "some of it can be read"
        for board in known:
            assert reader.device(board.device) == board
            for found in (
                reader.windows(EVER, board.device),
                reader.results(board.device, EVER),
                reader.events(EVER, board.device),
                reader.gaps(EVER, board.device),
                reader.replies(board.device, EVER),
            ):
                for _ in found:
                    pass
        assert [one.sequence for one in reader.windows(EVER, SOUND)] == [*range(1, count // _PORTION + 1)]
    finally:
        reader.close()

    store = ("--store", f"sqlite:///{collector.store}")
    names = [f"{board.device.fleet}/{board.device.name}" for board in known]
    for words in (
        ("ls",),
        ("ls", "--problems"),
        ("ls", "--json"),
        ("logs", "--since", "2900w"),
        *(("show", name, "--since", "2900w") for name in names),
        *(("show", name, "--since", "2900w", "--json") for name in names),
        *(
            ("export", "--what", what, "--since", "2900w", "-o", f"{what}.csv")
            for what in ("windows", "events", "gaps")
        ),
        ("export", "--since", "2900w", "-o", "windows.parquet"),
        ("poison",),
        ("poison", "--json"),
        ("top",),
        *(("twin", name, "--at", "1s") for name in names),
        *(("twin", name, "--at", "1s", "--json") for name in names),
    ):
        done = broker_verb(*words, *store, cwd=tmp_path)
        assert done.returncode == 0, (words, done.stderr[-2000:])
        assert "Traceback" not in done.stderr
        assert "\x1b" not in done.stdout, words
        if "--json" in words:
            json.loads(done.stdout)

    with running_page(store[1]) as page:
        for path in ("/metrics", *(f"/life/{name}?span={span}" for name in names for span in SPANS)):
            with urllib.request.urlopen(page.url.rstrip("/") + path, timeout=120) as answer:
                assert answer.status == 200
                if path != "/metrics":
                    json.load(answer)
        with urllib.request.urlopen(page.url.rstrip("/") + "/live", timeout=120) as live:
            event = b""
            while not event.startswith(b"data:"):
                event = live.readline()
            assert len(json.loads(event[5:])["boards"]) == len(names)
        code, said = page.end()
        assert (code, "Traceback" in said) == (143, False), said
