"""The tables of what the agent costs."""

from __future__ import annotations

from statistics import median
from typing import Any

from table_rows import head, place, row, section, spread, verdict

_FLAT_KB = 1000  # over a million inferences and 10,000 windows: a byte of the one, or a hundred of the other
_WAITING = 16  # clients, from which on there is something to batch
_CALLED = {
    "cnn-fp32": "CNN, FP32",
    "cnn-int8": "CNN, INT8",
    "minilm-fp32": "MiniLM, FP32",
    "minilm-int8": "MiniLM, INT8",
}


def asked_agent_wire(result: dict[str, Any]) -> list[tuple[str, ...]]:
    """Return the line on a day's bytes."""
    day = result["days"][0]
    return [
        (
            "agent, a day on the network at windows of 300 s",
            "at most 200 KB (150 KB)",
            f"{day['bytes'] / 1000:.0f} KB",
            verdict(day["bytes"], 200_000, 150_000, most=True),
        )
    ]


def agent_wire(result: dict[str, Any]) -> str:
    """Return what a day costs on the network."""
    about = (
        "TLS 1.3 with both sides' certificates, keepalive, acknowledgements, IP and TCP headers, two connections and four "
        f"events, over a day that passed {result['scale']} times as fast; counted packet by packet. {place(result)}."
    )
    lines = [
        *section("A day on the network", about),
        *head(
            "day",
            "KB",
            "packets",
            "bytes of a window's record",
            "windows merged for the budget of 200 KB",
            "agent's own count",
        ),
    ]
    lines += [
        row(
            day["day"],
            f"{day['bytes'] / 1000:.1f}",
            f"{day['packets']:,}",
            day["window_bytes"],
            day["merged_windows"],
            f"{day['own_count'] / 1000:.1f}",
        )
        for day in result["days"]
    ]
    return "\n".join(lines)


def asked_agent_engines(result: dict[str, Any]) -> list[tuple[str, ...]]:
    """Return the line on what a worker's way to the model adds."""
    worst = max(about["prepare and run adds_us"] for about in result["formats"].values())
    return [
        (
            "agent, added to the runtime's own call by the way to the model",
            "a part of 20 us (10 us)",
            f"{worst:.1f} us",
            verdict(worst, 20, 10, most=True),
        )
    ]


def agent_engines(result: dict[str, Any]) -> str:
    """Return what the agent's engines add to the runtimes' own calls."""
    about = (
        "A CNN of 32 x 32 pixels, one sample, one thread; each call beside the runtime's own in turn, medians of "
        f"{result['rounds']} rounds of {result['calls']} calls. OpenVINO is slow to take arrays over, so the engine writes into "
        f"its memory instead. {place(result)}."
    )
    lines = [
        *section("The way to the model", about),
        *head("runtime", "its own call, us", "run adds, us", "prepare and run add, us", "softmax and best class, us"),
    ]
    lines += [
        row(
            form["runtime"],
            f"{form['bare_us']:.1f}",
            f"{form['run adds_us']:.1f}",
            f"{form['prepare and run adds_us']:.1f}",
            f"{form['judge_us']:.1f}",
        )
        for form in result["formats"].values()
    ]
    return "\n".join(lines)


def asked_agent_memory(result: dict[str, Any]) -> list[tuple[str, ...]]:
    """Return the line on memory that must not grow."""
    own = {who: about["own_kb"] for who, about in result["processes"].items()}
    said = ", ".join(f"{_process(who)} {grown['kb']:+.0f} ± {grown['off_by_kb']:.0f} KB" for who, grown in own.items())
    worst = max(grown["kb"] + grown["off_by_kb"] for grown in own.values())
    return [
        (
            "agent, memory over a million inferences and 10,000 windows",
            "flat",
            said,
            verdict(worst, _FLAT_KB, most=True),
        )
    ]


def agent_memory(result: dict[str, Any]) -> str:
    """Return how much memory the agent has, and how it grew."""
    since, runs = result["counted_from"], result["inferences"]
    about = (
        f"One agent for {result['seconds'] / 60:.0f} minutes with a real broker and a collector that acknowledges: {runs:,} inferences "
        f"of digits-cnn from a replay, {result['processes']['asked']['inferences']:,} by a second slot that is asked over HTTP, "
        f"{result['windows']:,} windows of each, as short as they could be; drift, files of answers and samples to the broker on. "
        f"Growth is that of a line through what came after the first {since['inferences']:,} inferences and {since['windows']:,} "
        "windows, with its 95 % interval. Own memory is anonymous: heaps and stacks, no pages of files. "
        f"{_other_pages(result)}{place(result)}."
    )
    lines = [
        *section("Memory over a life", about),
        *head("process", "RSS, KB", "PSS, KB", "own, KB", "RSS grew by, KB", "PSS grew by, KB", "own grew by, KB"),
    ]
    for who, found in result["processes"].items():
        kinds = ("rss_kb", "pss_kb", "own_kb")
        grown = (f"{found[kind]['kb']:+.0f} ± {found[kind]['off_by_kb']:.0f}" for kind in kinds)
        lines.append(row(_process(who), *(f"{found['end'][kind]:,}" for kind in kinds), *grown))
    return "\n".join(lines)


def _other_pages(result: dict[str, Any]) -> str:
    """Return what tells PSS from RSS, where the run shows it: that as many pages of files were there all along."""
    came = [abs(found["rss_kb"]["kb"] - found["own_kb"]["kb"]) for found in result["processes"].values()]
    if max(came) >= 1:
        return ""
    return (
        "RSS grew by just as much as own memory, so no pages of files were added. PSS divides each of those among the processes "
        "that have it mapped, so it grows when another program with the same libraries ends: that is the rest of its growth here. "
    )


def _process(who: str) -> str:
    return {"supervisor": "supervisor", "main": "worker", "asked": "worker over HTTP"}[who]


def asked_agent_arm64(result: dict[str, Any]) -> list[tuple[str, ...]]:
    """Return the lines on memory on aarch64."""
    by_what = {}
    for machine, found in result["machines"].items():
        by_what[machine] = (found["supervisor"]["rss_kb"], found["worker"]["rss_kb"] - found["bare"]["rss_kb"])
    lines = []
    for place_, (what, must, aim) in enumerate((("supervisor", 40, 32), ("worker above a bare loop", 8, 4))):
        here, there = (by_what[machine][place_] / 1000 for machine in ("aarch64", "x86_64"))
        said = f"{here:.1f} MB (x86-64: {there:.1f})"
        asked = f"{must} MB ({aim})"
        lines.append((f"agent on aarch64, resident memory, {what}", asked, said, verdict(here, must, aim, most=True)))
    return lines


def agent_arm64(result: dict[str, Any]) -> str:
    """Return the memory of each process on either machine."""
    about = (
        "digits-cnn in ONNX Runtime; Debian's Python 3.11 and the wheels for aarch64 under qemu-user, and the environment of the "
        "benchmarks on x86-64. Of an emulated process the pages are counted that lie within the program's own addresses, each "
        f"of which the program has touched; the emulator's are not. {place(result)}."
    )
    lines = [
        *section("Memory on aarch64", about),
        *head("process", "aarch64: RSS, KB", "own, KB", "x86-64: RSS, KB", "own, KB"),
    ]
    called = {"supervisor": "supervisor", "worker": "worker", "bare": "bare loop over the runtime, same model"}
    for who, name in called.items():
        sides = (result["machines"][machine][who] for machine in ("aarch64", "x86_64"))
        lines.append(row(name, *(f"{side[kind]:,}" for side in sides for kind in ("rss_kb", "own_kb"))))
    return "\n".join(lines)


def asked_agent_idle(result: dict[str, Any]) -> list[tuple[str, ...]]:
    """Return the line on what an agent takes at rest."""
    worst = max(result["percent"].values())
    said = ", ".join(f"{who} {percent:.2f} %" for who, percent in result["percent"].items())
    return [("agent, processor at rest, each process", "at most 1 % of a core", said, verdict(worst, 1.0, most=True))]


def agent_idle(result: dict[str, Any]) -> str:
    """Return what each process of an agent takes at rest."""
    about = (
        f"Over {result['seconds']:.0f} s by /proc/PID/stat: a supervisor with a broker, a collector and a window each {result['window_s']} s, "
        f"and three workers with a model loaded, which wait for a file, a request and a message. {place(result)}."
    )
    lines = [*section("At rest", about), *head("process", "% of a core")]
    return "\n".join([*lines, *(row(who, f"{percent:.2f}") for who, percent in result["percent"].items())])


def asked_agent_killed(result: dict[str, Any]) -> list[tuple[str, ...]]:
    """Return the lines on how soon a killed worker serves again."""
    lines = []
    for network, found in result["networks"].items():
        ratio, seconds = median(found["of_worker_start"]), median(found["again"])
        stands = verdict(ratio, 2.0, most=True)
        aim = "" if stands != "met" else ", and the aim" if seconds <= 1.0 else "; the aim is not"
        said = f"{spread(found['of_worker_start'])} its cold start, {spread(found['again'], ' s')}"
        lines.append(
            (f"agent, worker of {network} killed: serving again", "2x its cold start (1 s)", said, stands + aim)
        )
    return lines


def agent_killed(result: dict[str, Any]) -> str:
    """Return how long starts take, and what follows a kill."""
    about = (
        f"`kill -9` of the worker, and the time to the next answer; {result['rounds']} agents, one after the other, each started "
        "anew. The second kill comes within five minutes of the first, so there is a back-off of a tenth of a second. "
        f"{place(result)}."
    )
    lines = [
        *section("Starts, and a worker that is killed", about),
        *head(
            "network",
            "start of the agent to its first answer, s",
            "of the worker, s",
            "killed: next answer, s",
            "killed again, s",
        ),
    ]
    for network, found in result["networks"].items():
        lines.append(row(network, *(spread(found[name], "") for name in ("start", "worker_start", "again", "third"))))
    return "\n".join(lines)


def asked_agent_http(result: dict[str, Any]) -> list[tuple[str, ...]]:
    """Return the lines on batching and on overload."""
    lines = []
    for network, alone in result["alone"].items():
        best = max(median(gains) for gains in alone["gain"].values())
        served = [one["gain"] for one in result["rows"] if one["network"] == network and one["clients"] >= _WAITING]
        lowest = min(served, key=median)
        stands = verdict(median(lowest), 1.3) if best >= 1.3 else "nothing asked"
        said = f"{spread(lowest)}; the model alone {best:.2f}x"
        lines.append(
            (
                f"agent over HTTP, batching {_CALLED[network]}, {_WAITING} to 256 clients, the least",
                "1.3x where the model alone gains so much",
                said,
                stands,
            )
        )
    statuses = result["flood"]["statuses"]
    said = ", ".join(f"{count:,} answered {status}" for status, count in statuses.items())
    lines.append(
        (
            "agent over HTTP, a flood",
            "429, and it lives",
            said,
            "met" if set(statuses) == {"200", "429"} else "**missed**",
        )
    )
    return lines


def agent_http(result: dict[str, Any]) -> str:
    """Return what the agent answers over HTTP, with and without batching."""
    alone = "; ".join(
        f"{_CALLED[network]} {about['per_s']['1']:,.0f} a second, in batches of 8 {spread(about['gain']['8'])}, of 16 {spread(about['gain']['16'])}"
        for network, about in result["alone"].items()
    )
    about = (
        f"One agent, ONNX Runtime on one thread; the clients are a process of their own on the same two cores. {result['rounds']} "
        f"rounds of {result['seconds']:g} s; with and without batching follow each other directly, and a gain is that of such a pair "
        f"(median and range). The models alone, in the same rounds: {alone}. {place(result)}."
    )
    lines = [
        *section("Over HTTP", about),
        *head(
            "network",
            "clients",
            "p95 ms, one by one",
            f"p95 ms, batches of up to {result['batch']}",
            "answers/s, one by one",
            "in batches",
            "gain",
        ),
    ]
    for one in result["rows"]:
        off, on = one["off"], one["on"]
        p95 = (_ms(side["p95_ms"]) for side in (off, on))
        rates = (f"{side['per_s']['median']:,.0f}" for side in (off, on))
        lines.append(row(_CALLED[one["network"]], one["clients"], *p95, *rates, spread(one["gain"])))
    flood = result["flood"]
    lines += [
        "",
        f"A flood of 256 clients on MiniLM (FP32) with `max_waiting = 8`: of {sum(flood['statuses'].values()):,} requests "
        f"{flood['statuses'].get('429', 0):,} were answered 429 at once; those taken in had a p95 of {flood['p95_ms']['median']:.0f} ms, "
        f"and there were {flood['per_s']['median']:.0f} answers a second.",
    ]
    return "\n".join(lines)


def _ms(found: dict[str, float]) -> str:
    low, mid, high = (f"{found[name]:.{0 if found['low'] >= 100 else 2}f}" for name in ("low", "median", "high"))
    return f"{mid} ({low} to {high})"
