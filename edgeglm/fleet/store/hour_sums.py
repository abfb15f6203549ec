"""What a slot did in each hour, added up from its windows: a month is drawn of these, without a look at any window."""

from __future__ import annotations

from itertools import islice
from typing import TYPE_CHECKING, NamedTuple

import msgspec
from edgeglm_agent.wire.manifest import UNREADABLE
from edgeglm_agent.wire.telemetry import BoardReading, Drift

from edgeglm.fleet.store.keeping import HOUR_MS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

_BIG = 2**62  # what is packed is no larger: a stranger may have sent any number
_MOST_NAMED = 64  # kinds of errors, and features
_OTHERS = "others"  # errors of other kinds
_ROWS_AT_ONCE = 20_000  # windows, and
_HOURS_AT_ONCE = 500  # hours that are added up together: of each there is a row of all buckets in memory


class Seen(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """A ``Window``, of which what is not added up is left packed: of a month there are thousands."""

    slot: str
    load: int
    trace_id: msgspec.Raw
    start_ms: int
    uptime_ms: int
    duration_ms: int
    clock_synchronised: bool
    inferences: int
    errors: dict[str, int] = {}
    latency_ms: bytes = b""
    total_ms: bytes = b""
    cpu_permille: int | None = None
    rss_kb: int | None = None
    energy_uj: int | None = None
    confidence: msgspec.Raw = msgspec.Raw()
    classes: msgspec.Raw = msgspec.Raw()
    drift: tuple[Drift, ...] = ()
    board: BoardReading | None = None
    merged: int = 1


seen = msgspec.msgpack.Decoder(Seen).decode


class Figures(msgspec.Struct, array_like=True):
    """What windows say, but for their histograms. It grows."""

    windows: int = 0
    inferences: int = 0
    errors: dict[str, int] = {}  # by kind
    length_ms: int = 0
    hottest_decic: int | None = None
    cpu_permille_ms: int = 0  # of the board, weighted by time
    cpu_weight_ms: int = 0
    psi_milli: dict[str, int] = {}  # by feature, at its worst

    def add(self, window: Seen) -> None:
        """Add a window."""
        self.windows += max(1, window.merged)
        self.inferences += window.inferences
        self.length_ms += max(0, window.duration_ms)
        if window.errors:
            self._failed(window.errors)
        board = window.board
        if board is not None:
            self._hot(board.temperature_decic)
            if board.cpu_permille is not None:
                weight_ms = max(1, window.duration_ms)
                self.cpu_permille_ms += board.cpu_permille * weight_ms
                self.cpu_weight_ms += weight_ms
        for drift in window.drift:
            self.psi_milli[drift.feature] = max(self.psi_milli.get(drift.feature, 0), drift.psi_milli)

    def merge(self, other: Figures) -> None:
        """Add what others come to."""
        self.windows += other.windows
        self.inferences += other.inferences
        self.length_ms += other.length_ms
        self._failed(other.errors)
        self._hot(other.hottest_decic)
        self.cpu_permille_ms += other.cpu_permille_ms
        self.cpu_weight_ms += other.cpu_weight_ms
        for feature, psi_milli in other.psi_milli.items():
            self.psi_milli[feature] = max(self.psi_milli.get(feature, 0), psi_milli)

    def bounded(self) -> Figures:
        """Return what is packed of them: of many kinds of errors, and of many features, the most and the worst."""
        errors, psi_milli = self.errors, self.psi_milli
        if len(errors) > _MOST_NAMED:
            kinds = sorted(errors, key=lambda kind: errors[kind], reverse=True)
            errors = {kind: errors[kind] for kind in kinds[: _MOST_NAMED - 1]}
            rest = sum(self.errors[kind] for kind in kinds[_MOST_NAMED - 1 :])
            errors[_OTHERS] = errors.get(_OTHERS, 0) + rest
        if len(psi_milli) > _MOST_NAMED:
            worst = sorted(psi_milli, key=lambda feature: psi_milli[feature], reverse=True)[:_MOST_NAMED]
            psi_milli = {feature: psi_milli[feature] for feature in worst}
        return Figures(
            windows=_packable(self.windows),
            inferences=_packable(self.inferences),
            errors={kind: _packable(count) for kind, count in errors.items()},
            length_ms=_packable(self.length_ms),
            hottest_decic=None if self.hottest_decic is None else _packable(self.hottest_decic),
            cpu_permille_ms=_packable(self.cpu_permille_ms),
            cpu_weight_ms=_packable(self.cpu_weight_ms),
            psi_milli={feature: _packable(milli) for feature, milli in psi_milli.items()},
        )

    def _failed(self, errors: Mapping[str, int]) -> None:
        for kind, count in errors.items():
            self.errors[kind] = self.errors.get(kind, 0) + count

    def _hot(self, decic: int | None) -> None:
        if decic is not None and (self.hottest_decic is None or decic > self.hottest_decic):
            self.hottest_decic = decic


class HourSum(msgspec.Struct, frozen=True, array_like=True):
    """The windows of one slot that began within one hour (UTC)."""

    figures: Figures
    unreadable: int = 0  # windows whose histograms are damaged: they do not count in these
    total_ms: bytes = b""  # a packed ``Sketch``: from input to result
    latency_ms: bytes = b""  # likewise, what the model took; empty: the same


class HourKey(NamedTuple):
    """Whose, and when."""

    hour: int  # since 1970
    device: int
    slot: str


class Summed(NamedTuple):
    """A sum, and of how many rows."""

    rows: int
    sum: HourSum


hour_sum = msgspec.msgpack.Decoder(HourSum).decode


def summed(
    rows: Iterable[tuple[int, int, str, bytes]], known: Callable[[HourKey], HourSum | None] = lambda _: None
) -> dict[HourKey, Summed]:
    """Return what windows come to, by the hour.

    Args:
        rows: Of each its moment (ms), board, slot, and body. One that is damaged counts as unreadable.
        known: Returns a sum that windows of its hour are added to.
    """
    found: dict[HourKey, Summed] = {}

    def so_far(key: HourKey) -> HourSum | None:
        return found[key].sum if key in found else known(key)

    left = iter(rows)
    while part := [*islice(left, _ROWS_AT_ONCE)]:
        bodies: dict[HourKey, list[bytes]] = {}
        for at_ms, device, slot, body in part:
            bodies.setdefault(HourKey(at_ms // HOUR_MS, device, slot), []).append(body)
        keys = [*bodies]
        for start in range(0, len(keys), _HOURS_AT_ONCE):
            some = keys[start : start + _HOURS_AT_ONCE]
            sums = _added(bodies, {key: so_far(key) for key in some})
            for key, one in zip(some, sums, strict=True):
                before = found[key].rows if key in found else 0
                found[key] = Summed(before + len(bodies[key]), one)
    return found


def _added(bodies: Mapping[HourKey, Sequence[bytes]], sums: Mapping[HourKey, HourSum | None]) -> list[HourSum]:
    """Return these sums, with windows added to them."""
    import numpy as np

    from edgeglm.fleet.histograms import latencies, packed_rows

    figures = [Figures() for _ in sums]
    unreadable = [0] * len(sums)
    owners, models, wholes = list[int](), list[bytes](), list[bytes]()
    lost = list[int]()  # of each histogram, windows that are not in any where it is damaged
    for place, (key, before) in enumerate(sums.items()):
        if before is not None:
            figures[place].merge(before.figures)
            unreadable[place] = before.unreadable
            owners.append(place)
            models.append(before.latency_ms or before.total_ms)
            wholes.append(before.total_ms if before.latency_ms else b"")
            lost.append(max(1, before.figures.windows))
        for body in bodies[key]:
            try:
                window = seen(body)
            except UNREADABLE:
                unreadable[place] += 1
                continue
            figures[place].add(window)
            owners.append(place)
            models.append(window.latency_ms)
            wholes.append(window.total_ms)
            lost.append(1)
    owner = np.array(owners, np.int64)
    whole, model, sound = latencies(models, wholes, owner, len(sums))
    for at in np.flatnonzero(~sound).tolist():
        unreadable[owners[at]] += lost[at]
    packed = packed_rows(whole)
    of_model = packed_rows(model) if model is not whole else packed
    return [
        HourSum(
            one.bounded(),
            _packable(unreadable[place]),
            packed[place],
            b"" if of_model[place] == packed[place] else of_model[place],
        )
        for place, one in enumerate(figures)
    ]


def _packable(number: int) -> int:
    return max(-_BIG, min(_BIG, number))
