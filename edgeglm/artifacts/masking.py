"""Numbers that stand for minus infinity: an attention mask writes float32's lowest one where nothing may be seen.

Such a number is no part of a tensor's range. Static INT8 that took it for one would leave nothing of the scores beside
it (MiniLM's mean cosine falls to .34), and float16 has its own lowest number.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from collections.abc import Set as AbstractSet

INFINITE = 1e30  # from here on a float32 stands for infinity

# operators whose outputs hold such a number where their inputs do; a softmax, a maximum or a comparison ends it
_PASSING = {
    *("Add", "Cast", "Concat", "Expand", "Gather", "Identity", "Mul", "Reshape", "Slice", "Squeeze", "Sub"),
    *("Transpose", "Unsqueeze", "Where", "ADD", "BROADCAST_TO", "CONCATENATION", "EXPAND_DIMS", "GATHER", "MUL"),
    *("RESHAPE", "SELECT", "SELECT_V2", "SLICE", "SQUEEZE", "STRIDED_SLICE", "SUB", "TRANSPOSE"),
}
_BOUNDS = {"Clip", "MINIMUM", "MAXIMUM"}  # an infinite bound is none


def masking_operators(
    operators: Iterable[tuple[str, str, Sequence[str], Sequence[str]]], infinite: AbstractSet[str]
) -> set[str]:
    """Return the operators that compute with numbers which stand for infinity.

    Args:
        operators: Of a graph, in an order in which they can run: name, kind, inputs, outputs.
        infinite: Constants that hold such a number.
    """
    held, found = set(infinite), set()
    for name, kind, inputs, outputs in operators:
        if kind in _BOUNDS or not held.intersection(inputs):
            continue
        found.add(name)
        if kind in _PASSING:
            held.update(outputs)
    return found
