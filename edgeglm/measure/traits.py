"""What kind of network a float file holds, as far as it decides which schemes make sense."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from edgeglm.measure.census import read_source

if TYPE_CHECKING:
    from pathlib import Path

# LSTM apart from GRU and plain RNN: ONNX Runtime and OpenVINO quantize it alone
Family = Literal["convolutional", "transformer", "LSTM", "recurrent", "dense"]
_MAIN = 0.5  # share of the multiply-accumulates that makes a kind of operator the main one
_SOME = 0.1  # share that makes it worth a candidate of its own


@dataclass(frozen=True)
class Traits:
    """One network: what it mostly computes, and with what."""

    family: Family
    mixed: bool  # convolutions and products both count: a convolutional front end, say
    table_share: float  # of the weights lie in tables, 0 to 1
    macs: int | None  # None: not known
    params: int


def traits_of(path: Path, file_format: str) -> Traits:
    """Return the traits of an FP32 file.

    The family is that of the operators that most multiply-accumulates go into (of those with weights, where a shape
    is not known); with products between computed values, or tables, a network of products is a transformer.

    Raises:
        ModelError: The file cannot be read.
    """
    graph = read_source(path, file_format)
    operators = graph.operators()
    known = all(operator.macs is not None for operator in operators)
    work: Counter[str] = Counter()
    for operator in operators:
        if operator.kind != "table":
            work[operator.kind] += (operator.macs or 0) if known else operator.params
    total = sum(work.values()) or 1
    shares = {kind: work[kind] / total for kind in ("convolution", "product", "lstm", "recurrent")}
    cells = shares["lstm"] + shares["recurrent"]
    tables = sum(operator.params for operator in operators if operator.kind == "table")
    attends = any(operator.kind == "product" and not operator.params for operator in operators)
    family: Family
    if cells >= _MAIN:
        family = "LSTM" if shares["lstm"] >= shares["recurrent"] else "recurrent"
    elif shares["convolution"] >= _MAIN:
        family = "convolutional"
    else:
        family = "transformer" if attends or tables else "dense"
    params = graph.params()
    return Traits(
        family=family,
        mixed=min(shares["convolution"], shares["product"] + cells) >= _SOME,
        table_share=min(1.0, tables / max(1, params)),
        macs=graph.macs() if known else None,
        params=params,
    )
