"""`kind = "command"`: frames that a program of yours writes to its standard output."""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING, Annotated, Literal

from msgspec import Meta

from edgeglm_agent.inputs.frames import Layout
from edgeglm_agent.inputs.pipe import FrameInput
from edgeglm_agent.needs import PILLOW, Need

if TYPE_CHECKING:
    from edgeglm_agent.inputs._base import InputContext, Source

Pixels = Annotated[int, Meta(ge=1, le=16384)]


class CommandInput(FrameInput, tag="command", frozen=True, kw_only=True):
    """Frames that a program writes to its standard output; it is started, watched and ended by the worker."""

    command: Annotated[list[str], Meta(min_length=1)]  # the program and its arguments; there is no shell
    frames_as: Literal["images", "rgb", "bgr", "grey", "yuv420"] = "images"  # images: JPEG (mjpeg) or PPM in a row
    width: Pixels | None = None  # pixels; of all but images
    height: Pixels | None = None  # pixels; of all but images
    matrix: Literal["bt601", "bt709"] = "bt601"  # what the colours of yuv420 follow
    at_end: Literal["restart", "stop"] = "restart"  # stop: the slot is idle once the program has ended with status 0

    def needs(self) -> tuple[Need, ...]:
        """Return what has to be installed."""
        program = self.command[0]
        own = Need(f"the program `{program}`", "install it, or correct PATH", programs=(program,))
        return (own, PILLOW) if self.frames_as == "images" else (own,)

    def check(self) -> None:
        """See ``Input.check``. Raises: InputError: Frames without a size, or of one that cannot be."""
        self.layout().check()

    def layout(self) -> Layout:
        """Return how frames follow each other."""
        return Layout(kind=self.frames_as, width=self.width or 0, height=self.height or 0, matrix=self.matrix)

    def open(self, context: InputContext) -> Source:
        """Start the program. Raises: InputError, InputLostError."""
        self.check_needs()
        return self.frames(
            context,
            self.command,
            self.layout(),
            device=f"command {shlex.join(self.command)}",
            called=f"`{self.command[0]}`",
            once=self.at_end == "stop",
        )
