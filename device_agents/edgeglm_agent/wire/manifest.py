"""The manifest: what a folder of artifacts holds, and how a board knows that it still works."""

from __future__ import annotations

import msgspec

MANIFEST_SCHEMA = 1
# what msgspec raises on bytes that are not what they should be; text that is no UTF-8 is not its own error
UNREADABLE = (msgspec.MsgspecError, RecursionError, UnicodeDecodeError)


class WireError(ValueError):
    """Bytes that are not the document they claim to be."""


class ProcessOp(msgspec.Struct, frozen=True, omit_defaults=True):
    """One operation of pre- or post-processing: its name and settings (see ``edgeglm_agent.processing``)."""

    op: str
    settings: dict[str, object] = {}


class TensorSpec(msgspec.Struct, frozen=True):
    """One input or output of an artifact."""

    name: str
    dtype: str  # numpy name: float32, int64, ...
    shape: tuple[int, ...]  # without the batch axis
    layout: str  # axes with the batch axis first: NCHW, NHWC, NC, or "" when the rank says nothing


class Runtime(msgspec.Struct, frozen=True):
    """What loads an artifact."""

    name: str  # onnxruntime | litert | openvino
    least_version: str


class Buckets(msgspec.Struct, frozen=True):
    """Lengths that padded sequences may be cut to before they go in (``processing.cut_to_bucket``)."""

    lengths: tuple[int, ...]  # rising; the last one is the full length
    mask: str  # input that is 1 for tokens and 0 for padding
    inputs: tuple[str, ...]  # those that are cut, the mask among them


class Artifact(msgspec.Struct, frozen=True):
    """One model file, and how to know that it still works."""

    path: str  # relative to the manifest; what belongs to it (OpenVINO: .bin beside the .xml) is among the files
    sha256: str  # lower-case hex, of the file at ``path``
    size_bytes: int  # with what belongs to it
    format: str  # onnx | tflite | openvino
    scheme: str  # none | fp16 | dynamic-int8 | static-int8 | weight-only-int8 | weight-only-int4 | a package's
    runtime: Runtime
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    golden: str  # safetensors beside the manifest: input.<name>, output.<name>
    batch: int | None = None  # the one batch size the file takes; None: any
    buckets: Buckets | None = None  # None: sequences go in as long as they are padded


class Histogram(msgspec.Struct, frozen=True):
    """A mergeable histogram: ``counts[i]`` values lie in ``[edges[i], edges[i+1])``; the last bin is closed."""

    edges: tuple[float, ...]
    counts: tuple[int, ...]  # len(edges) - 1
    below: int = 0
    above: int = 0


class Distribution(msgspec.Struct, frozen=True):
    """How one tensor was distributed on the evaluation data."""

    n: int  # values seen
    mean: float
    std: float
    low: float
    high: float
    histogram: Histogram


class Reference(msgspec.Struct, frozen=True):
    """What inputs and outputs looked like when the model was proved good; drift is measured from here."""

    samples: int
    inputs: dict[str, Distribution]  # by input name
    outputs: dict[str, Distribution]  # by output name
    predicted: dict[str, float] = {}  # classification: label -> share of predictions


class Lineage(msgspec.Struct, frozen=True):
    """Where a result comes from, as far as it can be told."""

    recipe_sha256: str
    data_sha256: str
    code_sha256: str  # the user's modules below the recipe's folder
    weights_sha256: str
    versions: dict[str, str]  # package -> version
    provenance: dict[str, str] = {}


class Manifest(msgspec.Struct, frozen=True):
    """One folder, several artifacts of one model; an agent takes the first that passes its golden samples."""

    schema: int
    name: str
    version: str
    target: str
    artifacts: tuple[Artifact, ...]
    files: dict[str, str]  # every other file of the folder -> sha256
    inputs: tuple[TensorSpec, ...]  # what preprocessing yields; an artifact of another layout has it transposed
    preprocess: tuple[ProcessOp, ...]
    postprocess: tuple[ProcessOp, ...]
    labels: tuple[str, ...]
    reference: Reference | None
    lineage: Lineage
    serve_batch: int = 1  # rows at a time that all was judged at: under dynamic-int8 another number answers otherwise


def encode_manifest(manifest: Manifest) -> bytes:
    """Return the manifest as indented JSON, ending in a newline."""
    return msgspec.json.format(msgspec.json.encode(manifest), indent=2) + b"\n"


def decode_manifest(data: bytes) -> Manifest:
    """Return the manifest that these bytes hold.

    Raises:
        WireError: The bytes are not JSON, lack a field, or are of another schema.
    """
    try:
        schema = msgspec.json.decode(data, type=_Head).schema
    except UNREADABLE as error:
        raise WireError(f"not a manifest: {error}") from error
    if schema != MANIFEST_SCHEMA:
        raise WireError(f"manifest of schema {schema}; this version reads {MANIFEST_SCHEMA}")
    try:
        return msgspec.json.decode(data, type=Manifest)
    except UNREADABLE as error:
        raise WireError(f"not a manifest of schema {schema}: {error}") from error


class _Head(msgspec.Struct):
    schema: int
