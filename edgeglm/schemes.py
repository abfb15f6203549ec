"""How an artifact may be quantized: our schemes are ``recipe.Quantize``, packages add theirs here.

The entry point group is ``edgeglm.schemes`` (scheme -> a ``SchemeConfig`` subclass).
"""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, ClassVar, get_args

import msgspec

from edgeglm.plugins import with_plugins

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from edgeglm.boards import Board
    from edgeglm.data.splits import Arrays

GROUP = "edgeglm.schemes"


class SchemeConfig(msgspec.Struct, tag_field="scheme", frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Base of all schemes: settings as fields, the work in ``quantize``."""

    formats: ClassVar[tuple[str, ...]] = ("onnx",)  # of the files that it takes, and writes

    @property
    def calibration_samples(self) -> int:
        """How many samples of the calibration split it is offered, at most."""
        return 256

    def quantize(self, source: Path, path: Path, calibration: Iterable[Arrays], board: Board) -> list[str]:
        """Write the quantized file; it is then loaded again, run, counted and judged like any other.

        Args:
            source: FP32, of one of ``formats``: what ``quantize: none`` would have written. Not to be changed.
            path: Where the file goes, in the format of the source.
            calibration: Batches of preprocessed samples by input name, in the model's layout; made as they are read.
            board: Caps the opset, and says which type activations have there.

        Returns:
            What the report should warn of.

        Raises:
            ExportError: It cannot be done; anything else that is raised becomes one.
        """
        raise NotImplementedError


@cache
def scheme_types() -> dict[str, type[SchemeConfig]]:
    """Return scheme -> struct, of installed packages. Raises: UserError (``plugin-invalid``)."""
    from edgeglm.recipe.types import Scheme  # late: it names SchemeConfig itself

    return with_plugins((), SchemeConfig, group=GROUP, needs=("quantize",), taken=get_args(Scheme))
