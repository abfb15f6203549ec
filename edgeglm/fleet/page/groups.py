"""Models side by side: boards that run the same on the same kind of board, added up by their histograms. Pure."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, NamedTuple

import msgspec
from edgeglm_agent.wire import WireError
from edgeglm_agent.wire.sketch import Sketch, middle

from edgeglm.fleet.health import current_slots, slot_state
from edgeglm.fleet.plain import plain
from edgeglm.fleet.seeing.flat import percentiles

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from edgeglm_agent.wire.telemetry import Window

    from edgeglm.fleet.health import HealthProblem
    from edgeglm.fleet.store.types import Device, DeviceSummary, SlotSummary

MOST_GROUPS = 100  # boards may call themselves and their models anything
OTHERS = "others"
_SPARE = 100  # values of a sketch beyond what its window counts
_POINTS = 60  # of a distribution
_BETWEEN = (0.001, 0.999)  # of a distribution: what lies outside would squeeze the rest


class GroupKey(NamedTuple):
    """What boards have in common."""

    model: str
    manifest: str  # the beginning of its SHA-256
    artifact: str
    scheme: str
    runtime: str
    board: str


class Group(msgspec.Struct, kw_only=True):
    """Boards that run the same, over the newest window of each."""

    model: str
    manifest: str
    artifact: str
    scheme: str
    runtime: str  # with what it runs on
    board: str
    boards: int = 0
    ill: int = 0  # boards with a problem
    problems: dict[str, int] = {}  # kind -> boards
    serving: int = 0
    speaking: int = 0  # boards whose windows count: those that are not silent
    p50_ms: float | None = None  # from input to result, of all samples together
    p95_ms: float | None = None
    p99_ms: float | None = None
    model_p95_ms: float | None = None  # the model alone
    per_second: float = 0.0
    samples: int = 0
    errors: int = 0
    temperature_c: float | None = None  # the hottest board's
    distribution: list[tuple[float, float]] = []  # milliseconds, share of the samples within 1 %


class _Adding:
    def __init__(self) -> None:
        self.boards: set[Device] = set()
        self.ill: set[Device] = set()
        self.speaking: set[Device] = set()
        self.kinds: dict[str, set[Device]] = {}
        self.whole, self.model = Sketch(), Sketch()
        self.serving = self.samples = self.errors = 0
        self.per_second = 0.0
        self.hottest: float | None = None


class Sketches:
    """Histograms of newest windows, unpacked once: boards seldom say something new between two looks."""

    def __init__(self) -> None:
        self._known: dict[bytes, Sketch] = {}
        self._used: dict[bytes, Sketch] = {}

    def model(self, window: Window) -> Sketch:
        """Return what the model alone took in a window; see ``_of``."""
        return self._of(window.latency_ms, window)

    def whole(self, window: Window) -> Sketch:
        """Return what it took from input to result; see ``_of``."""
        return self._of(window.total_ms or window.latency_ms, window)

    def _of(self, packed: bytes, window: Window) -> Sketch:
        """Return a packed sketch; one that is damaged, or counts more than there was, is empty.

        Else one board could decide the percentiles of a whole fleet.
        """
        sketch = self._used.get(packed) or self._known.get(packed)
        if sketch is None:
            try:
                sketch = Sketch.unpack(packed)
            except WireError:
                sketch = Sketch()
        self._used[packed] = sketch
        return sketch if sketch.n <= 2 * (window.inferences + sum(window.errors.values())) + _SPARE else Sketch()

    def turn(self) -> None:
        """Forget what was not asked for since the last turn."""
        self._known, self._used = self._used, {}


def board_kind(summary: DeviceSummary) -> str:
    """Return what a board says that it is."""
    model = summary.state.board.get("model") if summary.state else None
    return plain(model, 60) if isinstance(model, str) and model else "?"


def groups(
    summaries: Iterable[DeviceSummary], found: Mapping[Device, Sequence[HealthProblem]], sketches: Sketches
) -> list[Group]:
    """Return the groups, the largest first; the windows of boards that are silent are not counted."""
    adding: dict[GroupKey, _Adding] = {}
    for summary in summaries:
        problems = found.get(summary.device, ())
        silent = any(problem.kind == "silent" for problem in problems)
        windows = {slot.slot: slot for slot in current_slots(summary)}
        for name in {*(summary.state.slots if summary.state else ()), *windows}:
            if name:
                one = adding.setdefault(_key(summary, name), _Adding())
                _add(one, summary, name, problems)
                if name in windows and not silent:
                    _count(one, summary.device, windows[name], sketches)
    largest = sorted(adding.items(), key=lambda item: (-len(item[1].boards), item[0]))
    if len(largest) > MOST_GROUPS:
        rest = _Adding()
        for _, one in largest[MOST_GROUPS - 1 :]:
            _merge(rest, one)
        largest = [*largest[: MOST_GROUPS - 1], (GroupKey(OTHERS, "", "", "", "", OTHERS), rest)]
    return [_group(key, one) for key, one in largest]


def _key(summary: DeviceSummary, name: str) -> GroupKey:
    state = slot_state(summary, name)
    if state is None:
        return GroupKey("?", "", "", "", "", board_kind(summary))
    runs = " on ".join(plain(part, 60) for part in (state.runtime, state.provider) if part)
    return GroupKey(
        plain(state.model, 80) or "?",
        plain(state.manifest_sha256[:12]),
        plain(state.artifact, 80),
        plain(state.scheme, 40),
        runs,
        board_kind(summary),
    )


def _add(one: _Adding, summary: DeviceSummary, name: str, problems: Sequence[HealthProblem]) -> None:
    device = summary.device
    one.boards.add(device)
    state = slot_state(summary, name)
    one.serving += state is not None and state.status == "serving"
    for problem in problems:
        if problem.slot in ("", name):
            one.ill.add(device)
            one.kinds.setdefault(problem.kind, set()).add(device)


def _count(one: _Adding, device: Device, slot: SlotSummary, sketches: Sketches) -> None:
    window = slot.window
    one.speaking.add(device)
    one.model.merge(sketches.model(window))
    one.whole.merge(sketches.whole(window))
    one.samples += window.inferences
    one.errors += sum(window.errors.values())
    if window.duration_ms > 0:
        one.per_second += window.inferences * 1000 / window.duration_ms
    if window.board is not None and window.board.temperature_decic is not None:
        degrees = window.board.temperature_decic / 10
        one.hottest = degrees if one.hottest is None else max(one.hottest, degrees)


def _merge(into: _Adding, one: _Adding) -> None:
    into.boards |= one.boards
    into.ill |= one.ill
    into.speaking |= one.speaking
    for kind, devices in one.kinds.items():
        into.kinds.setdefault(kind, set()).update(devices)
    into.whole.merge(one.whole)
    into.model.merge(one.model)
    into.serving += one.serving
    into.samples += one.samples
    into.errors += one.errors
    into.per_second += one.per_second
    if one.hottest is not None:
        into.hottest = max(one.hottest, -1e9 if into.hottest is None else into.hottest)


def _group(key: GroupKey, one: _Adding) -> Group:
    p50, p95, p99 = percentiles(one.whole)
    return Group(
        **key._asdict(),
        boards=len(one.boards),
        ill=len(one.ill),
        problems=dict(Counter({kind: len(devices) for kind, devices in one.kinds.items()}).most_common()),
        serving=one.serving,
        speaking=len(one.speaking),
        p50_ms=p50,
        p95_ms=p95,
        p99_ms=p99,
        model_p95_ms=one.model.quantile(0.95),
        per_second=one.per_second,
        samples=one.samples,
        errors=one.errors,
        temperature_c=one.hottest,
        distribution=distribution(one.whole),
    )


def distribution(sketch: Sketch) -> list[tuple[float, float]]:
    """Return at most ``_POINTS`` points of a histogram: a latency, and the share of samples within 1 % of it."""
    n = sketch.n
    if n <= 0:
        return []
    kept: dict[int, int] = {}
    passed = 0
    for index in sorted(sketch.counts):
        before, passed = passed, passed + sketch.counts[index]
        if passed >= _BETWEEN[0] * n and before <= _BETWEEN[1] * n:
            kept[index] = sketch.counts[index]
    first, last = min(kept), max(kept)
    wide = max(1, -(-(last - first + 1) // _POINTS))  # buckets a point
    points: dict[int, int] = dict.fromkeys(range(first // wide, last // wide + 1), 0)
    for index, count in kept.items():
        points[index // wide] += count
    return [(middle(at * wide + wide // 2), count / n / wide) for at, count in points.items()]
