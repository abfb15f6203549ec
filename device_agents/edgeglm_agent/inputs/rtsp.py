"""`kind = "rtsp"`: a network camera, read through ffmpeg or, where that is missing, GStreamer."""

from __future__ import annotations

import shlex
import shutil
from pathlib import Path
from typing import Annotated, Literal
from urllib.parse import quote

from msgspec import Meta

from edgeglm_agent.inputs._base import InputContext, InputError, Source
from edgeglm_agent.inputs.command import Pixels
from edgeglm_agent.inputs.frames import Layout
from edgeglm_agent.inputs.pipe import FrameInput
from edgeglm_agent.logs import hide
from edgeglm_agent.needs import PILLOW, RTSP, Need
from edgeglm_agent.passwords import hidden
from edgeglm_agent.settings.types import SecretPath

_ROW = 4  # bytes: GStreamer begins each row of RGB at a multiple of it


class RtspInput(FrameInput, tag="rtsp", frozen=True, kw_only=True):
    """A network camera that speaks RTSP, by ffmpeg, or by gst-launch-1.0 where there is no ffmpeg."""

    url: Annotated[str, Meta(pattern="^rtsps?://.")]  # rtsp://camera.local:554/stream1
    username: str | None = None  # with `password_file`; other users of the board see both in the list of processes
    password_file: SecretPath | None = None  # its first line; readable by the agent alone
    transport: Literal["tcp", "udp"] = "tcp"  # tcp: nothing is lost on the way
    width: Pixels | None = None  # pixels that frames are scaled to; none: as the camera sends them (ffmpeg alone)
    height: Pixels | None = None  # pixels, with `width`
    fps: Annotated[float, Meta(gt=0, le=240)] | None = None  # frames a second that are kept (ffmpeg alone); none: all

    def needs(self) -> tuple[Need, ...]:
        """Return what has to be installed: what ffmpeg gives are images."""
        return (RTSP, PILLOW) if shutil.which("ffmpeg") or self.mode == "grey" else (RTSP,)

    def check(self) -> None:
        """See ``Input.check``. Raises: InputError: One of two that go together is missing."""
        if (self.width is None) != (self.height is None):
            raise InputError("`width` and `height` go together", key="width" if self.height is None else "height")
        if (self.username is None) != (self.password_file is None):
            missing = "password_file" if self.password_file is None else "username"
            raise InputError("`username` and `password_file` go together", key=missing, hint="add it")

    def open(self, context: InputContext) -> Source:
        """Start to read the camera. Raises: InputError, InputLostError."""
        self.check()
        self.check_needs()
        address = self._address()
        if shutil.which("ffmpeg"):
            argv, layout = self.by_ffmpeg(address), Layout(kind="images")
        else:
            argv, layout = self.by_gstreamer(address)
        return self.frames(context, argv, layout, device=f"rtsp {shlex.join(argv)}", called=hidden(self.url))

    def by_ffmpeg(self, address: str) -> list[str]:
        """Return the command line that writes frames as PPM, which tell their size."""
        filters = [f"fps={self.fps:g}"] if self.fps else []
        filters += [f"scale={self.width}:{self.height}"] if self.width else []
        how = ["-nostdin", "-hide_banner", "-loglevel", "error", "-rtsp_transport", self.transport]
        shaped = ["-vf", ",".join(filters)] if filters else []
        return ["ffmpeg", *how, "-i", address, "-an", *shaped, "-f", "image2pipe", "-c:v", "ppm", "-"]

    def by_gstreamer(self, address: str) -> tuple[list[str], Layout]:
        """Return the command line that writes frames as RGB, and how they lie. Raises: InputError."""
        if self.width is None or self.height is None:
            raise InputError("without ffmpeg, GStreamer has to be told a size", key="width", hint="or install ffmpeg")
        if self.fps is not None:
            raise InputError("without ffmpeg all frames are taken", key="fps", hint="or install ffmpeg")
        source = ["rtspsrc", f"location={address}", f"protocols={self.transport}", "latency=200", "!", "decodebin"]
        caps = f"video/x-raw,format=RGB,width={self.width},height={self.height}"
        ours = ["!", "videoconvert", "!", "videoscale", "!", caps, "!", "fdsink", "fd=1", "sync=false"]
        layout = Layout(kind="rgb", width=self.width, height=self.height, align=_ROW)
        return ["gst-launch-1.0", "-q", *source, *ours], layout

    def _address(self) -> str:
        """Return the URL with name and password. Raises: InputError."""
        if self.username is None or self.password_file is None:
            return self.url
        try:
            password = (Path(self.password_file).read_text("utf-8").splitlines() or [""])[0]
        except (OSError, UnicodeDecodeError) as error:
            raise InputError(f"{self.password_file} cannot be read: {error}", key="password_file") from error
        hide(password)
        hide(quote(password, safe=""))
        scheme, _, rest = self.url.partition("://")
        return f"{scheme}://{quote(self.username, safe='')}:{quote(password, safe='')}@{rest}"
