"""What one slot of a simulated board serves."""

from __future__ import annotations

from typing import TYPE_CHECKING

from edgeglm_agent.wire.commands import SlotState

from edgeglm.boards import LEAST_RUNTIMES
from edgeglm.fleet.simulate.dice import digest
from edgeglm.fleet.simulate.figures import figures
from edgeglm.fleet.simulate.readings import calm_drift

if TYPE_CHECKING:
    from edgeglm.fleet.simulate.figures import Figures
    from edgeglm.fleet.simulate.profile import ModelShare


class Slot:
    """What one slot serves."""

    __slots__ = ("_figures", "calm", "failures", "load", "model", "n", "name", "status", "why", "window_s")

    def __init__(self, name: str, model: ModelShare, window_s: float) -> None:
        self.name, self.model, self.window_s = name, model, window_s
        self.n = max(1, round(model.per_second * window_s))  # inferences of a window
        self.calm = calm_drift(tells_classes=model.classes > 0, n=self.n)  # in 16 variants
        self._figures: tuple[float, bool, tuple[Figures, ...]] = (0.0, False, ())
        self.load, self.failures, self.status, self.why = 1, 0, "serving", ""

    def figures(self, slowness: float, *, drifted: bool) -> tuple[Figures, ...]:
        """Return what its windows say, in ``VARIANTS`` variants."""
        if self._figures[:2] != (slowness, drifted):
            self._figures = (slowness, drifted, figures(self.model, self.n, slowness, drifted=drifted))
        return self._figures[2]

    def state(self) -> SlotState:
        """Return what the birth says of it."""
        named = f"{self.model.name} {self.model.version}"
        if self.status != "serving":
            return SlotState(
                "quarantined" if self.status == "quarantined" else "waiting",
                self.load,
                named,
                why=self.why,
                failures=self.failures,
            )
        runtime = LEAST_RUNTIMES["onnx"]
        return SlotState(
            "serving",
            self.load,
            named,
            digest(named).hex(),
            "model.onnx",
            "static-int8",
            f"{runtime.name} {runtime.least_version}",
            "cpu",
        )
