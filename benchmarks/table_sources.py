"""Tables of networks that others trained, and of the autoencoder on bearings."""

from __future__ import annotations

from statistics import median
from typing import Any

from table_rows import head, place, row, section, spread, verdict


def asked_mlperf_tiny(result: dict[str, Any]) -> list[tuple[str, ...]]:
    """Return a line a network: ours beside the reference INT8 file."""
    lines = []
    for network in result["networks"]:
        name = f"MLPerf Tiny {network['network']}, beside the reference INT8"
        name += f" ({network['best'].removeprefix('edgeglm ')})" if "layer" in network.get("best", "") else ""
        if "refused" in network:
            lines.append(
                (name, "as small (within 1 %), fast, accurate", f"refused: {network['refused']}", "no FP32 file")
            )
            continue
        files = {file["file"]: file for file in network["files"]}
        ours, reference = files[network["best"]], files["reference INT8"]
        smaller = reference["size_bytes"] / ours["size_bytes"]
        faster = median(ours["speedup"]) / median(reference["speedup"])
        share = ours["metric"] == "accuracy"
        sign = 1 if share else -1
        gained = sign * (ours["value"] - reference["value"])
        said = (
            f"{gained * ours['n']:+.0f} of {ours['n']} samples"
            if share
            else f"{ours['metric']} {ours['value']:.2f}, its {reference['value']:.2f}"
        )
        level = gained >= 0 or (
            share and -gained <= 2 * (reference["value"] * (1 - reference["value"]) / ours["n"]) ** 0.5
        )
        fine = smaller >= 1 and faster >= 1 and level
        word = (
            "met"
            if fine and gained >= 0
            else "met but for accuracy, which is level within its error"
            if fine
            else "**missed**"
        )
        lines.append(
            (
                name,
                "as small (within 1 %), fast, accurate",
                f"{smaller:.2f}x smaller, {faster:.2f}x faster, {said}",
                word,
            )
        )
    return lines


def mlperf_tiny(result: dict[str, Any]) -> str:
    """Return the table of the networks of MLPerf Tiny."""
    lines = [
        *section("MLPerf Tiny, TFLite sources", f"{place(result)}."),
        *head("network", "file", "bytes", "faster than FP32 LiteRT", "metric on real input"),
    ]
    for network in result["networks"]:
        for file in network.get("files", []):
            value = f"{file['value']:.1%}" if file["metric"] == "accuracy" else f"{file['value']:.3f}"
            lines.append(
                row(
                    network["network"],
                    file["file"],
                    f"{file['size_bytes']:,}",
                    spread(file["speedup"]),
                    f"{file['metric']} {value} (n = {file['n']})",
                )
            )
    return "\n".join(lines)


ASKED, MISSED = "2.5x smaller, or why not", "**missed**; the notes below say why"


def asked_onnx_sources(result: dict[str, Any]) -> list[tuple[str, ...]]:
    """Return a line a network: the smallest file within its budget that computes in INT8; the weights alone do not count."""
    lines = []
    for network in result["networks"]:
        quantized = [
            f for f in network["files"] if f["scheme"] in ("static-int8", "dynamic-int8") and f["integer_share"]
        ]
        if not quantized:
            tried = ", ".join(f"{f['file']}: {f['value']:.3f}" for f in network["files"] if f["scheme"] != "none")
            lines.append((f"{network['network']}: INT8", ASKED, f"none within its budget ({tried})", MISSED))
            continue
        small = min(quantized, key=lambda file: file["size_bytes"])
        said = f"{small['size_ratio']:.2f}x, {small['integer_share']:.0%} of its weights INT8, {network['metric']} {small['value']:.3f}"
        word = "met" if small["size_ratio"] >= 2.5 else MISSED
        lines.append((f"{network['network']}: INT8 ({small['scheme']})", ASKED, said, word))
    return lines


def onnx_sources(result: dict[str, Any]) -> str:
    """Return the table of the ONNX sources."""
    lines = [
        *section("Networks of others as ONNX sources", f"{place(result)}."),
        *head("network", "file", "bytes", "smaller", "faster", "weights INT8", "metric"),
    ]
    for network in result["networks"]:
        for file in network["files"]:
            mark = " (chosen)" if file["chosen"] else ""
            share = "" if file["integer_share"] is None else f"{file['integer_share']:.0%}"
            what = f"{network['metric']} {file['value']:.4f}, original {network['original']:.4f} (n = {network['n']})"
            lines.append(
                row(
                    network["network"],
                    f"{file['file']}{mark}",
                    f"{file['size_bytes']:,}",
                    f"{file['size_ratio']:.2f}x",
                    spread(file["speedup"]),
                    share,
                    what,
                )
            )
    return "\n".join(lines)


def asked_bearing(result: dict[str, Any]) -> list[tuple[str, ...]]:
    """Return one line: the most that INT8 costs the AUC."""
    worst = max(result["distilled"] - file["auc"] for file in result["files"])
    low, high = (max((file["drop"]["ci95"][end] for file in result["files"]), key=abs) for end in (0, 1))
    said = f"{worst:+.4f} [{low:+.3f} to {high:+.3f}] (AUC {result['distilled']:.4f} before it, original {result['original']:.4f})"
    return [
        (
            "LSTM autoencoder on bearings, AUC lost by INT8",
            "at most .005 (0)",
            said,
            verdict(worst, 0.005, 0, most=True),
        )
    ]


def bearing(result: dict[str, Any]) -> str:
    """Return the table of the autoencoder on bearings."""
    lines = [
        *section("LSTM autoencoder on bearing vibration (CWRU)", f"{result['n']} windows. {place(result)}."),
        *head("file", "bytes", "smaller", "faster than FP32 ORT, 1 thread", "AUC", "lost to the original [95 %]"),
    ]
    lines += [
        row("original", "", "1x", "1x", f"{result['original']:.5f}", ""),
        row("pruned, distilled", "", "", "", f"{result['distilled']:.5f}", ""),
    ]
    for file in result["files"]:
        lost = "{:+.4f} [{:+.4f} to {:+.4f}]".format(file["drop"]["value"], *file["drop"]["ci95"])
        faster = "" if file["speedup"] is None else f"{file['speedup']:.2f}x"
        lines.append(
            row(
                file["file"],
                f"{file['size_bytes']:,}",
                f"{file['size_ratio']:.2f}x",
                faster,
                f"{file['auc']:.5f}",
                lost,
            )
        )
    return "\n".join(lines)
