"""Nothing phones home: libraries that would are told not to, before they are imported."""

from __future__ import annotations

import os
import sys
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
    "TPU_SKIP_MDS_QUERY": "1",  # jax asks a cloud metadata server otherwise
    "JAX_PLATFORMS": "cpu",
}


def go_offline(environment: MutableMapping[str, str] = os.environ) -> None:
    """Silence every known telemetry in this environment (default: this process and its children)."""
    environment.update(SILENT)


def block_openvino_telemetry() -> None:
    """Let ``openvino_telemetry`` not be found, nor send: OpenVINO and nncf do without it, and know no variable for it.

    Its mere import by theirs would make an identity file in the home folder and report that OpenVINO is in use. Where
    it was imported before us, by code that is not ours, its sender is silenced.
    """
    if sys.modules.get("openvino_telemetry") is None:
        sys.modules["openvino_telemetry"] = None  # type: ignore[assignment]
        return
    from openvino_telemetry.utils import sender

    sender.TelemetrySender.send = lambda *_: None
