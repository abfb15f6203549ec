"""The program behind `kind = "camera"`: it opens a V4L2 device by PyAV, and writes its frames to standard output.

Motion JPEG goes through as the camera made it: the worker decodes only the frames that it uses. Raw formats become PPM.
"""

from __future__ import annotations

import argparse
import errno
import os
import sys
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator


def main(arguments: list[str] | None = None) -> int:
    """Write frames until the device ends or nobody reads. Returns the exit code."""
    parser = argparse.ArgumentParser(prog="edgeglm_agent.inputs.v4l2", description=__doc__)
    parser.add_argument("device")
    parser.add_argument("--size", default="640x480")
    parser.add_argument("--fps", default="")
    parser.add_argument("--format", choices=("auto", "mjpeg", "raw"), default="auto")
    parser.add_argument("--demuxer", default="v4l2", help="another one of FFmpeg's, for tests")
    said = parser.parse_args(arguments)
    import av  # extra `camera`

    output = sys.stdout.buffer.fileno()
    works = False
    try:
        with _opened(av, said) as container:
            for frame in frames(container):
                works = True
                _write(output, frame)
    except BrokenPipeError:
        return 0  # the worker has gone
    except (av.error.FFmpegError, OSError, ValueError) as error:
        hint = "; `v4l2-ctl --list-formats-ext` shows the formats and sizes that it has"
        gone = works or (isinstance(error, OSError) and error.errno == errno.ENODEV)  # pulled out
        print(f"{error}{'' if gone else hint}", file=sys.stderr)
        return 1
    print(f"{said.device}: gives no more frames", file=sys.stderr)
    return 1


def frames(container: Any) -> Iterator[bytes]:
    """Yield the frames of an open container as JPEG or PPM."""
    stream = container.streams.video[0]
    if stream.codec_context.name == "mjpeg":
        yield from (bytes(packet) for packet in container.demux(stream) if packet.size)
        return
    for frame in container.decode(stream):
        pixels = frame.reformat(format="rgb24")
        plane, row = pixels.planes[0], 3 * pixels.width
        content = memoryview(plane)
        rows = [content[start : start + row] for start in range(0, plane.line_size * pixels.height, plane.line_size)]
        yield b"".join([b"P6\n%d %d\n255\n" % (pixels.width, pixels.height), *rows])


def _opened(av: Any, said: argparse.Namespace) -> Any:
    """Return the open device; where the format is left open, Motion JPEG is tried first."""
    options = {"video_size": said.size}
    if said.fps:
        options["framerate"] = said.fps
    if said.demuxer != "v4l2":
        return av.open(said.device, format=said.demuxer)
    if said.format != "raw":
        try:
            return av.open(said.device, format="v4l2", options={**options, "input_format": "mjpeg"})
        except (av.error.FFmpegError, OSError):
            if said.format == "mjpeg":
                raise
    return av.open(said.device, format="v4l2", options=options)


def _write(output: int, frame: bytes) -> None:
    view = memoryview(frame)
    while view:
        view = view[os.write(output, view) :]


if __name__ == "__main__":
    sys.exit(main())
