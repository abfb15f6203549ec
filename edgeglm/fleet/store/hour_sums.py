"""What a slot did in each hour, added up from its windows: a month is drawn of these, without a look at any window."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import msgspec
from edgeglm_agent.wire.manifest import UNREADABLE
from edgeglm_agent.wire.sketch import Sketch
from edgeglm_agent.wire.telemetry import BoardReading, Drift

from edgeglm.fleet.store.keeping import HOUR_MS

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

_BIG = 2**62  # what is packed is no larger: a stranger may have sent any number
_MOST_NAMED = 64  # kinds of errors, and features
_OTHERS = "others"  # errors of other kinds
_SUMMED_AT_ONCE = 20_000  # windows that are sorted together
_UNPACKED_AT_ONCE = 500  # of them, whose histograms are: each may take as much room as the widest of them


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


def summed(rows: Iterable[tuple[int, int, str, bytes]]) -> dict[HourKey, Summed]:
    """Return what windows come to.

    Args:
        rows: Of each its moment (ms), board, slot, and body. One that is damaged counts as unreadable.
    """
    found: dict[HourKey, Summed] = {}
    part: list[tuple[int, int, str, bytes]] = []
    for row in rows:
        part.append(row)
        if len(part) == _SUMMED_AT_ONCE:
            _add_all(found, part)
            part = []
    _add_all(found, part)
    return found


def merged(one: HourSum, other: HourSum) -> HourSum:
    """Return what two sums of one hour come to."""
    figures = Figures()
    figures.merge(one.figures)
    figures.merge(other.figures)
    total_ms = _both(one.total_ms, other.total_ms)
    latency_ms = b""
    if one.latency_ms or other.latency_ms:
        latency_ms = _both(one.latency_ms or one.total_ms, other.latency_ms or other.total_ms)
    return HourSum(
        figures.bounded(),
        one.unreadable + other.unreadable,
        total_ms,
        latency_ms if latency_ms != total_ms else b"",
    )


def _add_all(found: dict[HourKey, Summed], rows: list[tuple[int, int, str, bytes]]) -> None:
    rows.sort(key=_hour_key)  # so that few hours are added up in two parts
    for start in range(0, len(rows), _UNPACKED_AT_ONCE):
        _add(found, _summed_at_once(rows[start : start + _UNPACKED_AT_ONCE]))


def _summed_at_once(rows: list[tuple[int, int, str, bytes]]) -> dict[HourKey, Summed]:
    import numpy as np

    from edgeglm.fleet.histograms import latencies, packed_rows

    places: dict[HourKey, int] = {}
    figures: list[Figures] = []
    counts: list[int] = []
    damaged: list[int] = []
    owners, models, wholes = list[int](), list[bytes](), list[bytes]()
    for row in rows:
        place = places.setdefault(_hour_key(row), len(places))
        if place == len(figures):
            figures.append(Figures())
            counts.append(0)
            damaged.append(0)
        counts[place] += 1
        try:
            window = seen(row[-1])
        except UNREADABLE:
            damaged[place] += 1
            continue
        figures[place].add(window)
        owners.append(place)
        models.append(window.latency_ms)
        wholes.append(window.total_ms)
    owner = np.array(owners, np.int64)
    whole, model, sound = latencies(models, wholes, owner, len(places))
    for place in owner[~sound].tolist():
        damaged[place] += 1
    packed = packed_rows(whole)
    packed_model = packed_rows(model) if model is not whole else packed
    return {
        key: Summed(
            counts[place],
            HourSum(
                figures[place].bounded(),
                damaged[place],
                packed[place],
                packed_model[place] if packed_model[place] != packed[place] else b"",
            ),
        )
        for key, place in places.items()
    }


def _hour_key(row: tuple[int, int, str, bytes]) -> HourKey:
    at_ms, device, slot, _ = row
    return HourKey(at_ms // HOUR_MS, device, slot)


def _add(found: dict[HourKey, Summed], more: Mapping[HourKey, Summed]) -> None:
    for key, one in more.items():
        there = found.get(key)
        found[key] = one if there is None else Summed(there.rows + one.rows, merged(there.sum, one.sum))


def _both(one: bytes, other: bytes) -> bytes:
    total = Sketch.unpack(one)
    total.merge(Sketch.unpack(other))
    return Sketch({bucket: _packable(count) for bucket, count in total.counts.items()}).pack()


def _packable(number: int) -> int:
    return max(-_BIG, min(_BIG, number))
