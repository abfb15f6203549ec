"""Frames of a camera as bytes, cut out of a stream, and made arrays of. NumPy comes when one is decoded."""

from __future__ import annotations

import re
import time
from typing import IO, TYPE_CHECKING, Any, Literal, TypeAlias

import msgspec

from edgeglm_agent.inputs._base import Arrival, EndOfInput, InputError, InputLostError
from edgeglm_agent.needs import PILLOW

if TYPE_CHECKING:
    from collections.abc import Iterator

    import numpy as np

    from edgeglm_agent.inputs.shared import Tap
    from edgeglm_agent.processing.images import ImageMode

Kind: TypeAlias = Literal["images", "rgb", "bgr", "grey", "yuv420"]
Matrix: TypeAlias = Literal["bt601", "bt709"]
_MOST_BYTES = 64 * 1024 * 1024  # of one frame
_READ = 1 << 20
_LOOK_S = 0.2  # how soon ``stop`` is seen
START_S = 20.0  # that a program may take to load, before its silence counts: the first time, from a slow card
_PPM = re.compile(rb"P6\s+(\d{1,5})\s+(\d{1,5})\s+255\s")
_BEGINNING = 20  # bytes: as long as the header of a PPM image may be
_MARKER = re.compile(rb"\xff[^\x00\xff\xd0-\xd7]")  # ends what an entropy-coded part of a JPEG image may hold
_SOI, _EOI, _SOS = 0xD8, 0xD9, 0xDA
# how much red, green and blue follow from U and V, of video range (Y 16 to 235): ITU-R BT.601 and BT.709
_CHROMA = {"bt601": (1.596027, 0.391762, 0.812968, 2.017232), "bt709": (1.792741, 0.213249, 0.532909, 2.112402)}
_LUMA = 255 / 219


class Layout(msgspec.Struct, frozen=True, kw_only=True):
    """How frames follow each other in a stream of bytes."""

    kind: Kind  # images: JPEG or PPM, one after the other, which tell their own end
    width: int = 0  # pixels; of all but images
    height: int = 0
    align: int = 1  # each row begins at a multiple of so many bytes: GStreamer's RGB at 4
    matrix: Matrix = "bt601"  # of yuv420

    @property
    def row_bytes(self) -> int:
        """Bytes of one row; of yuv420, of one row of luma."""
        wanted = self.width * (3 if self.kind in ("rgb", "bgr") else 1)
        return -(-wanted // self.align) * self.align

    @property
    def frame_bytes(self) -> int:
        """Bytes of one frame."""
        return self.row_bytes * self.height * (3 if self.kind == "yuv420" else 2) // 2

    def check(self) -> None:
        """Raise InputError where frames of this layout cannot be."""
        if self.kind == "images":
            return
        if self.width < 1 or self.height < 1:
            raise InputError(f"frames of `{self.kind}` carry no size", key="width", hint="set `width` and `height`")
        if self.kind == "yuv420" and (self.width % 2 or self.height % 2):
            raise InputError(f"{self.width} x {self.height}: yuv420 has even sizes only", key="width")
        if self.frame_bytes > _MOST_BYTES:
            raise InputError(f"frames of {self.frame_bytes} bytes; at most {_MOST_BYTES} are read", key="width")

    def cut(self, stream: IO[bytes]) -> Iterator[bytes | bytearray]:
        """Yield whole frames until the stream ends; what is left of one then is thrown away."""
        return _images(stream) if self.kind == "images" else _fixed(stream, self.frame_bytes)

    def array(self, frame: bytes | bytearray, mode: ImageMode) -> np.ndarray:
        """Return one frame as uint8 (height, width, 3), or (height, width, 1) when mode is ``grey``.

        Raises:
            decode.DamagedError: It is damaged.
        """
        import numpy as np

        from edgeglm_agent.inputs import decode

        if self.kind == "images":
            return decode.picture(bytes(frame), mode)
        if len(frame) != self.frame_bytes:
            raise decode.DamagedError(f"a frame of {len(frame)} bytes, not {self.frame_bytes}")
        if self.kind == "yuv420":
            pixels = self._from_yuv(np.frombuffer(frame, np.uint8), mode)
        else:
            rows = np.frombuffer(frame, np.uint8).reshape(self.height, self.row_bytes)
            channels = 1 if self.kind == "grey" else 3
            pixels = rows[:, : self.width * channels].reshape(self.height, self.width, channels)
            if self.kind == "bgr":
                pixels = pixels[:, :, ::-1]
        if mode == "rgb":
            return pixels if pixels.shape[2] == 3 else np.repeat(pixels, 3, axis=2)
        return pixels if pixels.shape[2] == 1 else _grey(pixels)

    def _from_yuv(self, values: np.ndarray, mode: ImageMode) -> np.ndarray:
        """Return planes of Y, U and V, of video range, as RGB; colours are those of the nearest sample."""
        import numpy as np

        luma_size, half = self.width * self.height, (self.height // 2, self.width // 2)
        luma = (values[:luma_size].reshape(self.height, self.width).astype(np.float32) - 16) * np.float32(_LUMA)
        if mode == "grey":
            return np.asarray(np.clip(np.rint(luma), 0, 255).astype(np.uint8)[:, :, None])
        u, v = (
            (plane.reshape(half).astype(np.float32) - 128).repeat(2, axis=0).repeat(2, axis=1)
            for plane in np.split(values[luma_size:], 2)
        )
        red_v, green_u, green_v, blue_u = (np.float32(factor) for factor in _CHROMA[self.matrix])
        pixels = np.stack([luma + red_v * v, luma - green_u * u - green_v * v, luma + blue_u * u], axis=2)
        return np.asarray(np.clip(np.rint(pixels), 0, 255).astype(np.uint8))


class Frames:
    """A camera as a source: the newest frame each time it is asked."""

    def __init__(self, tap: Tap, layout: Layout, mode: ImageMode, *, called: str, silence_s: float) -> None:
        """Take frames from ``tap``; one that gives none for ``silence_s`` counts as gone."""
        from edgeglm_agent.inputs.decode import DamagedError  # numpy: the supervisor goes without

        self._damaged = DamagedError
        self._tap = tap
        self._layout = layout
        self._mode: ImageMode = mode
        self._called = called
        self._silence_s = silence_s
        self._leads = tap.leads
        self._heard = time.monotonic() + START_S
        self._stopped = False

    def read(self, timeout_s: float) -> list[Arrival]:
        """Return the newest frame. Raises: InputLostError, EndOfInput."""
        end = time.monotonic() + timeout_s
        while not self._stopped:
            now = time.monotonic()
            got = self._tap.next(max(0.0, min(_LOOK_S, end - now)))
            if got is not None:
                self._heard = time.monotonic()
                item, dropped = got
                return [self._arrival(item.payload, f"frame-{item.number}", item.at_ns, dropped)]
            if self._tap.leads != self._leads:  # the program that another worker had is started anew
                self._leads, self._heard = self._tap.leads, time.monotonic() + START_S
            if time.monotonic() - self._heard > self._silence_s:
                raise InputLostError(f"{self._called} has given no frame for {self._silence_s:g} s")
            if now >= end:
                return []
        raise EndOfInput("told to stop")

    def stop(self) -> None:
        """Take no frame any more: there is always a newer one."""
        self._stopped = True

    def close(self) -> None:
        """Let go of the camera."""
        self._tap.close()

    def _arrival(self, payload: bytes | bytearray, name: str, at_ns: int, dropped: int) -> Arrival:
        try:
            sample: Any = self._layout.array(payload, self._mode)
        except self._damaged as error:
            return Arrival(sample=None, name=name, at_ns=at_ns, dropped=dropped, fault=str(error))
        return Arrival(sample=sample, name=name, at_ns=at_ns, dropped=dropped)


def _grey(pixels: np.ndarray) -> np.ndarray:
    """Return RGB as one channel, with the bits that an image file read as ``grey`` has."""
    import numpy as np

    try:
        from PIL import Image
    except ImportError as error:
        from edgeglm_agent.inputs.decode import DamagedError

        raise DamagedError(f"making colours grey needs Pillow: {PILLOW.hint}") from error
    return np.asarray(Image.fromarray(np.ascontiguousarray(pixels)).convert("L"))[:, :, None]


def _fixed(stream: IO[bytes], size: int) -> Iterator[bytearray]:
    while True:
        frame = bytearray(size)
        view, got = memoryview(frame), 0
        while got < size:
            count = stream.readinto(view[got:])  # type: ignore[attr-defined]  # it is a raw file
            if not count:
                return
            got += count
        yield frame


def _images(stream: IO[bytes]) -> Iterator[bytes]:
    cutter = ImageCutter()
    while data := stream.read(_READ):
        yield from cutter.feed(data)


class ImageCutter:
    """Cuts JPEG and PPM images that follow each other, wherever the bytes are parted.

    JPEG is followed marker by marker: a preview within an image has a beginning and an end of its own.
    """

    def __init__(self) -> None:
        self._buffer = bytearray()
        self._at = 0  # where to go on in the image at the buffer's beginning; 0: none has begun
        self._in_scan = False

    def feed(self, data: bytes) -> Iterator[bytes]:
        """Take what was read, and yield the images that are whole now."""
        self._buffer += data
        while self._begin():
            end = self._jpeg_end() if self._buffer[0] == 0xFF else self._ppm_end()
            if end is None:
                if len(self._buffer) > _MOST_BYTES:
                    self._forget(len(self._buffer))
                return
            if end > 0:
                yield bytes(self._buffer[:end])
            self._forget(abs(end))

    def _begin(self) -> bool:
        """Throw away what stands before an image; tell whether one begins."""
        if self._at:
            return True
        if _PPM.match(self._buffer) or (self._buffer[:1] == b"P" and len(self._buffer) < _BEGINNING):
            return len(self._buffer) >= _BEGINNING
        start = self._buffer.find(b"\xff\xd8\xff")
        ppm = _PPM.search(self._buffer, 0, start if start >= 0 else len(self._buffer))
        if ppm is not None:
            del self._buffer[: ppm.start()]
            return len(self._buffer) >= _BEGINNING
        if start < 0:
            del self._buffer[: max(0, len(self._buffer) - _BEGINNING)]  # the beginning of a beginning may be there
            return False
        del self._buffer[:start]
        self._at, self._in_scan = 2, False
        return True

    def _forget(self, count: int) -> None:
        del self._buffer[:count]
        self._at, self._in_scan = 0, False

    def _ppm_end(self) -> int | None:
        header = _PPM.match(self._buffer)
        assert header is not None  # _begin() saw it
        end = header.end() + 3 * int(header[1]) * int(header[2])
        if end > _MOST_BYTES:
            return -header.end()
        return end if len(self._buffer) >= end else None

    def _jpeg_end(self) -> int | None:
        """Return where the image ends; None: not yet there; below 0: so many bytes are no image."""
        buffer = self._buffer
        while True:
            if self._in_scan:
                found = _MARKER.search(buffer, self._at)
                if found is None:
                    self._at = max(self._at, len(buffer) - 1)
                    return None
                self._at, self._in_scan = found.start(), False
            if self._at + 2 > len(buffer):
                return None
            if buffer[self._at] != 0xFF or buffer[self._at + 1] == _SOI:
                return -self._at  # damaged, or cut off by the next one
            code = buffer[self._at + 1]
            if code == _EOI:
                return self._at + 2
            if code == 0xFF:  # a fill byte
                self._at += 1
            elif code == 0x01 or 0xD0 <= code <= 0xD7:  # they stand alone
                self._at += 2
            elif self._at + 4 > len(buffer):
                return None
            else:
                after = self._at + 2 + int.from_bytes(buffer[self._at + 2 : self._at + 4], "big")
                if after > len(buffer):
                    return None
                self._at, self._in_scan = after, code == _SOS
