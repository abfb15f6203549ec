"""The tables of what a fleet takes of its collector's machine."""

from __future__ import annotations

from statistics import median
from typing import Any

from table_rows import head, place, row, section, spread, verdict

_LOOPS = {"closed": "500 boards, 8 rows each on their way", "open": "5,000 boards, a message a second each"}


def _lost(rounds: list[dict[str, Any]]) -> str:
    lost, twice = (sum(one[name] for one in rounds) for name in ("lost", "twice"))
    return f"{lost} lost, {twice} twice"


def asked_collector(result: dict[str, Any]) -> list[tuple[str, ...]]:
    """Return the lines on one collector and SQLite."""
    loops, opened = result["medians"], result["rounds"]["open"]
    cpu_us, p99_ms = loops["open"]["cpu_us_per_message"], loops["open"]["latency_p99_ms"]
    lost = sum(one["lost"] for one in opened)
    met = verdict(cpu_us, 70, 40, most=True) if p99_ms < 1000 and not lost else "**missed**"
    return [
        (
            "fleet, 5,000 boards at a message a second, SQLite",
            "0 lost, 70 us of CPU a message (40 us), p99 under 1 s",
            f"{lost} lost, {cpu_us:.0f} us, {p99_ms / 1000:.2f} s",
            met,
        ),
        _closed(result, "SQLite", 9000, 15_000),
    ]


def asked_postgresql(result: dict[str, Any]) -> list[tuple[str, ...]]:
    """Return the line on one collector and PostgreSQL."""
    return [_closed(result, "PostgreSQL", 6000)]


def _closed(result: dict[str, Any], store: str, must: float, strive: float | None = None) -> tuple[str, ...]:
    per_second = result["medians"]["closed"]["committed_per_second"]
    asked = f"{must:,.0f} messages/s" + (f" ({strive:,.0f})" if strive else "")
    return (
        f"fleet, one collector as fast as it can, {store}",
        asked,
        f"{per_second:,.0f} messages/s",
        verdict(per_second, must, strive),
    )


def collector(result: dict[str, Any]) -> str:
    """Return what one collector takes into SQLite."""
    return _table(result, "One collector, SQLite")


def postgresql(result: dict[str, Any]) -> str:
    """Return what one collector takes into PostgreSQL."""
    return _table(result, "One collector, PostgreSQL")


def _table(result: dict[str, Any], title: str) -> str:
    about = (
        f"`edgeglm fleet broker` (mosquitto), `collect` and `simulate` on one machine, {result['seconds']:.0f} s each, "
        "acknowledged at once; CPU is the collector's alone, the latency from the first sending to the board's "
        f"acknowledgement. Medians of {len(result['rounds']['open'])} rounds. {place(result)}."
    )
    columns = (
        "",
        "messages/s",
        "CPU a message, us",
        "p50, ms",
        "p99, ms",
        "bytes a row",
        "collector's peak, MB",
        "rows",
    )
    lines = [*section(title, about), *head(*columns)]
    for loop, rounds in result["rounds"].items():
        figures = result["medians"][loop]
        lines.append(
            row(
                _LOOPS[loop],
                f"{figures['committed_per_second']:,.0f}",
                spread([one["cpu_us_per_message"] for one in rounds], ""),
                f"{median(one['latency_ms']['p50'] for one in rounds):.0f}",
                f"{figures['latency_p99_ms']:.0f}",
                f"{median(one['bytes_per_row'] for one in rounds):.0f}",
                f"{max(one['peak_rss_mb'] for one in rounds):.0f}",
                _lost(rounds),
            )
        )
    return "\n".join(lines)


def asked_connected(result: dict[str, Any]) -> list[tuple[str, ...]]:
    """Return the line on many connections."""
    held = result["connected"] == result["devices"] and not result["rows"]["outstanding"] and not result["twice"]
    return [
        (
            "fleet, boards connected to one machine",
            "10,000 (50,000)",
            f"{result['devices']:,}, {result['broker_kb_per_device']:.1f} KB each in the broker",
            verdict(result["devices"], 10_000, 50_000) if held else "**missed**",
        )
    ]


def connected(result: dict[str, Any]) -> str:
    """Return what boards take that are only there."""
    rows = result["rows"]
    about = (
        f"{result['devices']:,} boards with a window a minute, connected for {result['seconds']:.0f} s over one machine's "
        f"loopback to {result['brokers']} brokers (mosquitto; a process may open {result['open_files']:,} files here), each with a "
        f"collector: {result['broker_kb_per_device']:.1f} KB of memory a board in the broker, and "
        f"{result['collector_kb_per_device']:.1f} KB in the collector; {rows['acknowledged']:,} of {rows['sent']:,} rows "
        f"acknowledged. The kernel's part of a connection is not in it. {place(result)}."
    )
    return "\n".join(section("Many boards", about)).rstrip()


def asked_scale(result: dict[str, Any]) -> list[tuple[str, ...]]:
    """Return the line on several collectors."""
    ratios = result["ratios"]
    return [
        (
            "fleet, two collectors of a quarter of a core each, beside one",
            "1.6x (1.9x)",
            spread(ratios),
            verdict(median(ratios), 1.6, 1.9),
        )
    ]


def scale(result: dict[str, Any]) -> str:
    """Return what a second collector brings."""
    about = (
        "One collector, and two with half of the boards each, into one PostgreSQL, each held to a quarter of a core by a "
        f"cgroup. {place(result)}."
    )
    columns = ("round", "one collector, messages/s", "two", "ratio", "rows")
    lines = [*section("Several collectors", about), *head(*columns)]
    for number, one in enumerate(result["rounds"], 1):
        lines.append(
            row(
                number,
                f"{one['one']['committed_per_second']:,.0f}",
                f"{one['two']['committed_per_second']:,.0f}",
                f"{one['ratio']:.2f}x",
                _lost([one["one"], one["two"]]),
            )
        )
    return "\n".join(lines)


def asked_page(result: dict[str, Any]) -> list[tuple[str, ...]]:
    """Return the lines on the page."""
    p95_ms = result["requests_ms"]["all"]["p95"]
    spans = ", ".join(kind[5:] for kind in result["requests_ms"] if kind.startswith("life "))
    kind, worst = max(((kind, values["p95"]) for kind, values in result["requests_ms"].items()), key=lambda one: one[1])
    return [
        (
            f"fleet, the page of {result['devices']:,} boards: requests; a board's life over {spans}",
            "p95 at most 200 ms",
            f"{p95_ms:.0f} ms, of the slowest kind ({kind}) {worst:.0f} ms",
            verdict(worst, 200, most=True),
        )
    ]


def page(result: dict[str, Any]) -> str:
    """Return how fast the page is."""
    lived = ""
    if "lived" in result:  # results of before measured no more than a day
        boards, days = result["lived"]["boards"], result["lived"]["days"]
        lived = f", for the lives of {boards} more with {days} days of windows of 300 s"
    about = (
        f"`edgeglm fleet serve` beside a store of {result['devices']:,} simulated boards that is written to meanwhile, in "
        f"headless Chromium; requests with {result['listeners']} other pages listening{lived}. Milliseconds. {place(result)}."
    )
    kinds = {
        "first paint": result["first_paint_ms"],
        "all boards shown": result["boards_shown_ms"],
        "a board's news, from the commit to the page": result["news_ms"],
        **{f"request: {kind}": values for kind, values in result["requests_ms"].items()},
    }
    lines = [*section("The fleet's page", about), *head("", "p50", "p95", "p99")]
    lines += [
        row(kind, *(f"{values[name]:.1f}" if name in values else "" for name in ("p50", "p95", "p99")))
        for kind, values in kinds.items()
    ]
    return "\n".join(lines)


def asked_week(result: dict[str, Any]) -> list[tuple[str, ...]]:
    """Return the lines on a week of many boards in SQLite."""
    kept = result["sides"]["compacted"]
    name = f"fleet, {result['days']} days of {result['boards']:,} boards at 300 s"
    return [
        (name, "bytes a row", f"{kept['bytes_per_row']:.0f}", ""),
        (
            f"{name}: `fleet ls` beside a bare `select 1`",
            "at most 5x",
            f"{kept['fleet_ls_per_select_1']:.1f}x",
            verdict(kept["fleet_ls_per_select_1"], 5, most=True),
        ),
        (
            f"{name}: a board's week out of the store",
            "under 50 ms",
            f"{kept['board_week_ms']:.0f} ms",
            verdict(kept["board_week_ms"], 50, most=True),
        ),
    ]


def asked_killed(result: dict[str, Any]) -> list[tuple[str, ...]]:
    """Return the line on a collector that comes back to a large store."""
    back_s = median(result["back_s"])
    return [
        (
            f"fleet, store of {result['store_mb'] / 1000:.1f} GB: collecting again after `kill -9`",
            "how long (1 s)",
            f"{back_s:.1f} s",
            "the aim is met" if back_s <= 1 else "the aim is not met",
        )
    ]


def killed(result: dict[str, Any]) -> str:
    """Return how soon a collector is back."""
    about = (
        f"A collector killed with `kill -9` on a journal of {result['store_mb'] / 1000:.2f} GB ({result['rows']:,} windows), "
        "and started at once: seconds from its start until it has acknowledged a row, "
        f"{spread(result['back_s'], 's')}. {place(result)}."
    )
    return "\n".join(section("Back after a kill", about)).rstrip()


def week(result: dict[str, Any]) -> str:
    """Return what a week of many boards takes."""
    about = (
        f"{result['rows']:,} windows with a histogram each, in SQLite, before and after `edgeglm fleet compact` "
        f"({result['compact_s']:.0f} s). `fleet ls` and `select 1` are whole processes of the same command line. "
        f"{place(result)}."
    )
    lines = [
        *section("A week in the store", about),
        *head("", "bytes a row", "segments", "`fleet ls`, s", "`select 1`, s", "a board's week, ms"),
    ]
    for side, kept in result["sides"].items():
        lines.append(
            row(
                side,
                f"{kept['bytes_per_row']:.0f}",
                kept["segments"],
                f"{kept['fleet_ls_s']:.2f}",
                f"{kept['select_1_s']:.2f}",
                f"{kept['board_week_ms']:.0f}",
            )
        )
    return "\n".join(lines)
