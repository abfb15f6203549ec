"""How evaluation samples may be changed, to see what the field would: noise, blur, gain, or a function of the user's.

A change depends on the sample and on the recipe's seed alone, not on what else is in a batch: every network and file
sees the same changed samples.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, ClassVar

import msgspec
import numpy as np
from msgspec import Meta

from edgeglm.errors import EntryError, RecipeError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from edgeglm.data.splits import Arrays
    from edgeglm.sources.entry import Entries

_IMAGE_AXES = {"NCHW": (1, 2), "NHWC": (0, 1)}  # height and width of one sample
_REACH = 3  # standard deviations of a blur that are added up


@dataclass(frozen=True)
class Surroundings:
    """What a change may look at besides the samples."""

    spread: Mapping[str, float]  # input name -> standard deviation of all its values, 0 where it is no real number
    layouts: Mapping[str, str]  # input name -> axes: NCHW, NHWC, ...
    generator: Callable[[int], np.random.Generator]  # number of a sample -> what is random about it
    entries: Entries
    key: str  # robustness[0].noise, for errors


class ShiftConfig(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Base of all changes: settings as fields, the work in ``apply``."""

    shorthand: ClassVar[str | None] = None  # the field that a bare text stands for: `- entry: ./shifts.py:dim`

    def apply(self, inputs: Arrays, numbers: np.ndarray, around: Surroundings) -> Arrays:
        """Return changed samples.

        Args:
            inputs: By name, (N, ...), preprocessed, in the model's layout; left as they were.
            numbers: (N,) number of each sample.
            around: What else there is.

        Raises:
            RecipeError: There is nothing to change.
            EntryError: A function of the user's raised, or returned something else.
        """
        raise NotImplementedError


class _OnNumbers(ShiftConfig, frozen=True, kw_only=True):
    """Base of those that change inputs of real numbers, each for itself."""

    input: str | None = None  # name of the one input to change; None: every one of real numbers

    def apply(self, inputs: Arrays, numbers: np.ndarray, around: Surroundings) -> Arrays:
        """Return the samples with these inputs changed, in their own type."""
        chosen = [name for name, values in inputs.items() if values.dtype.kind == "f" and self.input in (None, name)]
        if not chosen:
            known = ", ".join(f"`{name}` ({values.dtype})" for name, values in inputs.items())
            wanted = "no input is of real numbers" if self.input is None else f"`{self.input}` is no such input"
            raise RecipeError(
                f"{wanted}; there are {known}",
                where=around.key,
                hint="change whole numbers, such as tokens, by a function: `- entry: ./shifts.py:function`",
                code="recipe-conflict",
            )
        return inputs | {
            name: self.changed(name, inputs[name], numbers, around).astype(inputs[name].dtype) for name in chosen
        }

    def changed(self, name: str, values: np.ndarray, numbers: np.ndarray, around: Surroundings) -> np.ndarray:
        """Return one input changed, (N, ...)."""
        raise NotImplementedError


class Noise(_OnNumbers, tag="noise", frozen=True, kw_only=True):
    """Add normal noise."""

    std: Annotated[float, Meta(gt=0)]  # in standard deviations of the input's own values

    def changed(self, name: str, values: np.ndarray, numbers: np.ndarray, around: Surroundings) -> np.ndarray:
        """Return the values with noise, drawn for each sample by its number."""
        size = np.float32(self.std * around.spread[name])
        drawn = [around.generator(int(number)).standard_normal(values.shape[1:], np.float32) for number in numbers]
        return np.asarray(values + size * np.stack(drawn))


class Blur(_OnNumbers, tag="blur", frozen=True, kw_only=True):
    """Blur images, or series, by a Gaussian; what lies beyond the border is like the border."""

    sigma: Annotated[float, Meta(gt=0, le=100)]  # in pixels of the model's input, or steps of a series
    axes: list[int] | None = None  # to blur along, in one sample; None: height and width of an image

    def changed(self, name: str, values: np.ndarray, numbers: np.ndarray, around: Surroundings) -> np.ndarray:
        """Return the blurred values. Raises: RecipeError: they are no image, and no axes are named."""
        del numbers
        axes = self.axes if self.axes is not None else _IMAGE_AXES.get(around.layouts.get(name, ""))
        dims = values.ndim - 1
        if axes is None or not all(-dims <= axis < dims for axis in axes):
            raise RecipeError(
                f"input `{name}` of shape {list(values.shape[1:])} "
                + ("is no image" if axes is None else f"has no axes {list(axes)}"),
                where=around.key,
                hint="say by `axes` along which of its axes to blur, such as `axes: [-1]` for a series",
                code="recipe-conflict",
            )
        for axis in axes:
            values = _blurred(values, axis + 1 if axis >= 0 else axis, self.sigma)
        return values


class Gain(_OnNumbers, tag="gain", frozen=True, kw_only=True):
    """Multiply all values: a louder microphone, a brighter lamp (of an input that lies around 0)."""

    factor: float  # 1 changes nothing

    def problems(self) -> list[tuple[str, str, str]]:
        """Return that a gain of 1 changes nothing."""
        mend = "write another factor: 1.5 is louder or brighter, 0.7 quieter or darker"
        return [("factor", "a gain of 1 changes nothing", mend)] if self.factor == 1 else []

    def changed(self, name: str, values: np.ndarray, numbers: np.ndarray, around: Surroundings) -> np.ndarray:
        """Return the values times the factor."""
        del name, numbers, around
        return np.asarray(values * np.float32(self.factor))


class OwnShift(ShiftConfig, tag="entry", frozen=True, kw_only=True):
    """Change samples by a function of yours, which takes `inputs` and `generator`, and returns changed inputs."""

    shorthand: ClassVar[str | None] = "function"

    function: Annotated[str, Meta(pattern=r"^[^:\s]+:[A-Za-z_]\w*\Z")]  # `path.py:function`, or `module:function`

    def apply(self, inputs: Arrays, numbers: np.ndarray, around: Surroundings) -> Arrays:
        """Return what the function makes of the samples; it is given one at a time, with a batch axis of 1."""
        rows = [
            self._row({name: values[row : row + 1] for name, values in inputs.items()}, int(number), around)
            for row, number in enumerate(numbers)
        ]
        return {name: np.concatenate([row[name] for row in rows]) for name in inputs}

    def _row(self, inputs: Arrays, number: int, around: Surroundings) -> Arrays:
        (first, *others) = inputs
        given = inputs if others else inputs[first]
        copies = {name: values.copy() for name, values in inputs.items()} if others else inputs[first].copy()
        found = around.entries.call(self.function, key=around.key, inputs=copies, generator=around.generator(number))
        made = found if isinstance(found, dict) else {first: found}
        for name, values in inputs.items():
            got = np.asarray(made.get(name))
            if got.shape != values.shape or got.dtype.kind != values.dtype.kind:
                raise EntryError(
                    f"`{self.function}` returned {_described(got)} for {_described(values)}, input `{name}`",
                    where=around.key,
                    hint="return inputs of the same shape and type" + (", by name" if given is inputs else ""),
                    code="entry-result",
                )
            if got.dtype.kind == "f" and not np.isfinite(got).all() and np.isfinite(values).all():
                raise EntryError(
                    f"`{self.function}` returned NaN or infinity for input `{name}` of sample {number}",
                    where=around.key,
                    hint="look at what the function divides by, and at its ranges",
                    code="entry-result",
                )
        return {name: np.asarray(made[name]).astype(values.dtype) for name, values in inputs.items()}


SHIFTS: tuple[type[ShiftConfig], ...] = (Noise, Blur, Gain, OwnShift)


def shift_types() -> dict[str, type[ShiftConfig]]:
    """Return name -> struct."""
    return {str(kind.__struct_config__.tag): kind for kind in SHIFTS}


def shift_name(shift: ShiftConfig) -> str:
    """Return ``noise std=0.1``: the name and the settings that are not left at null."""
    plain = msgspec.to_builtins(shift)
    kind = plain.pop("type")
    if isinstance(shift, OwnShift):
        return f"{kind} {shift.function}"
    shown = [
        f"{key}={value:g}" if isinstance(value, float) else f"{key}={value}"
        for key, value in plain.items()
        if value is not None
    ]
    return " ".join([kind, *sorted(shown, key=lambda text: text.startswith("input"))])


def _blurred(values: np.ndarray, axis: int, sigma: float) -> np.ndarray:
    """Return values with a Gaussian run along one axis, float32."""
    reach = max(1, math.ceil(_REACH * sigma))
    weights = np.exp(-0.5 * (np.arange(-reach, reach + 1) / sigma) ** 2)
    weights /= weights.sum()
    moved = np.moveaxis(values.astype(np.float32), axis, -1)
    wide = np.pad(moved, [(0, 0)] * (moved.ndim - 1) + [(reach, reach)], mode="edge")
    total = np.zeros_like(moved)
    for place, weight in enumerate(weights):
        total += np.float32(weight) * wide[..., place : place + moved.shape[-1]]
    return np.moveaxis(total, -1, axis)


def _described(values: np.ndarray) -> str:
    return f"{list(values.shape)} {values.dtype}"
