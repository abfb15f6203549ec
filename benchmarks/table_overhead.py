"""The table of what an agent adds to a bare loop."""

from __future__ import annotations

from statistics import median
from typing import Any

from table_rows import head, place, row, section, spread, verdict

MB = 1.024e-3  # of a KiB


def asked(result: dict[str, Any]) -> list[tuple[str, ...]]:
    """Return the lines on what an agent adds to a bare loop."""
    networks = result["networks"]
    cnn, text = networks["digits-cnn"], networks["minilm"]
    added = median(cnn["added_us"])
    share = 100 * median(text["throughput"])
    memory = max(median(network["worker_above_bare_rss_kb"]) for network in networks.values()) * MB
    start = max(median(network["start"]) for network in networks.values())
    return [
        (
            f"agent, added to an inference of {median(cnn['bare_us']):.0f} us (digits-cnn, drift on)",
            "at most 20 us (10 us)",
            spread(cnn["added_us"], " us"),
            verdict(added, 20, 10, most=True),
        ),
        (
            "agent, throughput on MiniLM beside the bare loop",
            "97 % (99 %)",
            spread([100 * ratio for ratio in text["throughput"]], " %"),
            verdict(share, 97, 99),
        ),
        (
            "agent, worker's memory above the bare loop's with the same model (RSS, the worse of two networks)",
            "at most 8 MB (4 MB)",
            f"{memory:.1f} MB",
            verdict(memory, 8, 4, most=True),
        ),
        (
            "agent, start of the process to the first answer, beside the bare loop (the worse of two networks)",
            "at most 2x (1.5x)",
            f"{start:.2f}x",
            verdict(start, 2, 1.5, most=True),
        ),
    ]


def asked_supervisor(results: dict[str, dict[str, Any]]) -> list[tuple[str, ...]]:
    """Return the line on the supervisor's memory, which is judged with a broker: every fleet has one."""
    if not {"agent_memory", "agent_overhead"} <= results.keys():
        return []
    judged = results["agent_memory"]["processes"]["supervisor"]["end"]["rss_kb"] * MB
    networks = results["agent_overhead"]["networks"].values()
    alone = max(max(network["supervisor_rss_kb"]) for network in networks) * MB
    return [
        (
            "agent, supervisor's memory (RSS), with a broker and a collector at the end of a million inferences",
            "at most 40 MB (32 MB)",
            f"{judged:.1f} MB ({alone:.1f} without a broker)",
            verdict(judged, 40, 32, most=True),
        )
    ]


def table(result: dict[str, Any]) -> str:
    """Return what an agent adds to a bare loop, of each network."""
    about = (
        "Two whole processes, one of which is stopped while the other runs: the bare loop over ONNX Runtime, and an agent that "
        "replays the same arrays, with postprocessing and drift; the same model, arrays and threads, the same malloc. Counted "
        f"from outside, in {result['rounds']} rounds of new processes, {result['turns']} turns each; {result['starts']} starts. "
        f"Medians, with the range of the rounds or starts. {place(result)}. Once more at commit 2b07df5, on a host that was "
        "half as fast and busy (a bare inference of digits-cnn took 132 to 211 us): 33 to 38 us added in three runs, where the "
        "code of the first measurement added 39; MiniLM kept 98.5, 99.9 and 100 % of the throughput."
    )
    lines = [
        *section("The agent beside a bare loop", about),
        *head("", *(f"{name}" for name in result["networks"])),
    ]

    def line(title: str, key: str, unit: str, scale: float = 1.0) -> str:
        found = (network[key] for network in result["networks"].values())
        return row(title, *(spread([value * scale for value in values], unit) for values in found))

    return "\n".join(
        [
            *lines,
            line("bare loop, one inference", "bare_us", " us"),
            line("agent adds", "added_us", " us"),
            line("of it on the processor", "added_cpu_us", " us"),
            line("agent's throughput", "throughput", " %", 100),
            line("worker, RSS", "worker_rss_kb", " MB", MB),
            line("above the bare loop's", "worker_above_bare_rss_kb", " MB", MB),
            line("worker, PSS", "worker_pss_kb", " MB", MB),
            line("above the bare loop's", "worker_above_bare_pss_kb", " MB", MB),
            line("supervisor, RSS", "supervisor_rss_kb", " MB", MB),
            line("supervisor, PSS", "supervisor_pss_kb", " MB", MB),
            line("bare loop, start to first answer", "bare_start_s", " s"),
            line("agent, start to first answer", "agent_start_s", " s"),
            line("agent's beside the bare loop's, in pairs", "start", "x"),
        ]
    )
