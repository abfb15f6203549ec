"""The fleet as Prometheus reads it: sums over boards, never a series a board, so that a scrape stays small."""

from __future__ import annotations

from typing import TYPE_CHECKING

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4
from prometheus_client.registry import Collector

from edgeglm.fleet.health import KINDS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from edgeglm.fleet.page.groups import Group
    from edgeglm.fleet.page.watch import Watch

CONTENT_TYPE = CONTENT_TYPE_PLAIN_0_0_4
_OF_GROUP = ("model", "manifest", "artifact", "scheme", "runtime", "board")
_QUANTILES = ("0.5", "0.95", "0.99")


def exposition(watch: Watch) -> bytes:
    """Return what a scrape gets: at most 100 groups of boards, however many boards there are."""
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_Fleet(watch))
    return generate_latest(registry)


class _Fleet(Collector):
    def __init__(self, watch: Watch) -> None:
        self._watch = watch

    def describe(self) -> Iterable[Metric]:
        return ()

    def collect(self) -> Iterator[Metric]:
        watch, glance = self._watch, self._watch.glance
        head, summaries = glance.head, watch.summaries
        yield _gauge(
            "store_up",
            "Whether the store could be read when it was last looked at",
            bool(glance.at_ms) and not head.trouble,
        )
        yield _gauge("store_look_seconds", "How long the last look at the store took", watch.look_s)
        yield _gauge("looked_timestamp_seconds", "When the store was last read", glance.at_ms / 1000)
        yield _gauge("newest_timestamp_seconds", "When anything last came from a board", head.newest_ms / 1000)
        yield _gauge("boards", "Boards that the store knows", head.boards)
        yield _gauge("boards_online", "Boards whose connection stands, as far as the broker knows", head.online)
        yield _gauge("boards_ill", "Boards with any problem", head.ill)
        kinds = GaugeMetricFamily(_name("boards_with_problem"), "Boards by problem", labels=("problem",))
        for kind in KINDS:
            kinds.add_metric((kind,), head.kinds.get(kind, 0))
        yield kinds
        alarms = GaugeMetricFamily(_name("alarms"), "Alarms that stand, by the rules", labels=("problem", "severity"))
        for labels, count in watch.alarms.standing().items():
            alarms.add_metric(labels, count)
        yield alarms
        # gauges, since they fall when a board is forgotten: what falls is a counter's reset, and counted anew by rate()
        yield _gauge("rows", "Rows that were kept, of boards that the store knows", sum(one.rows for one in summaries))
        yield _gauge(
            "rows_again", "Of these boards, rows that came more than once", sum(one.duplicates for one in summaries)
        )
        yield _gauge(
            "rows_lost", "Of these boards, rows that they told to be lost", sum(one.lost_rows for one in summaries)
        )
        yield _counter("unreadable", "Messages and rows that could not be read", head.unreadable)
        yield from _of_groups(glance.groups)


def _of_groups(groups: Iterable[Group]) -> Iterator[Metric]:
    families: list[tuple[str, str, Callable[[Group], float | None]]] = [
        ("group_boards", "Boards that run this", lambda group: group.boards),
        ("group_boards_ill", "Of these, boards with a problem", lambda group: group.ill),
        ("group_boards_serving", "Slots that serve", lambda group: group.serving),
        ("inferences_per_second", "Samples that are answered", lambda group: group.per_second),
        ("error_ratio", "Share of samples without an answer, in the newest windows", _error_ratio),
        ("temperature_max_celsius", "The hottest board's hottest zone", lambda group: group.temperature_c),
    ]
    for name, what, read in families:
        family = GaugeMetricFamily(_name(name), what, labels=_OF_GROUP)
        for group in groups:
            if (value := read(group)) is not None:
                family.add_metric(_labels(group), value)
        yield family
    latency = GaugeMetricFamily(
        _name("latency_seconds"),
        "From input to result, of all samples of the newest windows together",
        labels=(*_OF_GROUP, "quantile"),
    )
    for group in groups:
        for quantile, value in zip(_QUANTILES, (group.p50_ms, group.p95_ms, group.p99_ms), strict=True):
            if value is not None:
                latency.add_metric((*_labels(group), quantile), value / 1000)
    yield latency


def _labels(group: Group) -> tuple[str, ...]:
    return group.model, group.manifest, group.artifact, group.scheme, group.runtime, group.board


def _error_ratio(group: Group) -> float | None:
    samples = group.samples + group.errors
    return group.errors / samples if samples > 0 else None


def _name(name: str) -> str:
    return f"edgeglm_fleet_{name}"


def _gauge(name: str, what: str, value: float) -> Metric:
    return GaugeMetricFamily(_name(name), what, value=float(value))


def _counter(name: str, what: str, value: int) -> Metric:
    return CounterMetricFamily(_name(name), what, value=value)
