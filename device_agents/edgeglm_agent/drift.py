"""Whether what comes in, and what goes out, still looks as it did when the model was proved good.

Inputs, outputs and predicted classes are held against the manifest's reference. A figure is said once chance alone
would stay below the limit in 999 of 1000 windows; until then samples are gathered, over several windows where need be.
"""

from __future__ import annotations

import math
import random
import threading
import time
from typing import TYPE_CHECKING, Literal, NamedTuple

import numpy as np

from edgeglm_agent.stability import Blocks, compare, groups_of, index_groups
from edgeglm_agent.wire.telemetry import Drift

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from edgeglm_agent.wire.manifest import Reference, TensorSpec
    from edgeglm_agent.wire.telemetry import Scalar

LIMIT = 0.25  # a significant change (Siddiqi 2006)
CLEAR = 0.4  # of the limit: 0.1, no change (there)
IN_A_ROW = 2  # figures beyond, or back, before it is told
SHARE = 0.005  # of the time, at most, spent here
GAP_S = 0.02  # at least, between two samples that are looked at: 15,000 in 300 s are more than enough
MOST_VALUES = 1024  # of a tensor that are looked at, spread evenly
MOST_FEATURES = 16
_TOGETHER = 8  # predictions in a row that are counted together
_HEADROOM = 0.75  # of the limit that the reference's own noise may take up


class DriftChange(NamedTuple):
    """A feature that has moved away, or has come back."""

    name: Literal["drift-raised", "drift-cleared"]
    severity: Literal["info", "warning"]
    detail: dict[str, Scalar]


class _Feature:
    """One tensor, or the classes, against the reference."""

    def __init__(self, name: str, shares: np.ndarray, samples: int, together: int = 1) -> None:
        self.name, self.shares, self.samples, self.together = name, shares, max(1, samples), together
        self.blocks = Blocks(len(shares))
        self.raised = False
        self._beyond = self._back = 0

    def spoken(self) -> tuple[Drift, DriftChange | None] | None:
        """Return what has been found, and begin anew; None: too few samples yet, which are kept."""
        found = compare(self.blocks, self.shares, self.samples, per_addition=self.together)
        if found is None:
            return None
        # a reference of few samples is off by itself: only what is far beyond that can be drift
        limit = max(LIMIT, found.of_reference / _HEADROOM)
        if found.chance > limit:
            return None
        drift = Drift(self.name, round(found.psi * 1000), round(found.js * 1000), self.blocks.samples)
        self.blocks.reset()
        self._beyond = self._beyond + 1 if found.psi >= limit else 0
        self._back = self._back + 1 if found.psi < CLEAR * limit else 0
        if not self.raised and self._beyond >= IN_A_ROW:
            self.raised = True
        elif self.raised and self._back >= IN_A_ROW:
            self.raised = False
        else:
            return drift, None
        detail: dict[str, Scalar] = {
            "feature": self.name,
            "psi": round(found.psi, 3),
            "js": round(found.js, 3),
            "limit": round(limit, 3),
            "n": drift.n,
        }
        if self.raised:
            return drift, DriftChange("drift-raised", "warning", detail)
        return drift, DriftChange("drift-cleared", "info", detail)


class _Tensor:
    """One input or output."""

    def __init__(self, key: str, feature: _Feature, inner: np.ndarray) -> None:
        self.key, self.feature, self._inner = key, feature, inner
        self._groups = len(inner) + 1

    def look(self, values: np.ndarray) -> None:
        """Count the values of one sample; what is not a number counts as very large."""
        flat = values.ravel(order="K")  # no copy, whichever way the axes were turned
        if flat.size > MOST_VALUES:
            stride = flat.size // MOST_VALUES | 1
            stride += 2 * (stride % 3 == 0)  # not always the same channel
            flat = flat[random.randrange(stride) :: stride]  # noqa: S311 - no secret
        where = self._inner.searchsorted(flat, side="right")
        self.feature.blocks.add(np.bincount(where, minlength=self._groups)[np.newaxis])


class DriftMeter:
    """Watches one model. ``add`` is called by one thread, ``predicted`` and ``take`` by another or the same."""

    def __init__(
        self,
        reference: Reference | None,
        inputs: Sequence[TensorSpec],
        outputs: Sequence[TensorSpec],
        labels: Sequence[str],
        *,
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        """Make ready.

        Args:
            reference: Of the manifest; None: nothing is watched.
            inputs: Of the manifest: what preprocessing yields.
            outputs: Of the artifact.
            labels: Of the manifest; empty: classes go by their numbers.
            clock: In seconds; monotonic.
        """
        self._clock = clock
        self._next = -math.inf
        self._lock = threading.Lock()
        self._inputs: list[_Tensor] = []
        self._outputs: list[_Tensor] = []
        self._changes: list[DriftChange] = []
        self._classes: _Feature | None = None
        self._lookup = self._pending = np.empty(0, np.int64)  # group of each class; predictions not counted yet
        if reference is None:
            return
        for spec in inputs[:MOST_FEATURES]:
            if spec.name in reference.inputs:
                groups = groups_of(reference.inputs[spec.name].histogram, _groups_for(reference.samples))
                feature = _Feature(f"input.{spec.name}", groups.shares, reference.samples)
                self._inputs.append(_Tensor(spec.name, feature, groups.inner))
        judged = reference.samples
        for place, spec in enumerate(outputs[:MOST_FEATURES]):
            if spec.name in reference.outputs:
                found = reference.outputs[spec.name]
                size = math.prod(spec.shape)
                samples = found.n // size if size > 0 else reference.samples  # -1: a length is free
                judged = samples if place == 0 else judged
                groups = groups_of(found.histogram, _groups_for(samples))
                feature = _Feature(f"output.{spec.name}", groups.shares, samples)
                self._outputs.append(_Tensor(spec.name, feature, groups.inner))
        names = list(labels) or [str(index) for index in range(len(reference.predicted))]
        shares = [reference.predicted.get(name, 0.0) for name in names]
        if len(shares) > 1 and sum(shares) > 0.0:
            self._lookup, totals = index_groups(shares, _groups_for(judged))
            self._classes = _Feature("predicted", totals, judged, _TOGETHER)

    @property
    def features(self) -> tuple[str, ...]:
        """What is watched."""
        return tuple(feature.name for feature in self._features())

    def add(self, inputs: Mapping[str, np.ndarray], outputs: Mapping[str, np.ndarray], row: int = 0) -> None:
        """Look at a sample, or not: seldom enough to cost at most half a percent of the time.

        Args:
            inputs: By name, with a batch axis, as preprocessing gave them: before they were cut to a bucket.
            outputs: By name, with a batch axis, as the engine gave them.
            row: Which of the batch.
        """
        now = self._clock()
        if now < self._next:
            return
        with self._lock:
            for tensor in self._inputs:
                _look(tensor, inputs, row)
            for tensor in self._outputs:
                _look(tensor, outputs, row)
        cost = self._clock() - now
        # uneven, so that nothing that comes at regular times is always, or never, looked at
        self._next = now + max(GAP_S, cost / SHARE) * (0.5 + random.random())  # noqa: S311 - no secret

    def predicted(self, indices: Sequence[int]) -> None:
        """Count predicted classes, in the order they came."""
        if self._classes is None:
            return
        known = np.array(indices, np.int64)
        known = known[(known >= 0) & (known < len(self._lookup))]
        pending = np.concatenate([self._pending, self._lookup[known]])
        whole, groups = len(pending) // _TOGETHER, len(self._classes.shares)
        self._pending = pending[whole * _TOGETHER :]
        if whole:
            # each addition of eight has a range of numbers of its own
            where = pending[: whole * _TOGETHER] + np.repeat(np.arange(whole) * groups, _TOGETHER)
            counts = np.bincount(where, minlength=whole * groups).reshape(whole, groups)
            with self._lock:
                self._classes.blocks.add(counts, _TOGETHER)

    def take(self) -> tuple[Drift, ...]:
        """Return the figures that can be told now, worst first; the rest gathers on."""
        drifts: list[Drift] = []
        with self._lock:
            for feature in self._features():
                said = feature.spoken()
                if said is not None:
                    drifts.append(said[0])
                    if said[1] is not None:
                        self._changes.append(said[1])
        return tuple(sorted(drifts, key=lambda drift: -drift.psi_milli))

    def changes(self) -> list[DriftChange]:
        """Return what was raised or cleared by ``take`` since the last call."""
        changes, self._changes = self._changes, []
        return changes

    def _features(self) -> list[_Feature]:
        found = [tensor.feature for tensor in (*self._inputs, *self._outputs)]
        return found if self._classes is None else [*found, self._classes]


def _look(tensor: _Tensor, arrays: Mapping[str, np.ndarray], row: int) -> None:
    values = arrays.get(tensor.key)
    if values is not None and values.ndim and len(values) > row and values[row].size:
        tensor.look(values[row])


def _groups_for(samples: int) -> int:
    """Return how many groups a reference of so many samples carries: fewer are less noisy.

    Of independent samples, chance reaches (chi-square of groups - 1, one in a thousand) / samples by itself: 27.9 of
    ten groups, 18.5 of five, 13.8 of three. That is to stay below three quarters of the limit.
    """
    return next((groups for groups, worst in ((10, 27.9), (5, 18.5)) if worst <= _HEADROOM * LIMIT * samples), 3)
