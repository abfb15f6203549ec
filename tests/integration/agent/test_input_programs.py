"""Inputs that read a program: ffmpeg and GStreamer, and a stand-in for rpicam-vid, which runs on a Pi alone."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from edgeglm_agent.inputs._base import EndOfInput, Input, InputError, InputLostError, Source
from edgeglm_agent.inputs.command import CommandInput
from edgeglm_agent.inputs.gstreamer import GstreamerInput
from edgeglm_agent.inputs.rpicam import RpicamInput

from tests.support.inputs import GIVE_UP_S, context, read_one, until

BARS = ["ffmpeg", "-nostdin", "-loglevel", "error", "-re", "-f", "lavfi", "-i", "smptebars=size=64x48:rate=25"]


def bars(*how: str) -> list[str]:
    return [*BARS, *how, "-"]


def opened(settings: Input, folder: Path, **of: Any) -> Source:
    return settings.open(context(folder, **of))


FORMATS = [
    pytest.param(["-f", "mjpeg", "-q:v", "1"], {}, 16, id="mjpeg"),
    pytest.param(["-f", "image2pipe", "-c:v", "ppm"], {}, 0, id="ppm"),
    pytest.param(["-f", "rawvideo", "-pix_fmt", "rgb24"], {"frames_as": "rgb", "width": 64, "height": 48}, 0, id="rgb"),
    pytest.param(["-f", "rawvideo", "-pix_fmt", "bgr24"], {"frames_as": "bgr", "width": 64, "height": 48}, 0, id="bgr"),
    pytest.param(
        ["-f", "rawvideo", "-pix_fmt", "yuv420p"],
        {"frames_as": "yuv420", "width": 64, "height": 48},
        4,
        id="yuv420",
    ),
]


@pytest.fixture(scope="module")
def wanted() -> np.ndarray:
    """The test picture as ffmpeg itself makes RGB of it."""
    once = [*BARS[:4], *BARS[5:], "-frames:v", "1", "-f", "rawvideo", "-pix_fmt", "rgb24", "-"]
    raw = subprocess.run(once, capture_output=True, check=True).stdout
    return np.frombuffer(raw, np.uint8).reshape(48, 64, 3)


@pytest.mark.parametrize(("how", "settings", "tolerance"), FORMATS)
def test_frames_of_a_program_are_pictures(
    tmp_path: Path, wanted: np.ndarray, how: list[str], settings: Any, tolerance: int
) -> None:
    source = opened(CommandInput(command=bars(*how), **settings), tmp_path)
    frames = [read_one(source) for _ in range(3)]
    source.close()
    for frame in frames:
        assert not frame.fault
        assert frame.sample.dtype == np.uint8
        assert frame.sample.shape == (48, 64, 3)
        inside = np.abs(frame.sample.astype(int) - wanted)[1::2, 2:-2]
        assert np.median(inside) <= tolerance / 4
        assert np.quantile(inside, 0.8) <= tolerance  # colours run at the edges of bars
    numbers = [int(frame.name.removeprefix("frame-")) for frame in frames]
    assert numbers == sorted(set(numbers))
    assert 0 < frames[0].at_ns <= frames[1].at_ns <= time.monotonic_ns()


def test_a_model_that_is_slow_gets_the_newest_frame_and_the_others_are_counted(tmp_path: Path) -> None:
    source = opened(CommandInput(command=bars("-f", "mjpeg")), tmp_path)
    read_one(source)
    time.sleep(0.5)
    frame = read_one(source)
    source.close()
    assert frame.dropped > 3
    assert time.monotonic_ns() - frame.at_ns < GIVE_UP_S * 1e9


def test_a_model_of_one_channel_gets_grey_frames(tmp_path: Path) -> None:
    source = opened(CommandInput(command=bars("-f", "mjpeg")), tmp_path, image_mode="grey")
    assert read_one(source).sample.shape == (48, 64, 1)
    source.close()


def test_when_the_program_ends_its_last_words_are_in_the_error(tmp_path: Path) -> None:
    program = [sys.executable, "-c", "import sys; print('no camera detected', file=sys.stderr); sys.exit(3)"]
    source = opened(CommandInput(command=program), tmp_path)
    with pytest.raises(InputLostError, match="has ended with status 3: no camera detected"):
        until(lambda: source.read(1.0))
    source.close()
    again = opened(CommandInput(command=bars("-f", "mjpeg")), tmp_path)  # as a worker does after a while
    assert read_one(again).sample.shape == (48, 64, 3)
    again.close()


def test_a_program_that_was_killed_is_said_to_be(tmp_path: Path) -> None:
    source = opened(CommandInput(command=[sys.executable, "-c", "import os; os.kill(os.getpid(), 9)"]), tmp_path)
    with pytest.raises(InputLostError, match="was ended by signal 9"):
        until(lambda: source.read(1.0))
    source.close()


def test_a_program_that_says_nothing_for_long_counts_as_gone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("edgeglm_agent.inputs.frames.START_S", 0.1)
    source = opened(CommandInput(command=["sleep", "1000"], silence_s=0.3), tmp_path)
    with pytest.raises(InputLostError, match=r"has given no frame for 0.3 s"):
        until(lambda: source.read(1.0))
    source.close()


def test_a_film_can_be_read_once(tmp_path: Path) -> None:
    film = [part for part in BARS if part != "-re"] + ["-frames:v", "3", "-f", "mjpeg", "-"]
    source = opened(CommandInput(command=film, at_end="stop"), tmp_path)
    with pytest.raises(EndOfInput, match="has ended"):
        until(lambda: source.read(1.0) and None)
    source.close()


def test_a_program_that_is_not_there_is_an_error_of_the_settings(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="it needs the program `no-such-camera`, which is not"):
        opened(CommandInput(command=["no-such-camera"]), tmp_path)
    with pytest.raises(InputError, match="carry no size") as raised:
        opened(CommandInput(command=["true"], frames_as="rgb"), tmp_path)
    assert raised.value.key == "width"


def running(mark: str) -> list[int]:
    """Return the processes whose command line holds ``mark``."""
    found = []
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit():
            try:
                line = (folder / "cmdline").read_bytes().split(b"\0")
            except OSError:
                continue
            if mark.encode() in line:
                found.append(int(folder.name))
    return found


def test_closing_ends_the_program_and_what_it_has_started(tmp_path: Path) -> None:
    mark = f"86400.{os.getpid()}1"
    script = f"trap '' TERM; sleep {mark} & sleep {mark}"  # it does not listen to SIGTERM
    source = opened(CommandInput(command=["sh", "-c", script]), tmp_path)
    until(lambda: len(running(mark)) == 2)
    source.close()
    assert until(lambda: not running(mark))


def test_a_worker_that_is_killed_takes_its_program_with_it(tmp_path: Path) -> None:
    mark = f"86400.{os.getpid()}2"
    code = f"""
import runpy, sys, time
from pathlib import Path
from edgeglm_agent.inputs.command import CommandInput
context = runpy.run_path(sys.argv[1])["context"]
source = CommandInput(command=["sleep", "{mark}"]).open(context(Path(sys.argv[2])))
while True:
    source.read(1.0)
"""
    support = Path(__file__).parents[2] / "support" / "inputs.py"
    worker = subprocess.Popen([sys.executable, "-c", code, str(support), str(tmp_path)])
    try:
        until(lambda: running(mark))
    finally:
        worker.send_signal(signal.SIGKILL)
        worker.wait()
    assert until(lambda: not running(mark))


def test_two_slots_with_the_same_camera_share_one_program(tmp_path: Path) -> None:
    mark = f"/tmp/film-{os.getpid()}"
    program = ["sh", "-c", 'exec "$@"', mark, *bars("-f", "mjpeg")]
    first = opened(CommandInput(command=program), tmp_path, slot="a")
    second = opened(CommandInput(command=program), tmp_path, slot="b")
    assert read_one(first).sample.shape == read_one(second).sample.shape == (48, 64, 3)
    first.close()
    assert read_one(second).sample.shape == (48, 64, 3)  # it has taken over
    second.close()


def test_a_password_in_a_command_line_is_not_told_where_two_slots_disagree(tmp_path: Path) -> None:
    program = ["sh", "-c", "sleep 60", "rtsp://admin:s3cret@gate/stream1"]
    first = opened(CommandInput(command=program, frames_as="rgb", width=64, height=48), tmp_path, slot="a")
    with pytest.raises(InputError, match=r"slot `a` reads command .*gate/stream1.* with other settings") as raised:
        opened(CommandInput(command=program, frames_as="rgb", width=32, height=24), tmp_path, slot="b")
    assert "s3cret" not in str(raised.value)
    first.close()


@pytest.mark.parametrize("size", [(64, 48), (66, 50)])  # rows of 66 pixels are filled up
def test_a_pipeline_gives_frames(tmp_path: Path, size: tuple[int, int]) -> None:
    width, height = size
    pipeline = 'videotestsrc is-live=true pattern=red ! "video/x-raw,width=320,height=240,framerate=30/1"'
    source = opened(GstreamerInput(pipeline=pipeline, width=width, height=height), tmp_path)
    frame = read_one(source)
    source.close()
    assert frame.sample.shape == (height, width, 3)
    assert np.abs(frame.sample.astype(int) - [255, 0, 0]).max() <= 3


def test_a_wrong_pipeline_says_why(tmp_path: Path) -> None:
    source = opened(GstreamerInput(pipeline="nosuchsrc"), tmp_path)
    with pytest.raises(InputLostError, match="nosuchsrc"):
        until(lambda: source.read(1.0))
    source.close()
    with pytest.raises(InputError, match="No closing quotation"):
        opened(GstreamerInput(pipeline='videotestsrc ! "'), tmp_path)


RPICAM = """#!/bin/sh
# what rpicam-vid does with these arguments, with a test picture in the place of the sensor
while [ $# -gt 0 ]; do
    case $1 in
        --width) width=$2; shift;; --height) height=$2; shift;; --framerate) rate=$2; shift;;
        --codec) codec=$2; shift;; --camera|--timeout|--output) shift;;
        --nopreview|--flush) ;; *) echo "ERROR: *** unrecognised option $1 ***" >&2; exit 255;;
    esac
    shift
done
[ "$codec" = yuv420 ] && as="rawvideo -pix_fmt yuv420p" || as="mjpeg -q:v 1"
exec ffmpeg -nostdin -loglevel error -re -f lavfi -i "color=c=red:size=${width}x${height}:rate=$rate" -f $as -
"""


@pytest.fixture
def rpicam(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    programs = tmp_path / "bin"
    programs.mkdir()
    (programs / "rpicam-vid").write_text(RPICAM)
    (programs / "rpicam-vid").chmod(0o755)
    monkeypatch.setenv("PATH", f"{programs}:{os.environ['PATH']}")


@pytest.mark.usefixtures("rpicam")
@pytest.mark.parametrize("codec", ["mjpeg", "yuv420"])
def test_the_camera_of_a_pi_gives_frames(tmp_path: Path, codec: Any) -> None:
    source = opened(RpicamInput(width=128, height=64, codec=codec), tmp_path)
    frame = read_one(source)
    source.close()
    assert frame.sample.shape == (64, 128, 3)
    assert np.abs(frame.sample.astype(int) - [254, 0, 0]).max() <= 6


@pytest.mark.usefixtures("rpicam")
def test_what_the_camera_of_a_pi_cannot_do_is_said(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no multiple of 64") as raised:
        opened(RpicamInput(codec="yuv420", width=100), tmp_path)
    assert raised.value.key == "width"
    source = opened(RpicamInput(options=["--sharp"]), tmp_path)
    with pytest.raises(InputLostError, match="unrecognised option"):
        until(lambda: source.read(1.0))
    source.close()


def test_a_program_that_ends_before_we_look_is_told_with_its_last_words(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    start = threading.Thread.start

    def begun_and_ended(thread: threading.Thread) -> None:
        start(thread)
        if thread.name == "frames":  # as on a board that has much else to do
            thread.join()

    monkeypatch.setattr(threading.Thread, "start", begun_and_ended)
    source = opened(CommandInput(command=["sh", "-c", "echo no such camera >&2; exit 3"]), tmp_path)
    with pytest.raises(InputLostError, match="`sh` has ended with status 3: no such camera"):
        until(lambda: source.read(1.0))
    source.close()


def test_without_the_pis_program_the_package_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(InputError, match="it needs rpicam-vid, which is not installed") as raised:
        opened(RpicamInput(), tmp_path)
    assert "rpicam-apps" in raised.value.hint
