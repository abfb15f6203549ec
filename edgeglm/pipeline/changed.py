"""Samples whose answer changed, for the report: which, and what they look like."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec
import numpy as np

from edgeglm.data.samples import show_sample

if TYPE_CHECKING:
    from collections.abc import Sequence

    from edgeglm.pipeline.evaluation import Evaluator
    from edgeglm.pipeline.sides import MadeArtifact
    from edgeglm.report.types import ArtifactSide, Sample

_OF_BEST, _OF_OTHERS = 12, 6  # samples shown
_ARTIFACTS = 5  # that get any


def with_changes(
    evaluator: Evaluator, artifacts: Sequence[MadeArtifact], sides: Sequence[ArtifactSide]
) -> tuple[list[ArtifactSide], dict[str, Sample]]:
    """Return the sides with the answers that changed on the split that decides, and row -> what it looks like.

    Args:
        evaluator: Knows the baseline's answers. The project's golden samples say whether any may be shown at all.
        artifacts: Those that were chosen.
        sides: Of the same, the best first: it gets most; then of candidates that were passed over.
    """
    project = evaluator.project
    if project.recipe.golden.source == "synthetic":
        return list(sides), {}
    chief = project.data.eval_splits[0]
    split = project.data.splits[chief]
    shown: dict[str, Sample] = {}
    found: list[ArtifactSide] = []
    for place, (artifact, side) in enumerate(zip(artifacts[:_ARTIFACTS], sides, strict=False)):
        changes = evaluator.changes(artifact.outputs, chief)
        rows = changes.largest()
        kept = [changes.told(int(row)) for row in rows[: _OF_BEST if place == 0 else _OF_OTHERS]]
        for row in {row for change in kept for row in (change.row, change.row_before, change.row_after)}:
            if row is not None and str(row) not in shown:
                inputs = {name: values[0] for name, values in split.rows(np.array([row])).items()}
                specs, folder = project.original.inputs, project.entries.folder
                shown[str(row)] = show_sample(inputs, specs, project.recipe.preprocess, folder)
        found.append(msgspec.structs.replace(side, changed=kept, changed_count=len(rows), changed_what=changes.what))
    return [*found, *sides[len(found) :]], shown
