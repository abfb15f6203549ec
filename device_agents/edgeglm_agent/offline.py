"""Nothing phones home: libraries that would are told not to, before they are imported."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import MutableMapping

# Set, not defaulted: a library's own default, or a stray variable of the user's shell, must not open a connection.
SILENT = {
    "ORT_DISABLE_TELEMETRY": "1",  # onnxruntime >= 1.29 uploads from Linux unless this is set before it initialises
    "HF_HUB_OFFLINE": "1",
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "TRANSFORMERS_OFFLINE": "1",
    "HF_DATASETS_OFFLINE": "1",
    "DO_NOT_TRACK": "1",
    "NNCF_DISABLE_TELEMETRY": "1",
    "TPU_SKIP_MDS_QUERY": "1",  # jax asks a cloud metadata server otherwise
    "JAX_PLATFORMS": "cpu",
}


def go_offline(environment: MutableMapping[str, str] = os.environ) -> None:
    """Silence every known telemetry in this environment (default: this process and its children)."""
    environment.update(SILENT)
