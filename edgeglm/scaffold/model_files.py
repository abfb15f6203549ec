"""What an ONNX or TFLite file tells about a recipe; one that edgeglm can do nothing for is refused here."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from edgeglm.errors import ModelError

if TYPE_CHECKING:
    from pathlib import Path

    from edgeglm_agent.wire import TensorSpec

_SMALL_TYPES = ("int4", "uint4", "int8", "uint8", "float16")


@dataclass(frozen=True)
class FileFacts:
    """What was found in a file."""

    input: TensorSpec | None  # None: there are several
    classes: int  # -1 where the file leaves it open
    output: str | None  # the one that holds the logits, when it is not the first


def look(path: Path, file_format: str) -> FileFacts:
    """Return what a classifier's file takes and gives.

    Raises:
        UserError: ``file-lfs-pointer``.
        ModelError: It cannot be read, no output has one value for each class (``output-not-logits``), or its weights
            are quantized (``already-quantized``).
        MissingExtraError: What reads this format is not installed.
    """
    from edgeglm.measure.census import describe, weight_dtypes
    from edgeglm.sources.lfs import refuse_lfs_pointer

    refuse_lfs_pointer(path, str(path))
    inputs, outputs = describe(path, file_format)
    logits = [spec for spec in outputs if len(spec.shape) == 1 and spec.shape[0] not in (0, 1)]
    if not logits:
        shown = ", ".join(f"`{spec.name}` {list(spec.shape)}" for spec in outputs[:4])
        raise ModelError(
            f"this is no classifier: no output has one value for each of two or more classes (there is {shown}"
            f"{f', and {len(outputs) - 4} more' if len(outputs) > 4 else ''}; shapes of one sample)",
            where=str(path),
            hint="edgeglm compresses classifiers; a detector or a segmenter cannot be judged by accuracy",
            code="output-not-logits",
        )
    held = weight_dtypes(path, file_format)
    if sum(held.get(name, 0) for name in _SMALL_TYPES) > held.get("float32", 0):
        small = ", ".join(name for name in _SMALL_TYPES if name in held)
        raise ModelError(
            f"the file is quantized already: its weights are {small}",
            where=str(path),
            hint="give the FP32 file that it was made from",
            code="already-quantized",
        )
    first = outputs[0] in logits
    return FileFacts(inputs[0] if len(inputs) == 1 else None, logits[0].shape[0], None if first else logits[0].name)
