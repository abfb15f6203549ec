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
    makers = {"resnet56": resnet56, "shapes": shapes, "own_cost": own_cost}
    return "\n".join(f"{maker(results[name])}\n" for name, maker in makers.items() if name in results)


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
