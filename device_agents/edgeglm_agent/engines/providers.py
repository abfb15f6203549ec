"""ONNX Runtime's providers: asked for by name, and believed only when an inference has run on them.

``get_available_providers`` says what a build was compiled with, not what works. Where CUDA, cuDNN or the driver is
missing or of another version, a session is made on the CPU without an error, whatever ``disable_fallback`` says
(onnxruntime issues 17801 and 23372); and a provider that starts may still leave every node to the CPU. So the first
inference is profiled, and its nodes are counted.
"""

from __future__ import annotations

import ctypes
import hashlib
import json
import os
import tempfile
from collections import Counter
from contextlib import suppress
from pathlib import Path
from typing import Any

from edgeglm_agent.engines._base import EngineError
from edgeglm_agent.engines.engine_cache import EngineCache

NAMES = {"cpu": "CPUExecutionProvider", "cuda": "CUDAExecutionProvider", "tensorrt": "TensorrtExecutionProvider"}
_CAPABILITY = (75, 76)  # CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR and _MINOR
_TENSORRT = ("libnvinfer.so.10", "libnvinfer.so.8", "libnvinfer.so")


def check_built_in(ort: Any, provider: str) -> None:
    """Refuse a provider that this build of ONNX Runtime does not know. Raises: EngineError."""
    there = ort.get_available_providers()
    if NAMES[provider] not in there:
        known = [name for name, its in NAMES.items() if its in there]
        raise EngineError(
            f"onnxruntime {ort.__version__} was built without {provider}; it has {', '.join(known)}",
            fault="no-runtime",
        )


def arguments(ort: Any, provider: str, *, path: Path, cache: EngineCache | None) -> list[Any]:
    """Return what a session is given: the provider, and those that take the nodes which it leaves.

    Float stays float32, as on the host: TF32 would miss the golden samples by a factor of ten.
    """
    if provider == "cpu":
        return [NAMES["cpu"]]
    os.environ["NVIDIA_TF32_OVERRIDE"] = "0"  # TensorRT has no option for it; read when the libraries start
    cuda = (NAMES["cuda"], {"use_tf32": "0"})
    if provider == "cuda":
        return [cuda, NAMES["cpu"]]
    options = {}
    if b"QuantizeLinear" in path.read_bytes():  # names of operators stand in the file as they are
        options["trt_int8_enable"] = "1"
    if cache is not None:
        folder = str(cache.path)
        options |= {"trt_engine_cache_enable": "1", "trt_engine_cache_path": folder}
        options |= {"trt_timing_cache_enable": "1", "trt_timing_cache_path": folder}
    rest = [cuda] if NAMES["cuda"] in ort.get_available_providers() else []
    return [(NAMES["tensorrt"], options), *rest, NAMES["cpu"]]


def check_started(ort: Any, session: Any, provider: str) -> None:
    """Refuse a session that ONNX Runtime made without the provider. Raises: EngineError."""
    if NAMES[provider] not in session.get_providers():
        raise EngineError(
            f"onnxruntime {ort.__version__} was built with {provider} and could not start it: the GPU, its driver or "
            "libraries (CUDA, cuDNN, TensorRT) are missing or of other versions",
            fault="no-runtime",
        )


class Proof:
    """A profile of the first inference of a session."""

    def __init__(self, provider: str, options: Any) -> None:
        """Let a session that is made with these options be profiled."""
        self._provider = provider
        self._folder = tempfile.TemporaryDirectory(prefix="edgeglm-")
        options.enable_profiling = True
        options.profile_file_prefix = str(Path(self._folder.name) / "first")

    def finish(self, session: Any) -> str:
        """End the profile, and return which provider ran: ``cuda``, or ``cuda (40 of 42 nodes; the rest on cpu)``.

        Raises:
            EngineError: It ran no node.
        """
        profile = Path(session.end_profiling()).read_bytes()
        self._folder.cleanup()
        ran = nodes_by_provider(profile)
        own, total = ran.pop(NAMES[self._provider], 0), sum(ran.values())
        total += own
        if not own:
            raise EngineError(
                f"{self._provider} was started and ran none of {total} nodes of the model", fault="no-runtime"
            )
        called = {its: name for name, its in NAMES.items()}
        others = ", ".join(called.get(name, name) for name in ran)
        return f"{self._provider} ({own} of {total} nodes; the rest on {others})" if ran else self._provider


def nodes_by_provider(profile: bytes) -> Counter[str]:
    """Return how many nodes each provider ran, by a profile of ONNX Runtime; copies between memories do not count.

    Raises:
        EngineError: It is no profile.
    """
    nodes: dict[str, str] = {}
    try:
        for event in json.loads(profile):
            about = event.get("args", {})
            if event.get("cat") == "Node" and about.get("provider") and not about["op_name"].startswith("Memcpy"):
                nodes[about.get("node_index", event["name"])] = about["provider"]
    except (ValueError, KeyError, AttributeError, TypeError) as error:
        raise EngineError(f"onnxruntime wrote a profile that cannot be read: {error}", fault="run-failed") from error
    return Counter(nodes.values())


def tensorrt_cache(ort: Any, path: Path, root: Path) -> EngineCache | None:
    """Return where engines of this model are kept on this GPU; None: what they depend on cannot be told."""
    version, capability = tensorrt_version(), compute_capability()
    if not version or not capability:
        return None
    sha256 = hashlib.sha256(path.read_bytes()).hexdigest()
    return EngineCache(root, key=(f"tensorrt {version}", capability, f"onnxruntime {ort.__version__}", sha256))


def tensorrt_version() -> str:
    """Return what the TensorRT library calls itself, as 100300 for 10.3.0; empty: there is none."""
    for name in _TENSORRT:
        with suppress(OSError, AttributeError):
            return str(ctypes.CDLL(name).getInferLibVersion())
    return ""


def compute_capability() -> str:
    """Return the first GPU's architecture as the driver says it, as ``sm_87``; empty: there is no GPU."""
    try:
        cuda = ctypes.CDLL("libcuda.so.1")
    except OSError:
        return ""
    device, value = ctypes.c_int(), ctypes.c_int()
    if cuda.cuInit(0) or cuda.cuDeviceGet(ctypes.byref(device), 0):
        return ""
    parts = []
    for attribute in _CAPABILITY:
        if cuda.cuDeviceGetAttribute(ctypes.byref(value), attribute, device):
            return ""
        parts.append(str(value.value))
    return f"sm_{''.join(parts)}"
