"""Two collectors of one name at one broker, which ends the connection of each for the other's."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from edgeglm.fleet.addresses import parse_broker
from edgeglm.fleet.collector import link
from edgeglm.fleet.collector.link import Link
from edgeglm.fleet.collector.rivalry import Ends
from tests.support.agent.broker import Broker

PATIENCE_S = 120.0  # guards against a hang; it is no speed limit


class Heard:
    """A log of which warnings are kept, and who takes messages and keeps none."""

    def __init__(self) -> None:
        self.warnings: list[str] = []

    def warn(self, text: str) -> None:
        self.warnings.append(text)

    def stage(self, text: str) -> None: ...

    def note(self, text: str) -> None: ...

    def progress(self, done: int, total: int, **values: float) -> None: ...

    def message(self, topic: str | bytes, payload: bytes, *, retained: bool) -> bool:
        return not (topic or payload or retained)


def test_both_are_asked_whether_there_is_another_also_by_a_broker_that_gives_no_reason(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("_FIRST_WAIT_S", "_LONGEST_WAIT_S"):
        monkeypatch.setattr(link, name, 1.0)

    async def meet(url: str) -> list[Heard]:
        both = [Heard(), Heard()]
        links = [
            asyncio.ensure_future(Link(parse_broker(url), "collector", ["edgeglm/v1/+/+/+/state"], one, one).run())
            for one in both
        ]
        async with asyncio.timeout(PATIENCE_S):
            while not all(any("another" in line for line in one.warnings) for one in both):
                await asyncio.sleep(0.1)
        for one in links:
            one.cancel()
        await asyncio.gather(*links, return_exceptions=True)
        return both

    with Broker(tmp_path / "broker") as broker:
        for one in asyncio.run(meet(f"mqtt://127.0.0.1:{broker.port}")):
            assert not any("another" in line for line in one.warnings[:2]), "one connection may end for any reason"


def test_connections_that_end_seldom_are_no_sign_of_another() -> None:
    ends = Ends()
    assert [bool(ends.suspicion(at_s)) for at_s in (0, 10, 700, 1000, 1290, 1400, 5000)] == [
        False, False, False, False, True, True, False,
    ]  # fmt: skip
