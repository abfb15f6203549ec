"""Whether an artifact still answers its golden samples: asked when it is loaded, and when it seems to have broken."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from edgeglm_agent.golden import Golden, GoldenError, difference, read_golden
from edgeglm_agent.processing import cut_to_bucket

if TYPE_CHECKING:
    from collections.abc import Callable

    from edgeglm_agent.engines import Engine
    from edgeglm_agent.wire import Artifact
    from edgeglm_agent.worker.folder import ModelFolder


def golden_of(folder: ModelFolder, artifact: Artifact) -> Golden:
    """Return an artifact's golden samples. Raises: FolderError, GoldenError: They are not what the manifest lists."""
    return read_golden(folder.listed(artifact.golden).read_bytes())


def missed(
    engine: Engine, golden: Golden, artifact: Artifact, batch: int, begins: Callable[[], None] = lambda: None
) -> str:
    """Return how a loaded artifact misses its golden outputs; empty where it does not.

    Args:
        engine: The artifact, loaded.
        golden: Its samples.
        artifact: What the manifest says of it.
        batch: So many rows at a time, as it was judged at.
        begins: Is called before each inference: for who watches how long one takes.

    Raises:
        GoldenError: The samples do not fit the artifact.
        EngineError: The runtime failed.
    """
    parts = []
    for row in range(0, golden.samples, batch):
        part = {name: values[row : row + batch] for name, values in golden.inputs.items()}
        if artifact.buckets is not None and artifact.buckets.mask not in part:
            raise GoldenError(f"its golden samples have no `{artifact.buckets.mask}`")
        begins()
        parts.append(engine.run(cut_to_bucket(part, artifact.buckets)))
    answers = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
    return difference(golden.outputs, answers, quantized=artifact.scheme != "none")
