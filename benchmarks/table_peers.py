"""Tables of our files beside those that the libraries make by themselves: networks of our own, and all peers in one."""

from __future__ import annotations

from statistics import median
from typing import Any

from table_rows import head, place, row, spread, standing

REFERENCE, PEER, OURS = "MLPerf Tiny INT8", "ai-edge-quantizer static", "edgeglm tflite static-int8"
TITLES = {"resnet8": "ResNet-8 on CIFAR-10", "dscnn": "DS-CNN on spoken digits"}


def asked_own_networks(result: dict[str, Any]) -> list[tuple[str, ...]]:
    """Return a line a network: our TFLite file beside the plain conversion, and beside the file of MLPerf Tiny."""
    lines = []
    for network in result["networks"]:
        files = {file["file"]: file for file in network["files"]}
        pair = next(pair for pair in network["beside"] if pair["peer"] == PEER)
        lost = round(pair["lost"]["value"] * pair["lost"]["n"])
        said = (
            f"{pair['smaller']:.2f}x smaller, {median(pair['faster']):.2f}x faster, {-lost:+d} of {network['n']} right"
        )
        word = standing(pair)
        if reference := files.get(REFERENCE):
            ours = files[OURS]
            smaller = reference["size_bytes"] / ours["size_bytes"]
            faster = [its / own for its, own in zip(reference["times"], ours["times"], strict=True)]
            said += f"; MLPerf Tiny's file: {smaller:.2f}x smaller, {median(faster):.2f}x faster"
            if smaller < 1 or max(faster) < 1:
                word = f"**behind** {REFERENCE}"
        title = f"{TITLES[network['network']]}, trained here: INT8 beside the reference INT8"
        lines.append(
            (
                title,
                "as small (within 1 %), fast, accurate",
                said,
                "**missed**" if "behind" in word else f"met ({word})",
            )
        )
    return lines


def own_networks(result: dict[str, Any]) -> str:
    """Return a table a network."""
    parts = ["### ResNet-8 and DS-CNN of our own, INT8 of the same network", "", f"{place(result)}."]
    for network in result["networks"]:
        training = network["training"]
        parts += [
            "",
            f"**{TITLES[network['network']]}**, trained in {training['minutes']} minutes (seed {training['seed']}; "
            f"{training['notes']}). `auto` takes {network['auto']['chosen'].removeprefix('edgeglm ')} "
            f"({network['auto']['minutes']:.1f} minutes).",
            "",
            *head("file", "bytes", "faster than FP32 ORT, 1 thread", "accuracy", "lost to FP32 [95 %]", "minutes"),
        ]
        for file in network["files"]:
            lost = file["lost"]
            parts.append(
                row(
                    file["file"],
                    f"{file['size_bytes']:,}",
                    spread(file["speedup"]),
                    "" if lost is None else f"{file['accuracy']:.2%} (n = {network['n']})",
                    "" if lost is None else points(lost),
                    "" if file["minutes"] is None else f"{file['minutes']:.1f}",
                )
            )
    return "\n".join(parts)


def asked_peers(results: dict[str, dict[str, Any]]) -> list[tuple[str, ...]]:
    """Return one line: in how many comparisons ours is best, level or behind."""
    words = [standing(pair).strip("*").split(":")[0].split("*")[0] for _, _, pair in pairs(results)]
    if not words:
        return []
    counts = ", ".join(f"{words.count(word)} {word}" for word in ("best", "level", "behind") if word in words)
    timed = [(pair["minutes_alone"], pair["minutes"][1]) for _, _, pair in pairs(results)]
    quicker = sum(None not in both and both[0] <= both[1] for both in timed)
    return [
        (
            "beside plain ORT, nncf, Olive and ai-edge-quantizer",
            "best or level in every row",
            f"in size, latency and quality, of {len(words)} rows {counts}; in minutes for one file, {quicker} best",
            "**missed**" if "behind" in words else "met but for minutes" if quicker < len(words) else "met",
        )
    ]


def peers(results: dict[str, dict[str, Any]]) -> str:
    """Return every peer's file beside ours of the same format."""
    lines = [
        "### Beside the libraries alone",
        "",
        "Each file beside ours of the same format, from the same runs: how many times smaller and faster ours is, by how much it",
        "answers better (accuracy in points, or cosine to FP32; paired, with its 95 % interval), and minutes of work.",
        "",
        *head(
            *("network", "peer", "ours", "smaller", "faster", "answers better by [95 %]"),
            *("minutes: peer", "ours, this file alone", "ours, all formats", ""),
        ),
    ]
    for network, metric, pair in pairs(results):
        lines.append(
            row(
                network,
                pair["peer"],
                pair["ours"].removeprefix("edgeglm "),
                f"{pair['smaller']:.2f}x",
                spread(pair["faster"]),
                gained(pair["lost"], metric),
                *("" if minutes is None else f"{minutes:.2f}" for minutes in minutes_of(pair)),
                standing(pair),
            )
        )
    lines += [
        "",
        "A peer's minutes are those of the library's calls for one file, of an ONNX file that lies there (MiniLM) or with the export",
        "from torch (the others, and ai-edge-quantizer). Ours are whole runs, for this file alone and for all formats at once: the",
        "original and the files are also judged on the evaluation data, timed in turns, and reported. *Level*:",
        f"bytes within 1 %, times whose range of ratios holds 1, answers whose interval holds 0.{alone_from(results)}",
    ]
    return "\n".join(lines)


def pairs(results: dict[str, dict[str, Any]]) -> list[tuple[str, str, dict[str, Any]]]:
    """Return network, metric and comparison of every peer's file."""
    found = [("MiniLM", "cosine", pair) for pair in results.get("minilm", {}).get("beside", [])]
    for network in results.get("own_networks", {}).get("networks", []):
        found += [(TITLES[network["network"]].split(" on ")[0], "accuracy", pair) for pair in network["beside"]]
    return found


def minutes_of(pair: dict[str, Any]) -> tuple[float | None, float | None, float | None]:
    """Return the minutes of the peer's file, of a run of ours for one file, and of ours for all formats."""
    whole, its = pair["minutes"]
    return its, pair["minutes_alone"], whole


def alone_from(results: dict[str, dict[str, Any]]) -> str:
    """Return when runs for one file were measured, where that was by themselves."""
    said = [result["alone"] for _, result in sorted(results.items()) if "date" in result.get("alone", {})]
    moments = dict.fromkeys(f"{alone['date']}, commit {alone['commit']}" for alone in said)
    return f" Runs for this file alone: {'; '.join(moments)}." if moments else ""


def points(lost: dict[str, Any]) -> str:
    """Return a loss of accuracy in points."""
    low, high = lost["ci95"]
    return f"{100 * lost['value']:+.2f} [{100 * low:+.2f} to {100 * high:+.2f}]"


def gained(lost: dict[str, Any], metric: str) -> str:
    """Return what ours gained, in points of accuracy or as a cosine."""
    low, high = lost["ci95"]
    turned = {"value": 0.0 - lost["value"], "ci95": (0.0 - high, 0.0 - low)}
    if metric == "accuracy":
        return points(turned)
    return f"{turned['value']:+.4f} [{turned['ci95'][0]:+.4f} to {turned['ci95'][1]:+.4f}]"
