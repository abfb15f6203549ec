"""What a board says of itself is retained by the broker, and announced anew once for many changes."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from edgeglm_agent.settings.types import Settings
from edgeglm_agent.supervisor.run import Supervisor

if TYPE_CHECKING:
    from pathlib import Path


class Counting:
    """The uplink, as far as announcements need it."""

    def __init__(self) -> None:
        self.announced = 0

    def announce(self) -> None:
        self.announced += 1

    def poll(self, _: float) -> list[object]:
        return []

    def messages(self) -> list[object]:
        return []

    def stop(self) -> None:
        pass


def test_changes_within_a_moment_are_one_announcement(tmp_path: Path) -> None:
    supervisor = Supervisor(Settings(device="d", state_dir=f"{tmp_path}/state", runtime_dir=f"{tmp_path}/run"))
    uplink = Counting()
    supervisor.uplink = uplink  # type: ignore[assignment]  # what the supervisor asks of it
    for _ in range(8):  # four slots that start, and then serve
        supervisor.changed()
    now = time.monotonic()
    supervisor._move(now)
    assert uplink.announced == 0
    supervisor._move(now + 60)
    supervisor._move(now + 120)
    assert uplink.announced == 1
    supervisor.changed()
    supervisor._move(now + 180)
    assert uplink.announced == 2
    supervisor._close()
