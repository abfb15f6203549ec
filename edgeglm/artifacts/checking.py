"""What was written is loaded again and run, in a process of its own, before it counts."""

from __future__ import annotations

from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from edgeglm.artifacts.failures import refusals
from edgeglm.errors import EdgeglmError, ExportError
from edgeglm.measure.execution import execution_warnings
from edgeglm.measure.worker import Runner

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from edgeglm_agent.wire import TensorSpec

    from edgeglm.data.splits import Arrays

RELATIVE_TOLERANCE = 1e-4  # of max|reference|
_SHOWN = 8  # layers that a warning lists


@dataclass(frozen=True)
class Checked:
    """What a file that was loaded and run says of itself."""

    inputs: tuple[TensorSpec, ...]  # shapes without the batch axis
    outputs: tuple[TensorSpec, ...]
    batch: int | None  # the one batch size it takes; None: any
    warnings: list[str]  # about how this host executes it


@contextmanager
def named(path: Path, temporary: Path) -> Iterator[None]:
    """Let errors name the file as the user knows it, not the temporary one that was being checked."""
    try:
        yield
    except EdgeglmError as error:
        shown = str(temporary)
        error.problems = tuple(replace(p, where=str(path) if p.where == shown else p.where) for p in error.problems)
        raise


def check_parity(
    path: Path, file_format: str, cases: Sequence[tuple[Arrays, Arrays]], *, layers: Sequence[str] = ()
) -> Checked:
    """Load a float file and see that it computes what the network does, to 1e-4 of the largest output.

    Args:
        path: The file.
        file_format: onnx | tflite | openvino.
        cases: Inputs in the file's layout, and what the network gives for them, by name.
        layers: See ``refusals``.

    Raises:
        ExportError: ``artifact-refused``: it does not load or run; ``export-differs``: it computes something else.
    """
    with refusals(file_format, "none", layers), Runner(path, format=file_format, threads=1) as runner:
        for inputs, reference in cases:
            _compare(runner.run(inputs), reference)
        return _checked(runner, "none")


def _checked(runner: Runner, scheme: str) -> Checked:
    return Checked(runner.inputs, runner.outputs, runner.batch, execution_warnings(runner, scheme=scheme))


def _compare(outputs: Arrays, reference: Arrays) -> None:
    for name, expected in reference.items():
        got = outputs.get(name)
        if got is None or got.shape != expected.shape:
            found = "nothing" if got is None else f"shape {got.shape}"
            raise ExportError(
                f"the file gives {found} for output {name}, the network shape {expected.shape}",
                hint="look for sizes that forward() takes from the batch it is traced with, as in view(1, ...)",
                code="export-differs",
            )
        difference = float(np.max(np.abs(got - expected), initial=0.0))
        limit = RELATIVE_TOLERANCE * float(np.max(np.abs(expected), initial=0.0))
        if not difference <= limit:  # NaN fails too
            raise ExportError(
                f"at batch {len(expected)} the file differs from the network in output {name}: {difference:.3g}, "
                f"allowed {limit:.3g}",
                hint="look for dropout, noise or other randomness that stays on in eval mode",
                code="export-differs",
            )


def check_runs(
    path: Path, file_format: str, inputs: Arrays | None, *more: Arrays | None, scheme: str, layers: Sequence[str] = ()
) -> Checked:
    """Load a quantized file, or with scheme none a user's own, and run it on real inputs (none: noise).

    Args:
        path: The file.
        file_format: onnx | tflite | openvino.
        inputs: Rows in the file's layout, by name.
        more: The same for its other signatures.
        scheme: How it was quantized.
        layers: See ``refusals``.

    Raises:
        ExportError: ``artifact-refused``: it does not load or run; ``quantized-not-finite``. A user's own file keeps
            the runtime's error.
    """
    written = nullcontext() if scheme == "none" else refusals(file_format, scheme, layers)
    with written, Runner(path, format=file_format, threads=1) as runner:
        _check_finite(runner.run(inputs if inputs is not None else _noise(runner.inputs)), scheme)
        for others in more:
            if others is not None:
                _check_finite(runner.run(others), scheme)
        return _checked(runner, scheme)


def _check_finite(outputs: Arrays, scheme: str) -> None:
    for name, values in outputs.items():
        if not np.isfinite(values).all():
            reason = "a value left float16's range (65504)" if scheme == "fp16" else "a range is not finite"
            raise ExportError(
                f"after {scheme} output {name} is not finite: {reason}",
                hint="name the layer under `ignore`, or choose another scheme",
                code="quantized-not-finite",
            )


def check_weights(scheme: str, *, small_bytes: int, left: Sequence[str], wide: Sequence[str] = ()) -> list[str]:
    """Return warnings about weights that are larger than a scheme says.

    Args:
        scheme: fp16 | dynamic-int8 | ...
        small_bytes: Bytes of weights in the scheme's own type.
        left: Layers whose weights are float32 still, without those that the recipe leaves in float.
        wide: Layers that have 8-bit weights instead of 4-bit ones.

    Raises:
        ExportError: ``quantized-nothing``: the scheme's own type is nowhere.
    """
    if not small_bytes:
        if wide:
            said, hint = "gave no weight 4 bits", "4 bits are for matrix products and tables; ask for weight-only-int8"
        else:
            said = "left every weight in float32"
            hint = "the network has no layer that this scheme quantizes, or `ignore` names all of them; ask for fp16"
        raise ExportError(f"{scheme} {said}", where=", ".join([*left, *wide][:3]), hint=hint, code="quantized-nothing")
    warnings = []
    if left:
        warnings.append(f"weights still float32 after {scheme}: {_some(left)}")
    if wide:
        warnings.append(f"weights have 8 bits, not 4, where there is no 4-bit form of the layer: {_some(wide)}")
    return warnings


def _some(layers: Sequence[str]) -> str:
    more = f" and {len(layers) - _SHOWN} more" if len(layers) > _SHOWN else ""
    return f"{', '.join(layers[:_SHOWN])}{more}"


def _noise(inputs: Sequence[TensorSpec]) -> Arrays:
    random = np.random.default_rng(0)
    arrays: Arrays = {}
    for spec in inputs:
        shape = (1, *spec.shape)
        integral = np.issubdtype(np.dtype(spec.dtype), np.integer)
        arrays[spec.name] = np.zeros(shape, spec.dtype) if integral else random.normal(size=shape).astype(spec.dtype)
    return arrays
