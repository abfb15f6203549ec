"""What is known of the speed of a file on a board that is not this host: the documented order, and no more.

Sources: docs/artifacts.md, "The order of a board".
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from edgeglm.boards import Board
    from edgeglm.measure.traits import Traits
    from edgeglm.recipe import ArtifactConfig

TINY_MACS = 100_000  # below it a run takes some 20 us, and putting integers in and out costs more than they save

# What is fastest first, by board and family. It decides where this host is not of the board's architecture, and
# everywhere which candidates are worth a scan of sensitivity.
_FAST: dict[str, dict[str, tuple[str, ...]]] = {
    "x86-64": {
        "convolutional": ("tflite static-int8", "openvino static-int8", "onnx static-int8", "tflite none"),
        "transformer": (
            "tflite dynamic-int8",
            "openvino static-int8",
            "openvino weight-only-int8",
            "onnx dynamic-int8",
            "openvino none",
            "tflite none",
        ),
        "LSTM": ("onnx dynamic-int8", "tflite dynamic-int8", "onnx none", "openvino none"),
        "recurrent": ("tflite dynamic-int8", "tflite static-int8", "onnx none", "openvino none"),
        "dense": ("tflite static-int8", "tflite dynamic-int8", "openvino static-int8", "onnx static-int8"),
    },
    "rpi": {
        "convolutional": ("tflite static-int8", "onnx static-int8", "tflite none"),
        "transformer": ("tflite dynamic-int8", "onnx dynamic-int8", "tflite none"),
        "LSTM": ("onnx dynamic-int8", "tflite dynamic-int8", "onnx none"),
        "recurrent": ("tflite dynamic-int8", "onnx none"),
        "dense": ("tflite static-int8", "tflite dynamic-int8", "onnx dynamic-int8", "tflite none"),
    },
    "jetson": {
        "convolutional": ("onnx static-int8", "onnx fp16", "onnx none", "tflite static-int8"),
        "transformer": ("onnx fp16", "onnx dynamic-int8", "onnx none", "tflite dynamic-int8"),
        "LSTM": ("onnx fp16", "onnx dynamic-int8", "onnx none", "tflite dynamic-int8"),
        "recurrent": ("onnx fp16", "onnx none", "tflite dynamic-int8"),
        "dense": ("onnx fp16", "onnx static-int8", "onnx dynamic-int8", "onnx none"),
    },
}
_FORMATS = ("tflite", "onnx", "openvino")  # among those that the table does not name
_REST = ("static-int8", "dynamic-int8", "weight-only-int4", "weight-only-int8", "fp16", "none")
_INTEGERS = ("static-int8", "dynamic-int8")  # schemes that compute in them


def rank(config: ArtifactConfig, board: Board, traits: Traits) -> tuple[int, ...]:
    """Return what sorts artifacts, the fastest first by what is known of the board and of this kind of network.

    What the table does not name comes last, in an order that only has to be the same each time: it says nothing of
    speed, which ``compare_speed`` does.
    """
    family, order = _order(board, traits)
    plain = _is_tiny(traits) and config.scheme != "none"
    word = f"{config.format} {config.scheme}"
    formats = ("onnx", *_FORMATS) if family == "jetson" else _FORMATS
    return (
        int(plain),  # of a tiny network float comes first
        order.index(word) if word in order else len(order),
        _REST.index(config.scheme) if config.scheme in _REST else len(_REST),
        formats.index(config.format) if config.format in formats else len(formats),
    )


def compare_speed(one: tuple[str, str], other: tuple[str, str], board: Board, traits: Traits | None) -> int | None:
    """Return -1 where one is faster than the other by the board's rule, 1 where it is slower, else 0 or None.

    0 is for two of the same format and scheme: they run the same operators, or nearly (some layers in float, other
    ranges). None is for all that the rule does not speak of; either may be the faster one.

    Args:
        one: Format and scheme: ``("onnx", "static-int8")``.
        other: The same of another file.
        board: The target.
        traits: Of the network; None: not known, so the rule says nothing.
    """
    if one == other:
        return 0
    if traits is None:
        return None
    if _is_tiny(traits):
        floats = one[1] == "none", other[1] == "none"
        if floats[0] != floats[1] and (one if floats[1] else other)[1] in _INTEGERS:
            return -1 if floats[0] else 1
    _, order = _order(board, traits)
    words = " ".join(one), " ".join(other)
    if not all(word in order for word in words):
        return None
    return -1 if order.index(words[0]) < order.index(words[1]) else 1


def _order(board: Board, traits: Traits) -> tuple[str, tuple[str, ...]]:
    family = next((name for name in _FAST if board.name.startswith(name)), "x86-64")
    return family, _FAST[family][traits.family]


def _is_tiny(traits: Traits) -> bool:
    return traits.macs is not None and traits.macs < TINY_MACS
