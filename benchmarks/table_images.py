"""Tables of networks of our own training: ResNet-56, the shapes, and what edgeglm itself costs."""

from __future__ import annotations

from statistics import median
from typing import Any

from table_rows import head, place, row, section, spread, verdict


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


def resnet56(result: dict[str, Any]) -> str:
    """Return the table of ResNet-56."""
    base = result["baseline"]
    lines = [
        *section(
            "ResNet-56 on CIFAR-10",
            f"{result['macs_ratio']:.2f}x fewer MACs, {result['params_ratio']:.2f}x fewer parameters. {place(result)}.",
        ),
        *head(
            "file",
            "bytes",
            "smaller",
            "faster, x86-64, 1 thread",
            "2 threads",
            "accuracy (n = 500)",
            "net loss of 500 [95 %]",
            "boards",
        ),
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


def shapes(result: dict[str, Any]) -> str:
    """Return one table a shape."""
    parts = ["### Shapes, beside the plain INT8 conversions of the unpruned network", "", f"{place(result)}."]
    for shape in result["shapes"]:
        parts += [
            "",
            f"**{shape['shape']}** (manifest's first choice: `{shape['preferred']}`)",
            "",
            *head(
                "file",
                "bytes",
                "faster than FP32 ORT, x86-64, 1 thread",
                f"accuracy (n = {shape['files'][0]['n']})",
                "boards",
            ),
        ]
        for file in shape["files"]:
            parts.append(
                row(file["file"], f"{file['size_bytes']:,}", spread(file["speedup"]), f"{file['accuracy']:.2%}", "")
            )
    return "\n".join(parts)


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


def own_cost(result: dict[str, Any]) -> str:
    """Return what edgeglm itself costs."""
    seconds = {name: median(values) for name, values in result["seconds"].items()}
    lines = [
        *section("Our own cost", f"{place(result)}."),
        *head("run", "seconds, x86-64 (median)", "against the script", "boards"),
        row("the library calls in one script", f"{seconds['script']:.1f}", "1x", ""),
        row("`edgeglm compress`, empty cache", f"{seconds['cold']:.1f}", spread(result["cold_ratio"]), ""),
        row("`edgeglm compress`, cached", f"{seconds['cached']:.1f}", spread(result["cached_ratio"]), ""),
        row('`python -c "import typer, rich"`', f"{result['help_seconds']['bare']:.3f}", "1x", ""),
        row("`edgeglm --help`", f"{result['help_seconds']['help']:.3f}", spread(result["help_ratio"]), ""),
    ]
    return "\n".join(lines)
