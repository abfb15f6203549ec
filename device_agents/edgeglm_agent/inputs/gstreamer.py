"""`kind = "gstreamer"`: whatever a GStreamer pipeline gives: a Jetson's camera, a capture card, a test picture."""

from __future__ import annotations

import shlex
from typing import Annotated

from msgspec import Meta

from edgeglm_agent.inputs._base import InputContext, InputError, Source
from edgeglm_agent.inputs.frames import Layout
from edgeglm_agent.inputs.pipe import FrameInput
from edgeglm_agent.needs import GSTREAMER, PILLOW, Need

_PROGRAM = "gst-launch-1.0"
_ROW = 4  # bytes: GStreamer begins each row of RGB at a multiple of it


class GstreamerInput(FrameInput, tag="gstreamer", frozen=True, kw_only=True):
    """A GStreamer pipeline, by gst-launch-1.0; the agent adds what makes it frames of RGB."""

    pipeline: Annotated[str, Meta(min_length=1)]  # from its source on: "nvarguscamerasrc ! nvvidconv", "v4l2src"
    width: Annotated[int, Meta(ge=1, le=16384)] = 640  # pixels that frames are scaled to
    height: Annotated[int, Meta(ge=1, le=16384)] = 480  # pixels

    def needs(self) -> tuple[Need, ...]:
        """Return what has to be installed: Pillow makes RGB grey."""
        return (GSTREAMER, PILLOW) if self.mode == "grey" else (GSTREAMER,)

    def check(self) -> None:
        """See ``Input.check``. Raises: InputError: A quote is open, or frames are too large."""
        self.argv()
        self.layout().check()

    def layout(self) -> Layout:
        """Return how frames follow each other."""
        return Layout(kind="rgb", width=self.width, height=self.height, align=_ROW)

    def open(self, context: InputContext) -> Source:
        """Start the pipeline. Raises: InputError, InputLostError."""
        self.check_needs()
        return self.frames(
            context,
            self.argv(),
            self.layout(),
            device=f"gstreamer {self.pipeline}",
            called="the pipeline",
        )

    def argv(self) -> list[str]:
        """Return the command line. Raises: InputError."""
        try:
            words = shlex.split(self.pipeline)
        except ValueError as error:
            raise InputError(f"{error}", key="pipeline", hint="close every quote") from error
        caps = f"video/x-raw,format=RGB,width={self.width},height={self.height}"
        ours = ["!", "videoconvert", "!", "videoscale", "!", caps, "!", "fdsink", "fd=1", "sync=false"]
        return [_PROGRAM, "-q", *words, *ours]
