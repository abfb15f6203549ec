"""USB cameras: PyAV reads FFmpeg's test picture in the place of one, in the same process with the same code."""

from __future__ import annotations

import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
from edgeglm_agent.inputs._base import InputError, InputLostError
from edgeglm_agent.inputs.camera import CameraInput
from edgeglm_agent.inputs.frames import Layout

from tests.support.inputs import context, read_one, until

PROGRAM = [sys.executable, "-m", "edgeglm_agent.inputs.v4l2"]


def test_raw_frames_of_a_camera_come_in_their_colours(tmp_path: Path) -> None:
    # YUYV, as most cameras have beside Motion JPEG; 62 pixels: rows are filled up within the library
    device = "color=c=red:size=62x48:rate=25,format=yuyv422"
    source = CameraInput().frames(
        context(tmp_path), [*PROGRAM, "--demuxer=lavfi", device], Layout(kind="images"), device="test", called="camera"
    )
    frame = read_one(source)
    source.close()
    assert frame.sample.shape == (48, 62, 3)
    assert np.abs(frame.sample.astype(int) - [254, 0, 0]).max() <= 6


def test_motion_jpeg_goes_through_as_the_camera_made_it(tmp_path: Path) -> None:
    film = tmp_path / "film.mjpeg"
    make = ["ffmpeg", "-nostdin", "-loglevel", "error", "-f", "lavfi", "-i", "testsrc=size=64x48", "-frames:v", "3"]
    subprocess.run([*make, str(film)], check=True)
    done = subprocess.run([*PROGRAM, "--demuxer=mjpeg", str(film)], capture_output=True, check=False)
    assert done.stdout == film.read_bytes()
    assert "gives no more frames" in done.stderr.decode()


def test_what_ffmpeg_says_of_a_device_is_told(tmp_path: Path) -> None:
    """/dev/null is a device, and no camera: FFmpeg's V4L2 code is what says so."""
    assert "video4linux2,v4l2" in available()
    source = CameraInput(device="/dev/null").open(context(tmp_path))
    with pytest.raises(InputLostError, match=r"/dev/null has ended with status 1: .*list-formats-ext"):
        until(lambda: source.read(1.0) and None)
    source.close()


def available() -> frozenset[str]:
    import av

    return frozenset(av.formats_available)


def test_a_device_that_is_no_camera_or_not_there_is_said_so(tmp_path: Path) -> None:
    assert find_spec("av") is not None
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match="is no camera"):
        CameraInput(device=str(tmp_path / "file")).open(context(tmp_path))
    with pytest.raises(InputLostError, match="is not there"):
        CameraInput(device="/dev/video99").open(context(tmp_path))


def test_without_the_library_the_extra_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "av", None)
    with pytest.raises(InputError, match="PyAV") as raised:
        CameraInput().open(context(tmp_path))
    assert raised.value.hint == "pip install 'edgeglm-agent[camera]'"
