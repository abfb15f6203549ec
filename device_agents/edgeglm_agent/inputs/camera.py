"""`kind = "camera"`: a USB camera (V4L2), read by PyAV in a process of its own.

A camera that hangs blocks whoever reads it, inside the kernel: a process can be ended then, a thread cannot. And what
FFmpeg's libraries take of memory, or break, is not the model's.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Literal

from msgspec import Meta

from edgeglm_agent.inputs._base import InputContext, InputError, InputLostError, Source
from edgeglm_agent.inputs.command import Pixels
from edgeglm_agent.inputs.frames import Layout
from edgeglm_agent.inputs.pipe import FrameInput
from edgeglm_agent.needs import PILLOW, PYAV, Need

_PROGRAM = "edgeglm_agent.inputs.v4l2"


class CameraInput(FrameInput, tag="camera", frozen=True, kw_only=True):
    """A USB camera, or what else is a V4L2 device (extra `camera`)."""

    device: str = "/dev/video0"  # better a name that stays: /dev/v4l/by-id/...
    width: Pixels = 640  # pixels; the camera may choose the nearest size that it has
    height: Pixels = 480  # pixels
    fps: Annotated[float, Meta(gt=0, le=240)] | None = None  # frames a second; none: as the camera likes
    format: Literal["auto", "mjpeg", "raw"] = "auto"  # auto: mjpeg, which needs a tenth of the cable, where there is it

    def needs(self) -> tuple[Need, ...]:
        """Return what has to be installed: the frames are JPEG images."""
        return (PYAV, PILLOW)

    def open(self, context: InputContext) -> Source:
        """Open the camera. Raises: InputError, InputLostError."""
        self.check_needs()
        device = Path(self.device)
        if not device.exists():
            raise InputLostError(f"{device} is not there")
        if not device.is_char_device():
            raise InputError(f"{device} is no camera", key="device", hint="`v4l2-ctl --list-devices` shows them")
        return self.frames(
            context, self.argv(), Layout(kind="images"), device=f"video {device.resolve()}", called=self.device
        )

    def argv(self) -> list[str]:
        """Return the command line."""
        rate = [f"--fps={self.fps:g}"] if self.fps else []
        size = f"--size={self.width}x{self.height}"
        return [sys.executable, "-m", _PROGRAM, size, f"--format={self.format}", *rate, self.device]
