"""What an engine is, and what all of them share."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal, Protocol

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from edgeglm_agent.wire import TensorSpec

Fault = Literal["no-runtime", "bad-file", "bad-input", "run-failed", "non-finite"]
_MOST_SHAPES = 64  # remembered; of more, the rest is looked at each time
_IMAGE_CHANNELS = (1, 3, 4)  # grey, RGB, RGB with a fourth


class EngineError(RuntimeError):
    """A runtime is missing, refuses a file or an input, or failed while it ran.

    Attributes:
        fault: ``no-runtime``: the package, or what it needs, is not there. ``bad-file``: the file is damaged or not
            of this format. ``bad-input``: names, shapes or types do not fit. ``non-finite``: the model gave
            NaN or infinity. ``run-failed``: anything else.
    """

    def __init__(self, message: str, *, fault: Fault) -> None:
        self.fault: Fault = fault
        super().__init__(message)


class Engine(Protocol):
    """One loaded model; not safe for use by several threads at once."""

    @property
    def inputs(self) -> tuple[TensorSpec, ...]:
        """What goes in: shapes without the batch axis, -1 where a length is free; quantized inputs are float32."""
        ...

    @property
    def outputs(self) -> tuple[TensorSpec, ...]:
        """What comes out, likewise."""
        ...

    @property
    def batch(self) -> int | None:
        """The one batch size that the file takes; None: any. ``run`` takes any in either case."""
        ...

    @property
    def runtime(self) -> str:
        """Name and version: ``onnxruntime 1.31.1``, ``litert 2.3.0``."""
        ...

    @property
    def provider(self) -> str:
        """What computes: ``cpu``, ``cuda``, ...; of one that must first be proved, known after the first run."""
        ...

    def run(self, inputs: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Run the model.

        Args:
            inputs: By name, in the file's own layout, with a batch axis first.

        Returns:
            Outputs by name, with a batch axis: float32, or integers where the model puts out integers.

        Raises:
            EngineError: The inputs do not fit, or the runtime failed.
        """
        ...


class Passed:
    """Shapes that passed ``check_inputs``: the same ones need not be looked at in full again."""

    def __init__(self, types: Mapping[str, np.dtype[Any]]) -> None:
        """Say what an engine takes as it is: name -> type."""
        self._types = tuple(types.items())
        self._shapes: set[tuple[tuple[int, ...], ...]] = set()

    def __call__(self, inputs: Mapping[str, np.ndarray]) -> bool:
        """Return whether inputs have these names and types, and shapes that were added."""
        if len(inputs) != len(self._types):
            return False
        shapes = []
        for name, dtype in self._types:
            values = inputs.get(name)
            if values is None or values.dtype is not dtype:  # an equal one that is not the same takes the longer way
                return False
            shapes.append(values.shape)
        return tuple(shapes) in self._shapes

    def add(self, inputs: Mapping[str, np.ndarray]) -> None:
        """Remember the shapes of inputs that passed, and that the file takes in one go."""
        if len(self._shapes) < _MOST_SHAPES:
            self._shapes.add(tuple(inputs[name].shape for name, _ in self._types))


def check_inputs(inputs: Mapping[str, np.ndarray], specs: tuple[TensorSpec, ...]) -> int:
    """Return the number of rows. Raises: EngineError (``bad-input``)."""
    names = [spec.name for spec in specs]
    if set(inputs) != set(names):
        raise EngineError(f"the model takes {_list(names)}, it was given {_list(list(inputs))}", fault="bad-input")
    rows = len(inputs[names[0]]) if inputs[names[0]].ndim else 0
    for spec in specs:
        shape = inputs[spec.name].shape
        fits = len(shape) == len(spec.shape) + 1 and all(
            want in (-1, got) for want, got in zip(spec.shape, shape[1:], strict=True)
        )
        if not fits or shape[0] != rows or not rows:
            wanted = " x ".join("N" if length < 0 else str(length) for length in (-1, *spec.shape))
            raise EngineError(f"input `{spec.name}` takes {wanted}, it was given {shape}", fault="bad-input")
    return rows


def run_in_batches(
    run: Callable[[dict[str, np.ndarray]], dict[str, np.ndarray]],
    inputs: dict[str, np.ndarray],
    rows: int,
    *sizes: int,
) -> dict[str, np.ndarray]:
    """Run a file that takes certain batch sizes on any number of rows.

    As many rows as possible go in at a time; the last batch is filled up with its last row where it must be.
    """
    if rows in sizes:
        return run(inputs)
    parts: list[dict[str, np.ndarray]] = []
    start = 0
    while start < rows:
        batch = max((size for size in sizes if size <= rows - start), default=min(sizes))
        part = {name: values[start : start + batch] for name, values in inputs.items()}
        missing = batch - min(batch, rows - start)
        if missing:
            part = {name: np.concatenate([v, np.repeat(v[-1:], missing, axis=0)]) for name, v in part.items()}
        outputs = run(part)
        parts.append({name: values[: batch - missing] for name, values in outputs.items()})
        start += batch
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


def layout_of(rank: int, convention: str) -> str:
    """Return the axes of a tensor of this rank, batch axis included: ``convention`` for 4, ``NC`` for 2."""
    return {4: convention, 2: "NC"}.get(rank, "")


def input_layout(shape: Sequence[int], convention: str) -> str:
    """Return the axes of an input, read from its shape: an image has 1, 3 or 4 channels, and is longer than that.

    Args:
        shape: Without the batch axis; -1 where a length is free.
        convention: ``NCHW`` or ``NHWC``: taken when the shape does not tell, as that of a deep feature map.
    """
    if len(shape) == 3:
        first, last = (length in _IMAGE_CHANNELS for length in (shape[0], shape[2]))
        if first != last:
            return "NCHW" if first else "NHWC"
    return layout_of(len(shape) + 1, convention)


def plain(error: BaseException) -> str:
    """Return the first line of what a runtime said."""
    lines = str(error).strip().splitlines()
    return lines[0].strip() if lines else type(error).__name__


def _list(names: list[str]) -> str:
    return ", ".join(f"`{name}`" for name in names) or "nothing"
