"""A store that simulated boards have filled: their own rows by the real writer, without a broker in between."""

from __future__ import annotations

from typing import TYPE_CHECKING

from edgeglm_agent.wire.commands import State
from edgeglm_agent.wire.telemetry import Row, row_of

from edgeglm.fleet.simulate.board import Board
from edgeglm.fleet.simulate.faults import Silent
from edgeglm.fleet.simulate.fleet import Fleet
from edgeglm.fleet.simulate.reading import parse_profile
from edgeglm.fleet.store.opening import open_store
from edgeglm.fleet.store.types import Arrivals, Device, IncomingBatch, IncomingState, Stream

if TYPE_CHECKING:
    from pathlib import Path

    from edgeglm_agent.wire.telemetry import Body

PROFILE = """
version: 1
fleet: north
prefix: gate-
devices: {devices}
window_s: {window_s}
slots: [main]
models:
  - {{name: digits-cnn, version: 1.4.0, share: 3, per_second: 4, latency_ms: {{p50: 12, p95: 18}}, confidence: 0.93}}
  - {{name: digits-cnn, version: 1.3.2, share: 1, per_second: 4, latency_ms: {{p50: 21, p95: 34}}, confidence: 0.91}}
boards:
  - {{board: rpi5, share: 6, temperature_c: 54}}
  - {{board: rpi4, share: 3, temperature_c: 58, slowness: 2.6}}
  - {{board: jetson-jp6, share: 1, temperature_c: 48, slowness: 0.5}}
faults:
  - silent: {{share: 0.01, after_s: {late}}}
  - drifting: {{share: 0.02, after_s: 60, feature: input.x, psi: 0.7, over_s: 300}}
  - erroring: {{share: 0.01, after_s: {late}, error: input, rate: 0.08}}
  - hot: {{share: 0.02, temperature_c: 83}}
  - throttled: {{share: 0.01, after_s: {late}, slowness: 1.8}}
  - losing: {{share: 0.01, after_s: 60, every_s: 600, rows: 10}}
"""


class Simulated:
    """Boards whose time goes as fast as they can be written."""

    def __init__(self, path: Path | str, *, devices: int, window_s: int, lasts_s: int, end_ms: int) -> None:
        """Make the store, a file or at an address, and let the boards live up to a moment."""
        self.url = path if isinstance(path, str) else f"sqlite:///{path}"
        self._end_ms = end_ms
        self._lasts_s = lasts_s
        self._window_s = window_s
        profile = parse_profile(PROFILE.format(devices=devices, window_s=window_s, late=lasts_s // 2), "profile.yaml")
        fleet = Fleet(profile, run="r", start_ms=end_ms - lasts_s * 1000)
        self._writer = open_store(self.url)
        self._sequences = [0] * devices
        self._rows: list[list[Row]] = [[] for _ in range(devices)]
        self.boards = [Board(fleet, index, self._put(index), self._skip(index)) for index in range(devices)]
        self._at = 0.0
        self._writer.commit(Arrivals(states=[self._said(board, board.state(), 0.0) for board in self.boards]))
        self.live(lasts_s)

    def live(self, until_s: float, *, at_most_s: float | None = None) -> None:
        """Let time go on to so many seconds after the beginning, a commit for each window's length, or for less."""
        step_s = at_most_s or self._window_s
        while self._at < until_s:
            self._at = min(until_s, self._at + step_s)
            arrivals = Arrivals()
            for index, board in enumerate(self.boards):
                board.live(self._at, 10_000)
                silent = [fault for fault in board.faults if isinstance(fault, Silent) and fault.active(self._at)]
                rows, self._rows[index] = self._rows[index], []
                if silent and silent[0].after_s > self._at - step_s:
                    arrivals.states.append(self._said(board, board.state(online=False), self._at))
                elif rows and not silent:
                    stream = Stream(Device("north", board.name), board.epoch)
                    arrivals.batches.append(IncomingBatch(stream, tuple(rows), self._received_ms()))
            self._writer.commit(arrivals)

    def commit(self, arrivals: Arrivals) -> None:
        """Keep what others say."""
        self._writer.commit(arrivals)

    def close(self) -> None:
        """Let the store go."""
        self._writer.close()

    def _received_ms(self) -> int:
        return self._end_ms - round((self._lasts_s - self._at) * 1000)

    def _said(self, board: Board, state: State, at: float) -> IncomingState:
        return IncomingState(Device("north", board.name), state, self._end_ms - round((self._lasts_s - at) * 1000))

    def _put(self, index: int):
        def put(body: Body) -> None:
            self._sequences[index] += 1
            self._rows[index].append(row_of(self._sequences[index], body))

        return put

    def _skip(self, index: int):
        def skip(count: int) -> int:
            first = self._sequences[index] + 1
            self._sequences[index] += count
            return first

        return skip
