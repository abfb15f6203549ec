"""How an artifact stands before it is timed: what speaks against its answers, and against its size."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from edgeglm.budget import judge
from edgeglm.choice.preference import faults
from edgeglm.pipeline.sides import parity_of
from edgeglm.report.types import ArtifactSide, Side

if TYPE_CHECKING:
    from edgeglm.choice.preference import Faults
    from edgeglm.model import Model, ModelFile
    from edgeglm.pipeline.evaluation import Evaluator
    from edgeglm.pipeline.project import Project
    from edgeglm.pipeline.sides import MadeArtifact
    from edgeglm.report.types import Host


class Standing:
    """Judges the artifacts of one network, each once."""

    def __init__(
        self, project: Project, evaluator: Evaluator, network: tuple[Model | ModelFile, str], host: Host
    ) -> None:
        self._project = project
        self._evaluator = evaluator
        self._network, self._key = network
        self._host = host
        self._known: dict[tuple[str, str, bool], Faults] = {}

    def of(self, artifact: MadeArtifact, *, sized: bool = False) -> Faults:
        """Return what speaks against its answers, and with ``sized`` against its size too."""
        key = (artifact.file.digest, artifact.config.scheme, sized)
        if key not in self._known:
            self._known[key] = self._judged(artifact, sized=sized)
        return self._known[key]

    def _judged(self, artifact: MadeArtifact, *, sized: bool) -> Faults:
        evaluator, budget = self._evaluator, self._project.recipe.budget
        side = ArtifactSide(
            format=artifact.config.format,
            scheme=artifact.config.scheme,
            path=artifact.name,
            sha256=artifact.file.sha256,
            size_bytes=artifact.file.size_bytes,
            parity=parity_of(self._project, artifact, self._network, self._key, evaluator),
            **evaluator.side(artifact.outputs),
        )
        baseline = Side(**evaluator.side(evaluator.baseline, is_baseline=True))
        untimed = msgspec.structs.replace(
            budget,
            size_mb=budget.size_mb if sized else None,
            peak_rss_mb=None,
            min_speedup=None,
            host_latency_p95_ms=None,
        )
        verdicts = judge(baseline, [side], untimed, self._project.board, self._host)
        return faults(side, verdicts, metric_judged=budget.metric_drop is not None)
