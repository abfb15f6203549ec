"""How a model's inputs become those of an artifact: other names, layouts, types, and sequences cut to a bucket."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from edgeglm_agent.processing import cut_to_bucket

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from edgeglm_agent.wire import Artifact, TensorSpec

_CHANNELS_LAST = (0, 2, 3, 1)
_LARGE = 4096  # values
_OTHER = {"NCHW": "NHWC", "NHWC": "NCHW"}


class MismatchError(ValueError):
    """A manifest contradicts itself, or the file that it lists."""


class Arrangement:
    """Made once for an artifact, used for every sample."""

    def __init__(self, inputs: Sequence[TensorSpec], artifact: Artifact) -> None:
        """Match the artifact's inputs with the model's.

        A model and an artifact with one input each are matched whatever the names: there is nothing to mix up. Where
        the model's shape in the layout that the manifest names does not fit the artifact's, and in the other one
        does, it goes in the other one: as on the host, which reads an artifact's layout from its shape.

        Args:
            inputs: The model's.
            artifact: Its inputs and buckets.

        Raises:
            MismatchError: Names, layouts or buckets do not go together.
        """
        known = {spec.name: spec for spec in inputs}
        names = {spec.name: spec.name for spec in artifact.inputs}
        if len(known) == len(names) == 1:
            names = {artifact.inputs[0].name: inputs[0].name}
        if not known or set(names.values()) != set(known):
            raise MismatchError(f"it takes {_list(names)}, and the manifest's model {_list(known)}")
        # taken by the artifact as, called by the model, type, axes in their new order (None: as they are)
        self._takes = [
            (spec.name, names[spec.name], np.dtype(spec.dtype), _turn(known[names[spec.name]], spec))
            for spec in artifact.inputs
        ]
        self._buckets = artifact.buckets
        if self._buckets is not None:
            cut = {self._buckets.mask, *self._buckets.inputs}
            if not self._buckets.lengths or not cut <= set(names):
                raise MismatchError(f"its buckets are of {_list(cut)}, and it takes {_list(names)}")
        self.needed = self._buckets is not None or any(
            name != taken or turn is not None for taken, name, _, turn in self._takes
        )

    def __call__(self, inputs: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Return inputs as the artifact takes them; what is missing or too much stays so, for the engine to say."""
        given: dict[str, np.ndarray] = {}
        for taken, name, dtype, turn in self._takes:
            values = inputs.get(name)
            if values is None or len(inputs) != len(self._takes):
                return dict(inputs)
            if turn is not None and values.ndim == len(turn):
                values = _turned(values, turn, dtype)
            given[taken] = np.ascontiguousarray(values, dtype=dtype)
        return cut_to_bucket(given, self._buckets) if self._buckets is not None else given


def _turned(values: np.ndarray, turn: tuple[int, ...], dtype: np.dtype[Any]) -> np.ndarray:
    if turn != _CHANNELS_LAST or values.size < _LARGE:
        return np.transpose(values, turn)
    turned: np.ndarray = np.empty([values.shape[axis] for axis in turn], dtype)
    for channel in range(values.shape[1]):  # three times as fast as to copy the view, which goes pixel by pixel
        turned[..., channel] = values[:, channel]
    return turned


def _turn(model: TensorSpec, file: TensorSpec) -> tuple[int, ...] | None:
    """Return the axes of a model's input in the order that the file wants them in; None: they lie so."""
    if len(model.shape) != len(file.shape):
        raise MismatchError(f"`{file.name}` has {len(file.shape)} axes, and the model's input {len(model.shape)}")
    wanted = file.layout
    if not _fits(model, file, wanted) and _fits(model, file, _OTHER.get(wanted, "")):
        wanted = _OTHER[wanted]
    if wanted == model.layout:
        return None
    if set(wanted) != set(model.layout) or not len(wanted) == len(set(wanted)) == len(model.shape) + 1:
        raise MismatchError(f"`{file.name}` cannot go from layout {model.layout!r} to {file.layout!r}")
    return tuple(model.layout.index(axis) for axis in wanted)


def _fits(model: TensorSpec, file: TensorSpec, layout: str) -> bool:
    """Return whether the model's shape, moved to a layout, is the file's; -1 is any length."""
    if sorted(layout) != sorted(model.layout) or len(layout) != len(model.shape) + 1:
        return False
    moved = [model.shape[model.layout.index(axis) - 1] for axis in layout[1:]]
    return all(-1 in (mine, its) or mine == its for mine, its in zip(moved, file.shape, strict=True))


def _list(names: object) -> str:
    return ", ".join(f"`{name}`" for name in sorted(names)) or "nothing"  # type: ignore[call-overload]
