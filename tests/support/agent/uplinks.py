"""An outbox and an uplink in a test's hand, quick, and what to wait for."""

from __future__ import annotations

import contextlib
import os
import select
import time
from typing import TYPE_CHECKING, Any

from edgeglm_agent.outbox import Outbox
from edgeglm_agent.settings.types import Mqtt, Settings, Telemetry, Tls
from edgeglm_agent.uplink import Order, Timing, Uplink
from edgeglm_agent.wire.commands import STATE_SCHEMA, State
from edgeglm_agent.wire.telemetry import Event, Result, Window

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

QUICK = Timing(
    first_retry_s=0.05,
    longest_retry_s=0.5,
    taken_s=5.0,
    grace_s=0.4,
    first_probe_s=0.2,
    longest_probe_s=1.0,
    first_pause_s=0.2,
    longest_pause_s=1.0,
    soon_s=0.0,
    look_s=0.1,
    linger_s=0.0,
)


def window(inferences: int = 1, *, slot: str = "main") -> Window:
    return Window(slot, 1, "00" * 8, 1_000, 5_000, 300_000, True, inferences)


def event(name: str = "throttled") -> Event:
    return Event(name, "main", "00" * 8, 0, 0, True, "info")


def result(size: int = 100) -> Result:
    return Result("main", 1, "00" * 8, 0, b"x" * size)


class Board:
    """One device: its outbox, its uplink, and a loop as the supervisor's."""

    def __init__(
        self,
        folder: Path,
        port: int,
        *,
        device: str = "board-1",
        tls: Tls | None = None,
        version: str = "auto",
        host: str = "127.0.0.1",
        session: str = "",
        daily_bytes: int = 10**9,
        window_s: int = 1,
        windows_at_once: int = 1,
        quota: int = 50_000_000,
        timing: Timing = QUICK,
        synchronised: bool = True,
        keepalive_s: int = 600,
    ) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.told: list[tuple[str, str, dict[str, Any]]] = []
        self.orders: list[Order] = []
        self._ear, self._bell = os.pipe()
        os.set_blocking(self._bell, False)
        settings = Settings(
            device=device,
            mqtt=Mqtt(host=host, port=port, tls=tls, version=version, keepalive_s=keepalive_s),  # type: ignore[arg-type]
            telemetry=Telemetry(window_s=window_s, windows_at_once=windows_at_once, daily_bytes=daily_bytes),
        )
        self.state = State(
            STATE_SCHEMA, device, "boot-1", session or os.urandom(4).hex(), online=True, window_s=window_s
        )
        self.outbox = Outbox(folder / "outbox.db", quota_bytes=quota)
        self.uplink = Uplink(
            settings,
            self.outbox,
            wake=self._wake,
            birth=lambda: self.state,
            tell=lambda *what: self.told.append(what),
            synchronised=lambda: synchronised,
            timing=timing,
        )
        self.uplink.start()

    def _wake(self) -> None:
        with contextlib.suppress(BlockingIOError):
            os.write(self._bell, b"!")

    def turn(self, seconds: float = 0.02) -> None:
        """One turn of the loop."""
        if select.select([self._ear], [], [], seconds)[0]:
            os.read(self._ear, 65_536)
        self.orders += self.uplink.poll()

    def until(self, holds: Callable[[], Any], *, give_up_after_s: float = 60.0) -> None:
        """Turn until something holds; the time guards against a hang."""
        give_up = time.monotonic() + give_up_after_s
        while not holds():
            assert time.monotonic() < give_up, f"it never came to be: {self.uplink.status()}"
            self.turn()

    def delivered(self) -> bool:
        """Whether the collector has everything."""
        return not any(self.outbox.waiting.values())

    @property
    def connected(self) -> bool:
        return self.uplink.status()["link"] == "open"

    def vanish(self) -> None:
        """Go without a goodbye."""
        self.uplink._let_go()
        self.uplink._link.close()
        self.outbox.close()

    def close(self) -> None:
        self.uplink.stop()
        self.outbox.close()
