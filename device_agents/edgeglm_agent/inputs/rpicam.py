"""`kind = "rpicam"`: the Raspberry Pi's own camera, read through rpicam-vid."""

from __future__ import annotations

import shutil
from typing import Annotated, Literal

from msgspec import Meta

from edgeglm_agent.inputs._base import InputContext, InputError, Source
from edgeglm_agent.inputs.frames import Layout, Matrix
from edgeglm_agent.inputs.pipe import FrameInput
from edgeglm_agent.needs import PILLOW, RPICAM, Need

_ROW = 64  # pixels: libcamera fills rows of yuv420 up to a multiple of it
_HD = (1280, 720)  # from here on rpicam-vid chooses the colours of BT.709


class RpicamInput(FrameInput, tag="rpicam", frozen=True, kw_only=True):
    """The Raspberry Pi's camera on the ribbon cable, by rpicam-vid: OpenCV and V4L2 alone cannot open it."""

    camera: Annotated[int, Meta(ge=0, le=7)] = 0  # number as `rpicam-vid --list-cameras` shows it
    width: Annotated[int, Meta(ge=64, le=8192)] = 640  # pixels; of yuv420 a multiple of 64
    height: Annotated[int, Meta(ge=64, le=8192)] = 480  # pixels
    fps: Annotated[float, Meta(gt=0, le=240)] = 10.0  # frames a second; the model gets the newest each time
    codec: Literal["mjpeg", "yuv420"] = "mjpeg"  # yuv420: exact pixels, less work for the Pi, more for the pipe
    options: list[str] = []  # further arguments, as ["--hflip", "--exposure", "sport"]

    def needs(self) -> tuple[Need, ...]:
        """Return what has to be installed: mjpeg is JPEG images."""
        return (RPICAM, PILLOW) if self.codec == "mjpeg" else (RPICAM,)

    def check(self) -> None:
        """See ``Input.check``. Raises: InputError: A width that frames of yuv420 cannot have, or too large ones."""
        if self.codec == "yuv420" and self.width % _ROW:
            raise InputError(f"a width of {self.width} is no multiple of {_ROW}", key="width", hint="or use mjpeg")
        self.layout().check()

    def layout(self) -> Layout:
        """Return how frames follow each other."""
        if self.codec == "mjpeg":
            return Layout(kind="images")
        hd = self.width >= _HD[0] or self.height >= _HD[1]
        matrix: Matrix = "bt709" if hd else "bt601"
        return Layout(kind="yuv420", width=self.width, height=self.height, matrix=matrix)

    def open(self, context: InputContext) -> Source:
        """Start rpicam-vid. Raises: InputError, InputLostError."""
        self.check_needs()
        program = next(name for name in RPICAM.programs if shutil.which(name))
        self.check()
        return self.frames(
            context,
            self.argv(program),
            self.layout(),
            device=f"rpicam {self.camera}",
            called=f"camera {self.camera}",
        )

    def argv(self, program: str) -> list[str]:
        """Return the command line."""
        settings = {"camera": self.camera, "width": self.width, "height": self.height, "framerate": f"{self.fps:g}"}
        words = [word for key, value in settings.items() for word in (f"--{key}", str(value))]
        plain = ["--timeout", "0", "--nopreview", "--flush", "--codec", self.codec, "--output", "-"]
        return [program, *words, *plain, *self.options]
