"""Tables of all-MiniLM-L6-v2."""

from __future__ import annotations

from statistics import median
from typing import Any

from table_rows import head, place, row, section, spread, verdict

MINILM_PEERS = ("onnxruntime", "ai-edge-quantizer", "nncf", "Olive")


def asked_minilm(result: dict[str, Any]) -> list[tuple[str, ...]]:
    """Return the lines on MiniLM: the fastest artifact of enough fidelity, and single figures."""
    files = {file["file"]: file for file in result["files"]}
    ours = [file for file in result["files"] if file["file"].startswith("edgeglm ")]
    plain = [file for file in ours if "small" not in file["file"]]
    others = [f for f in result["files"] if f["file"].startswith(MINILM_PEERS) and "fp32" not in f["file"]]
    base = files["onnxruntime fp32"]
    close = [file for file in plain if file["cosine"] >= 0.995]
    best = max(close or plain, key=lambda file: median(file["speedup_1"]))
    rival = max((f for f in others if f["cosine"] >= 0.995), key=lambda f: median(f["speedup_1"]), default=None)
    onnx = files["edgeglm onnx dynamic-int8"]
    smaller, lighter = base["size_bytes"] / best["size_bytes"], median(best["rss_ratio"])
    two = max((f for f in plain if f["cosine"] >= 0.99), key=lambda f: median(f["speedup_2"]))
    lines = [
        (
            f"MiniLM, best artifact ({best['file']})",
            "3.7x faster",
            spread(best["speedup_1"]),
            verdict(median(best["speedup_1"]), 3.7),
        ),
        ("and smaller", "3.8x", f"{smaller:.2f}x", verdict(smaller, 3.8)),
        ("and its mean cosine", ".995", f"{best['cosine']:.4f}", verdict(best["cosine"], 0.995)),
        ("and its peak memory", "2.5x lower (3.8x)", spread(best["rss_ratio"]), verdict(lighter, 2.5, 3.8)),
        ("MiniLM in ONNX, mean cosine", ".993", f"{onnx['cosine']:.4f}", verdict(onnx["cosine"], 0.993)),
        (
            f"MiniLM on 2 threads ({two['file']})",
            "3x at .99 (4x)",
            spread(two["speedup_2"]),
            verdict(median(two["speedup_2"]), 3, 4),
        ),
    ]
    if rival is not None:
        ahead = median(best["speedup_1"]) / median(rival["speedup_1"])
        lines.append(
            (
                f"beside the best single peer of a cosine of .995 ({rival['file']})",
                "no peer faster (1.25x)",
                f"{ahead:.2f}x",
                verdict(ahead, 1, 1.25),
            )
        )
    if olive := files.get("Olive OnnxDynamicQuantization"):
        level = median(onnx["speedup_1"]) / median(olive["speedup_1"])
        lines.append(("MiniLM in ONNX beside Olive", "within 5 %", f"{level:.2f}x its speed", verdict(level, 0.95)))
    small = [file for file in ours if "small" in file["file"]]
    if small:
        least = min(small, key=lambda file: file["size_bytes"])
        ratio = base["size_bytes"] / least["size_bytes"]
        lines += [
            (f"minilm-small ({least['file']}), smaller", "5.5x (6x)", f"{ratio:.2f}x", verdict(ratio, 5.5, 6)),
            ("and faster", "3.4x (4x)", spread(least["speedup_1"]), verdict(median(least["speedup_1"]), 3.4, 4)),
            ("and its mean cosine", ".985", f"{least['cosine']:.4f}", verdict(least["cosine"], 0.985)),
        ]
    lengths = result["mixed_lengths"]
    name, faster = max(lengths["faster"].items(), key=lambda item: median(item[1]))
    what = (
        f"MiniLM, sentences of {lengths['mean_tokens']:.0f} tokens in the mean: buckets beside one signature ({name})"
    )
    return [*lines, (what, "1.5x (2x)", spread(faster), verdict(median(faster), 1.5, 2))]


def minilm(result: dict[str, Any]) -> str:
    """Return the table of MiniLM."""
    lengths = result["mixed_lengths"]
    lines = [
        *section(
            "all-MiniLM-L6-v2 at sequence 64", f"{result['sentences']} sentences, one at a time. {place(result)}."
        ),
        *head(
            "file",
            "bytes",
            "faster, 1 thread",
            "2 threads",
            "mean cosine (least)",
            "same neighbour",
            "peak memory, lower",
            "minutes",
        ),
    ]
    for file in result["files"]:
        minutes = file["minutes"]
        lines.append(
            row(
                file["file"],
                f"{file['size_bytes']:,}",
                spread(file["speedup_1"]),
                spread(file["speedup_2"]),
                f"{file['cosine']:.4f} ({file['cosine_min']:.3f})",
                f"{file['neighbour_agreement_1']:.1%}",
                f"{median(file['rss_ratio']):.2f}x",
                "" if minutes is None else f"{minutes:.1f}",
            )
        )
    cuts = ", ".join(map(str, lengths["buckets"]))
    said = "; ".join(f"{name} {spread(values)}" for name, values in lengths["faster"].items())
    lines += [
        "",
        f"Sequence buckets {cuts} on {lengths['sentences']} sentences of {lengths['mean_tokens']:.1f} tokens in the mean, beside one padded signature: {said}.",
    ]
    return "\n".join(lines)


def asked_minilm_pareto(result: dict[str, Any]) -> list[tuple[str, ...]]:
    """Return one line: three points are there, and whether one of them is 8x faster at .95."""
    points = result["points"]
    said = "; ".join(f"{median(point['speedup']):.1f}x at {point['cosine']:.3f}" for point in points)
    aim = any(median(point["speedup"]) >= 8 and point["cosine"] >= 0.95 for point in points)
    word = "**missed**" if len(points) < 3 else "met, and the aim" if aim else "met; the aim is not"
    return [("MiniLM made shallower and distilled", "three points (8x faster at .95)", said, word)]


def minilm_pareto(result: dict[str, Any]) -> str:
    """Return the table of MiniLM made shallower."""
    lines = [
        *section(
            "all-MiniLM-L6-v2, fewer layers",
            f"Distilled for {result['epochs']} epochs, LiteRT dynamic INT8. {place(result)}.",
        ),
        *head(
            "layers",
            "bytes",
            "faster, 1 thread",
            "mean cosine before training",
            "after, in INT8",
            "same neighbour",
            "minutes of training",
        ),
    ]
    lines += [
        row(
            point["point"],
            f"{point['size_bytes']:,}",
            spread(point["speedup"]),
            f"{point['cosine_after_dropping']:.3f}",
            f"{point['cosine']:.4f}",
            f"{point['neighbour_agreement_1']:.1%}",
            f"{point['training_minutes']:.0f} ({point['device']})",
        )
        for point in result["points"]
    ]
    return "\n".join(lines)
