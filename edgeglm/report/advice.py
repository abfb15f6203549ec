"""What to do about a warning, in a sentence: what edgeglm warns of is known, and so is how to mend it."""

from __future__ import annotations

import re

from edgeglm.report.markup import Markup, element
from edgeglm.report.typesetting import prose, small

_ADVICE: list[tuple[str, str]] = [  # what a warning says -> what to do; the first that fits
    (r"weights still float32 after", "Fine for a few small layers; else choose a scheme that takes them."),
    (
        r"products? of activations",
        "They have no weights to make smaller. Where attention takes most of the time, compare with another format.",
    ),
    (
        r"runs? in float in (ONNX Runtime|OpenVINO)",
        "They keep the float speed. Where one of them is large, try another scheme or format for the whole network.",
    ),
    (r"XNNPACK takes over nothing", "Expect no speed from this file here: export with static-int8, or use ONNX."),
    (r"XNNPACK runs the graph in \d+ pieces", "Replace the operators between the pieces, or use the ONNX file."),
    (r"XNNPACK leaves", "Compare with the ONNX file before you choose this one."),
    (r"7-bit weights", "Nothing on this machine; judge the accuracy where it will run, on a CPU with VNNI or on ARM."),
    (r"dynamic-int8 (makes|suits)", "Write `quantize: static-int8` for a convolutional network."),
    (
        r"its outputs differ from",
        "Leave sensitive layers in float with `ignore`, or calibrate on more data.",
    ),
    (
        r"too many false alarms",
        "Write the file's own `threshold` as `limit`, and run again: quantized files score otherwise.",
    ),
    (r"[Nn]o smaller than the baseline", "Leave this file out, or prune more before it is made."),
    (
        r"[Nn]o faster than the baseline|Quantizing made it no faster",
        "Where speed is the aim, ship another file of this run; where size is, this one may still serve.",
    ),
    (r"removed parameters, but the network is no faster", "Prune in larger units (`round_to: 16`), or prune more."),
    (r"no better than|chance", "Mend this first: nothing can be lost by a model that knows nothing."),
    (r"probabilities", "Remove one of the two softmaxes."),
    (r"has fewer than \d+ samples of", "Collect more samples of them, or read their figures with care."),
    (r"the data no sample of|no sample of", "Add samples of these classes to the evaluation split."),
    (r"also in|found twice|left out of training", "Nothing: they were taken out. Look why they are there twice."),
    (r"images are decoded each time", "Nothing, if the time is right; else make the images smaller on disk."),
    (r"ignored \(", "Nothing, if those files are no samples."),
]


def what_to_do(warning: str) -> str:
    """Return a sentence on what to do about a warning; empty where none is known."""
    return next((advice for pattern, advice in _ADVICE if re.search(pattern, warning)), "")


def with_advice(warning: str) -> Markup:
    """Return a warning as an item of a list, with what to do about it below."""
    advice = what_to_do(warning)
    return element("li", prose(warning), small(prose(advice)) if advice else None)
