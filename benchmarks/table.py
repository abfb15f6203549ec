"""Write the tables of docs/benchmarks.md from the JSON files in results/; `--check` only compares."""

from __future__ import annotations

import json
import sys
from statistics import median
from typing import Any

from common import HERE, RESULTS

DOC = HERE.parent / "docs" / "benchmarks.md"
BEGIN, END = "<!-- tables: begin -->", "<!-- tables: end -->"


def main() -> None:
    """Put the tables between the marks of the document."""
    results = {path.stem: json.loads(path.read_text()) for path in sorted(RESULTS.glob("*.json"))}
    text = DOC.read_text()
    head, _, rest = text.partition(BEGIN)
    _, _, tail = rest.partition(END)
    made = f"{head}{BEGIN}\n\n{tables(results)}\n{END}{tail}"
    if "--check" in sys.argv:
        sys.exit(0 if made == text else f"{DOC.name} is not what benchmarks/results gives: run benchmarks/table.py")
    DOC.write_text(made)


def tables(results: dict[str, dict[str, Any]]) -> str:
    """Return all tables as Markdown."""
    makers = {
        "resnet56": resnet56,
        "shapes": shapes,
        "minilm": minilm,
        "minilm_pareto": minilm_pareto,
        "mlperf_tiny": mlperf_tiny,
        "onnx_sources": onnx_sources,
        "bearing": bearing,
        "own_cost": own_cost,
    }
    parts = [asked(results)] + [maker(results[name]) for name, maker in makers.items() if name in results]
    return "\n".join(f"{part}\n" for part in parts)


def asked(results: dict[str, dict[str, Any]]) -> str:
    """Return what is asked of each benchmark, what was measured, and whether that suffices."""
    lines = ["### What is asked, and what came out", "", row("benchmark", "must (strive for)", "measured", "")]
    lines.append(row(*["---"] * 4))
    asking = (
        *(asked_resnet56, asked_shapes, asked_minilm, asked_minilm_pareto, asked_mlperf_tiny, asked_onnx_sources),
        *(asked_bearing, asked_own_cost),
    )
    for maker in asking:
        name = maker.__name__.removeprefix("asked_")
        lines += [row(*line) for line in maker(results[name])] if name in results else []
    return "\n".join(lines)


def verdict(value: float, must: float, strive: float | None = None, *, most: bool = False) -> str:
    """Return how a figure stands to what is asked; ``most``: the bar is an upper one."""

    def reached(bar: float) -> bool:
        return value <= bar if most else value >= bar

    if not reached(must):
        return "**missed**"
    return "met" + ("" if strive is None else ", and the aim" if reached(strive) else "; the aim is not")


def asked_resnet56(result: dict[str, Any]) -> list[tuple[str, ...]]:
    """Return the lines on ResNet-56."""
    onnx = next(side for side in result["artifacts"] if side["path"].endswith(".onnx"))
    best = result["artifacts"][0]
    speedup = best["speedup_1_thread"]
    losses = [round(side["drop"]["value"] * side["drop"]["n"]) for side in result["artifacts"]]
    return [
        ("ResNet-56, fewer MACs", "2.13x", f"{result['macs_ratio']:.2f}x", verdict(result["macs_ratio"], 2.13)),
        ("ResNet-56, ONNX smaller", "7x (8x)", f"{onnx['size_ratio']:.2f}x", verdict(onnx["size_ratio"], 7, 8)),
        (
            f"ResNet-56, best artifact (`{best['path']}`) smaller",
            "6x (8x)",
            f"{best['size_ratio']:.2f}x",
            verdict(best["size_ratio"], 6, 8),
        ),
        ("and faster", "3.3x (5x)", spread(speedup), verdict(median(speedup), 3.3, 5)),
        (
            "ResNet-56, net loss of the 500 images",
            "at most 5 (none)",
            " and ".join(f"{loss:+d}" for loss in losses),
            verdict(max(losses), 5, 0, most=True),
        ),
    ]


def asked_shapes(result: dict[str, Any]) -> list[tuple[str, ...]]:
    """Return a line a shape: the manifest's first choice beside the better of the two plain conversions."""
    lines = []
    for shape in result["shapes"]:
        names = {"onnx": "onnxruntime quantize_static", "tflite": "ai-edge-quantizer static"}
        files = {file["file"]: file for file in shape["files"]}
        peers = [files[name] for name in names.values()]
        scheme = shape["preferred"].split(".")[1] if shape["preferred"].count(".") > 1 else "static-int8"
        chosen = files[f"edgeglm {shape['preferred'].rsplit('.', 1)[1]} {scheme}"]
        smaller = min(peer["size_bytes"] for peer in peers) / chosen["size_bytes"]
        faster = median(chosen["speedup"]) / max(median(peer["speedup"]) for peer in peers)
        lost = round((files["onnxruntime fp32"]["accuracy"] - chosen["accuracy"]) * chosen["n"])
        fine = smaller > 1 and faster > 1
        lines.append(
            (
                f"{shape['shape']}: beside the better plain INT8 conversion",
                "smaller, faster, no loss",
                f"{smaller:.2f}x smaller, {faster:.2f}x faster, {lost:+d} of {chosen['n']} images lost",
                "met" if fine and lost <= 0 else f"met but for {lost} of {chosen['n']}" if fine else "**missed**",
            )
        )
    return lines


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


def asked_mlperf_tiny(result: dict[str, Any]) -> list[tuple[str, ...]]:
    """Return a line a network: ours beside the reference INT8 file."""
    lines = []
    for network in result["networks"]:
        name = f"MLPerf Tiny {network['network']}, beside the reference INT8"
        if "refused" in network:
            lines.append((name, "as small, fast, accurate", f"refused: {network['refused']}", "no FP32 file"))
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
        word = "met" if fine and gained >= 0 else "met; accuracy level within its error" if fine else "**missed**"
        lines.append((name, "as small, fast, accurate", f"{smaller:.2f}x smaller, {faster:.2f}x faster, {said}", word))
    return lines


def asked_onnx_sources(result: dict[str, Any]) -> list[tuple[str, ...]]:
    """Return a line a network: the smallest file that answers nearly as the original does."""
    lines = []
    for network in result["networks"]:
        quantized = [file for file in network["files"] if file["scheme"] != "none" and file["integer_share"]]
        if not quantized:
            tried = ", ".join(f"{f['file']}: {f['value']:.3f}" for f in network["files"] if f["scheme"] != "none")
            lines.append(
                (f"{network['network']}: INT8", "2.5x smaller", f"none within its budget ({tried})", "**missed**")
            )
            continue
        small = min(quantized, key=lambda file: file["size_bytes"])
        said = f"{small['size_ratio']:.2f}x, {small['integer_share']:.0%} of its weights INT8, {network['metric']} {small['value']:.3f}"
        lines.append(
            (f"{network['network']}: INT8 ({small['scheme']})", "2.5x smaller", said, verdict(small["size_ratio"], 2.5))
        )
    return lines


def asked_minilm_pareto(result: dict[str, Any]) -> list[tuple[str, ...]]:
    """Return one line: three points are there, and whether one of them is 8x faster at .95."""
    points = result["points"]
    said = "; ".join(f"{median(point['speedup']):.1f}x at {point['cosine']:.3f}" for point in points)
    aim = any(median(point["speedup"]) >= 8 and point["cosine"] >= 0.95 for point in points)
    word = "**missed**" if len(points) < 3 else "met, and the aim" if aim else "met; the aim is not"
    return [("MiniLM made shallower and distilled", "three points (8x faster at .95)", said, word)]


def asked_bearing(result: dict[str, Any]) -> list[tuple[str, ...]]:
    """Return one line: the most that INT8 costs the AUC."""
    worst = max(result["distilled"] - file["auc"] for file in result["files"])
    said = f"{worst:+.4f} (AUC {result['distilled']:.4f} before it, original {result['original']:.4f})"
    return [
        (
            "LSTM autoencoder on bearings, AUC lost by INT8",
            "at most .005 (0)",
            said,
            verdict(worst, 0.005, 0, most=True),
        )
    ]


def asked_own_cost(result: dict[str, Any]) -> list[tuple[str, ...]]:
    """Return the lines on what edgeglm itself costs."""
    return [
        (
            f"own cost, {name} against the script",
            "at most 1.10x (1.03x)",
            spread(result[key]),
            verdict(median(result[key]), 1.10, 1.03, most=True),
        )
        for name, key in (("cached run", "cached_ratio"), ("run with an empty cache", "cold_ratio"))
    ] + [
        (
            "`edgeglm --help` against a bare import",
            "at most 3x",
            spread(result["help_ratio"]),
            verdict(median(result["help_ratio"]), 3, most=True),
        )
    ]


def row(*cells: object) -> str:
    """Return one row."""
    return "| " + " | ".join(str(cell) for cell in cells) + " |"


def spread(values: list[float], unit: str = "x") -> str:
    """Return median and range."""
    return f"{median(values):.2f}{unit} ({min(values):.2f} to {max(values):.2f})"


def place(result: dict[str, Any]) -> str:
    """Return what measured."""
    host = result["host"]
    int8 = [name for name in host["features"] if "vnni" in name or name in {"amx_int8", "i8mm", "asimddp"}]
    return f"{host['machine']}, {host['cpu']}, {', '.join(int8)}; {result['date']}, commit {result['commit']}"


def resnet56(result: dict[str, Any]) -> str:
    """Return the table of ResNet-56."""
    base = result["baseline"]
    lines = [
        "### ResNet-56 on CIFAR-10",
        "",
        f"{result['macs_ratio']:.2f}x fewer MACs, {result['params_ratio']:.2f}x fewer parameters. {place(result)}.",
        "",
        row(
            "file",
            "bytes",
            "smaller",
            "faster, x86-64, 1 thread",
            "2 threads",
            "accuracy (n = 500)",
            "net loss of 500 [95 %]",
            "boards",
        ),
        row(*["---"] * 8),
        row("FP32 ONNX, unpruned", f"{base['size_bytes']:,}", "1x", "1x", "1x", f"{base['accuracy']:.1%}", "", ""),
    ]
    for side in result["artifacts"]:
        drop = side["drop"]
        lines.append(
            row(
                side["path"],
                f"{side['size_bytes']:,}",
                f"{side['size_ratio']:.2f}x",
                spread(side["speedup_1_thread"]),
                f"{side['speedup_2_threads']['threads=2']:.2f}x",
                f"{side['accuracy']['value']:.1%}",
                f"{round(drop['value'] * drop['n']):+d} [{drop['ci95'][0] * drop['n']:+.1f} to {drop['ci95'][1] * drop['n']:+.1f}]",
                "",
            )
        )
    return "\n".join(lines)


def shapes(result: dict[str, Any]) -> str:
    """Return one table a shape."""
    parts = ["### Shapes, beside the plain INT8 conversions of the unpruned network", "", f"{place(result)}."]
    for shape in result["shapes"]:
        parts += [
            "",
            f"**{shape['shape']}** (manifest's first choice: `{shape['preferred']}`)",
            "",
            row(
                "file",
                "bytes",
                "faster than FP32 ORT, x86-64, 1 thread",
                f"accuracy (n = {shape['files'][0]['n']})",
                "boards",
            ),
            row(*["---"] * 5),
        ]
        for file in shape["files"]:
            parts.append(
                row(file["file"], f"{file['size_bytes']:,}", spread(file["speedup"]), f"{file['accuracy']:.2%}", "")
            )
    return "\n".join(parts)


def minilm(result: dict[str, Any]) -> str:
    """Return the table of MiniLM."""
    lengths = result["mixed_lengths"]
    lines = [
        "### all-MiniLM-L6-v2 at sequence 64",
        "",
        f"{result['sentences']} sentences, one at a time. {place(result)}.",
        "",
        row(
            "file",
            "bytes",
            "faster, 1 thread",
            "2 threads",
            "mean cosine (least)",
            "same neighbour",
            "peak memory, lower",
            "minutes",
        ),
        row(*["---"] * 8),
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


def mlperf_tiny(result: dict[str, Any]) -> str:
    """Return the table of the networks of MLPerf Tiny."""
    lines = ["### MLPerf Tiny, TFLite sources", "", f"{place(result)}.", ""]
    lines += [row("network", "file", "bytes", "faster than FP32 LiteRT", "metric on real input"), row(*["---"] * 5)]
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


def onnx_sources(result: dict[str, Any]) -> str:
    """Return the table of the ONNX sources."""
    lines = ["### Networks of others as ONNX sources", "", f"{place(result)}.", ""]
    lines += [row("network", "file", "bytes", "smaller", "faster", "weights INT8", "metric"), row(*["---"] * 7)]
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


def minilm_pareto(result: dict[str, Any]) -> str:
    """Return the table of MiniLM made shallower."""
    lines = [
        "### all-MiniLM-L6-v2, fewer layers",
        "",
        f"Distilled for {result['epochs']} epochs, LiteRT dynamic INT8. {place(result)}.",
        "",
        row(
            "layers",
            "bytes",
            "faster, 1 thread",
            "mean cosine before training",
            "after, in INT8",
            "same neighbour",
            "minutes of training",
        ),
        row(*["---"] * 7),
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


def bearing(result: dict[str, Any]) -> str:
    """Return the table of the autoencoder on bearings."""
    lines = ["### LSTM autoencoder on bearing vibration (CWRU)", "", f"{result['n']} windows. {place(result)}.", ""]
    lines += [row("file", "bytes", "smaller", "AUC"), row(*["---"] * 4)]
    lines += [
        row("original", "", "1x", f"{result['original']:.5f}"),
        row("pruned, distilled", "", "", f"{result['distilled']:.5f}"),
    ]
    for file in result["files"]:
        lines.append(row(file["file"], f"{file['size_bytes']:,}", f"{file['size_ratio']:.2f}x", f"{file['auc']:.5f}"))
    return "\n".join(lines)


def own_cost(result: dict[str, Any]) -> str:
    """Return what edgeglm itself costs."""
    seconds = {name: median(values) for name, values in result["seconds"].items()}
    lines = [
        "### Our own cost",
        "",
        f"{place(result)}.",
        "",
        row("run", "seconds, x86-64 (median)", "against the script", "boards"),
        row(*["---"] * 4),
        row("the library calls in one script", f"{seconds['script']:.1f}", "1x", ""),
        row("`edgeglm compress`, empty cache", f"{seconds['cold']:.1f}", spread(result["cold_ratio"]), ""),
        row("`edgeglm compress`, cached", f"{seconds['cached']:.1f}", spread(result["cached_ratio"]), ""),
        row('`python -c "import typer, rich"`', f"{result['help_seconds']['bare']:.3f}", "1x", ""),
        row("`edgeglm --help`", f"{result['help_seconds']['help']:.3f}", spread(result["help_ratio"]), ""),
    ]
    return "\n".join(lines)


if __name__ == "__main__":
    main()
