"""Samples whose answer changed, for the report: which, and what they look like."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec
import numpy as np

from edgeglm.data.samples import show_sample

if TYPE_CHECKING:
    from collections.abc import Sequence

    from edgeglm.data.splits import Arrays
    from edgeglm.pipeline.project import Project
    from edgeglm.pipeline.sides import MadeArtifact
    from edgeglm.report.types import ArtifactSide, Sample

_OF_BEST, _OF_OTHERS = 12, 6  # samples shown
_ARTIFACTS = 5  # that get any


def with_changes(
    project: Project, before: dict[str, Arrays], artifacts: Sequence[MadeArtifact], sides: Sequence[ArtifactSide]
) -> tuple[list[ArtifactSide], dict[str, Sample]]:
    """Return the sides with the answers that changed on the split that decides, and row -> what it looks like.

    Args:
        project: Its golden samples say whether samples may be shown at all.
        before: Split -> the original's outputs.
        artifacts: Those that were chosen.
        sides: Of the same, the best first: it gets most; then of candidates that were passed over.
    """
    if project.recipe.golden.source == "synthetic":
        return list(sides), {}
    chief, task = project.data.eval_splits[0], project.recipe.task
    split = project.data.splits[chief]
    shown: dict[str, Sample] = {}
    found: list[ArtifactSide] = []
    for place, (artifact, side) in enumerate(zip(artifacts[:_ARTIFACTS], sides, strict=False)):
        changes = task.changes(before[chief], artifact.outputs[chief], split.targets, project.data.labels)
        if changes is None:
            return list(sides), {}
        kept = changes[: _OF_BEST if place == 0 else _OF_OTHERS]
        for change in kept:
            if str(change.row) not in shown:
                row = {name: values[0] for name, values in split.rows(np.array([change.row])).items()}
                folder, inputs = project.entries.folder, project.original.inputs
                shown[str(change.row)] = show_sample(row, inputs, project.recipe.preprocess, folder)
        found.append(msgspec.structs.replace(side, changed=kept, changed_count=len(changes)))
    return [*found, *sides[len(found) :]], shown
