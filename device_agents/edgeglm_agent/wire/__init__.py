"""What travels between host and board: manifest, telemetry, commands, topics. Pure: no I/O but bytes in and out.

The device package owns these types, because the device is upgraded last. Every document carries an integer
``schema``; unknown fields pass, so that an older reader accepts a newer writer of the same schema.
"""

from edgeglm_agent.wire.manifest import (
    MANIFEST_SCHEMA,
    Artifact,
    Buckets,
    Distribution,
    Histogram,
    Lineage,
    Manifest,
    ProcessOp,
    Reference,
    Runtime,
    TensorSpec,
    WireError,
    decode_manifest,
    encode_manifest,
)

__all__ = [
    "MANIFEST_SCHEMA",
    "Artifact",
    "Buckets",
    "Distribution",
    "Histogram",
    "Lineage",
    "Manifest",
    "ProcessOp",
    "Reference",
    "Runtime",
    "TensorSpec",
    "WireError",
    "decode_manifest",
    "encode_manifest",
]
