"""Buckets of a network: which inputs are cut, and whether its answers stay what they are."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from edgeglm_agent.processing import cut
from edgeglm_agent.wire import Buckets

from edgeglm.artifacts.network import example_inputs, run_torch
from edgeglm.errors import ExportError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from edgeglm.data.splits import Arrays
    from edgeglm.model import Model

RELATIVE_TOLERANCE = 1e-4  # of max|reference|
_ROWS = 2
_HINT = "remove `buckets`, or change the network"


def make_buckets(model: Model, lengths: Sequence[int], *, mask: str) -> Buckets:
    """Return the buckets of a network; its full length is the last one, whether it is named or not.

    Args:
        model: Its inputs that are integers, of the mask's shape, are sequences, and are cut with it.
        lengths: As the recipe has them.
        mask: The input that is 1 for tokens and 0 for padding.

    Raises:
        ExportError: ``buckets-unusable``: there is no such input, or a length is beyond it.
    """
    specs = {spec.name: spec for spec in model.inputs}
    if mask not in specs or len(specs[mask].shape) != 1:
        raise ExportError(
            f"the network has no input `{mask}` of the shape (rows, length), which tells where padding begins",
            hint="let `tokenize` give an attention mask, and the network take it; or remove `buckets`",
            code="buckets-unusable",
        )
    full = specs[mask].shape[0]
    if max(lengths) > full:
        raise ExportError(
            f"{max(lengths)} is beyond the length that sequences are padded to, {full}",
            hint=f"name lengths below {full}",
            code="buckets-unusable",
        )
    inputs = [name for name, s in specs.items() if s.shape == (full,) and np.dtype(s.dtype).kind in "biu"]
    return Buckets(tuple(sorted({*lengths, full})), mask, tuple(inputs))


def check_cuts(model: Model, sample: Arrays, buckets: Buckets) -> None:
    """See that the network answers the same when what the mask hides is cut off.

    Args:
        model: In eval mode, on the CPU.
        sample: Some preprocessed rows, by input name.
        buckets: Of this network.

    Raises:
        ExportError: ``buckets-unusable``.
    """
    whole = example_inputs(model, sample, _ROWS)
    for length in buckets.lengths[:-1]:
        mask = np.where(np.arange(buckets.lengths[-1]) < length, whole[buckets.mask], 0)
        padded = whole | {buckets.mask: mask.astype(whole[buckets.mask].dtype)}
        expected = run_torch(model, padded)
        try:
            got = run_torch(model, cut(padded, length, buckets))
        except Exception as error:
            reason = next((line for line in str(error).splitlines() if line.strip()), type(error).__name__)
            raise _unusable(f"the network does not take sequences of {length}: {reason.strip()}") from error
        for name, values in expected.items():
            if got[name].shape != values.shape:
                raise _unusable(f"output {name} is as long as the sequence is")
            difference = float(np.max(np.abs(got[name] - values), initial=0.0))
            if not difference <= RELATIVE_TOLERANCE * float(np.max(np.abs(values), initial=0.0)):
                raise _unusable(f"output {name} changes by {difference:.3g} when padding is cut to {length}")


def _unusable(message: str) -> ExportError:
    return ExportError(message, hint=_HINT, code="buckets-unusable")
