"""A network camera: a small RTSP server that hands out what ffmpeg encodes, read by the real clients."""

from __future__ import annotations

import re
import shutil
import socket
import subprocess
import threading
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from edgeglm_agent.inputs._base import InputError, InputLostError
from edgeglm_agent.inputs.rtsp import RtspInput

from tests.support.inputs import context, read_one, until

SOURCE = ["-re", "-f", "lavfi", "-i", "color=c=red:size=64x48:rate=25"]


class Camera:
    """Serves one stream at /live over TCP, with basic authentication where it is asked for."""

    def __init__(self, folder: Path, password: str = "") -> None:
        self.password = password
        self.asked: list[str] = []
        self._packets = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._packets.bind(("127.0.0.1", 0))
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"rtsp://127.0.0.1:{self._listener.getsockname()[1]}/live"
        port = self._packets.getsockname()[1]
        sdp = folder / "stream.sdp"
        jpeg = ["-c:v", "mjpeg", "-pix_fmt", "yuvj420p", "-q:v", "1", "-huffman", "default"]
        sent = ["-force_duplicated_matrix", "1", "-f", "rtp", "-sdp_file", str(sdp), f"rtp://127.0.0.1:{port}"]
        self._encoder = subprocess.Popen(["ffmpeg", "-nostdin", "-loglevel", "error", *SOURCE, *jpeg, *sent])
        self._description = self._described(sdp)
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        self._encoder.kill()
        self._encoder.wait()
        self._listener.close()

    def _described(self, sdp: Path) -> str:
        """Return the description that ffmpeg has written, for a client that asks over TCP."""
        until(lambda: sdp.is_file() and "m=video" in sdp.read_text())
        text = sdp.read_text().removeprefix("SDP:\n")
        lines = [line.strip() for line in text.splitlines() if line.strip()]
        return re.sub(r"m=video \d+", "m=video 0", "\r\n".join(lines)) + "\r\na=control:track1\r\n"

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            threading.Thread(target=self._attend, args=(client,), daemon=True).start()

    def _attend(self, client: socket.socket) -> None:
        with client, suppress(ConnectionError):  # a worker that is killed resets its connection
            self._serve(client)

    def _serve(self, client: socket.socket) -> None:
        data = b""
        while True:
            while b"\r\n\r\n" not in data:
                if not (more := client.recv(65536)):
                    return
                data += more
            head, _, data = data.partition(b"\r\n\r\n")
            lines = head.decode().split("\r\n")
            method = lines[0].split()[0]
            self.asked.append(method)
            headers = dict(line.split(": ", 1) for line in lines[1:])
            answer = {"CSeq": headers["CSeq"]}
            body, status = "", "200 OK"
            if self.password and method == "DESCRIBE" and "Authorization" not in headers:
                status, answer["WWW-Authenticate"] = "401 Unauthorized", 'Basic realm="camera"'
            elif method == "OPTIONS":
                answer["Public"] = "OPTIONS, DESCRIBE, SETUP, PLAY, TEARDOWN"
            elif method == "DESCRIBE":
                body = self._description
                answer |= {"Content-Type": "application/sdp", "Content-Base": self.url + "/"}
            elif method == "SETUP":
                answer |= {"Transport": "RTP/AVP/TCP;unicast;interleaved=0-1", "Session": "1"}
            else:
                answer["Session"] = "1"
            answer["Content-Length"] = str(len(body))
            told = "".join(f"{key}: {value}\r\n" for key, value in answer.items())
            client.sendall(f"RTSP/1.0 {status}\r\n{told}\r\n{body}".encode())
            if method == "PLAY":
                threading.Thread(target=self._relay, args=(client,), daemon=True).start()

    def _relay(self, client: socket.socket) -> None:
        try:
            while packet := self._packets.recv(65536):
                client.sendall(b"$\0" + len(packet).to_bytes(2, "big") + packet)
        except OSError:
            return


@pytest.fixture
def camera(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Camera]:
    camera = Camera(tmp_path, getattr(request, "param", ""))
    yield camera
    camera.close()


def is_red(sample: np.ndarray) -> bool:
    return bool(np.abs(sample.astype(int) - [254, 0, 0]).max() <= 12)


def test_a_network_camera_gives_frames_in_its_own_size(tmp_path: Path, camera: Camera) -> None:
    source = RtspInput(url=camera.url).open(context(tmp_path))
    frame = read_one(source)
    source.close()
    assert frame.sample.shape == (48, 64, 3)
    assert is_red(frame.sample)


@pytest.mark.parametrize("camera", ["p@ss:w/rd"], indirect=True)
def test_a_camera_with_a_password_is_read_and_the_password_is_not_told(tmp_path: Path, camera: Camera) -> None:
    (tmp_path / "password").write_text("p@ss:w/rd\n")
    settings: dict[str, Any] = {"username": "admin", "password_file": str(tmp_path / "password"), "silence_s": 1}
    source = RtspInput(url=camera.url, width=32, height=24, fps=10, **settings).open(context(tmp_path))
    assert read_one(source).sample.shape == (24, 32, 3)
    camera.close()
    with pytest.raises(InputLostError) as raised:
        until(lambda: source.read(1.0) and None)
    assert "p%40ss" not in str(raised.value)
    source.close()


@pytest.mark.parametrize(
    "address",
    [
        "rtsp://admin:hunter22@127.0.0.1:1/live",
        "rtsp://admin:p@hunter22@127.0.0.1:1/live",
        "rtsp://127.0.0.1:1/live?user=admin&password=hunter22",
        "rtsp://127.0.0.1:1/live?pwd=hunter22&channel=1",
    ],
)
def test_a_camera_that_is_not_there_is_lost_and_no_password_is_told(tmp_path: Path, address: str) -> None:
    source = RtspInput(url=address).open(context(tmp_path))
    with pytest.raises(InputLostError, match=r"(?i)connection refused") as raised:
        until(lambda: source.read(1.0) and None)
    assert "hunter22" not in str(raised.value)
    source.close()


@pytest.fixture
def without_ffmpeg(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    programs = tmp_path / "bin"
    programs.mkdir()
    for name in ("gst-launch-1.0", "setpriv"):
        (programs / name).symlink_to(str(shutil.which(name)))
    monkeypatch.setenv("PATH", str(programs))


def test_without_ffmpeg_gstreamer_reads_the_camera(
    tmp_path: Path, camera: Camera, request: pytest.FixtureRequest
) -> None:
    request.getfixturevalue("without_ffmpeg")
    settings = RtspInput(url=camera.url, width=32, height=24)
    with pytest.raises(InputError, match="has to be told a size"):
        RtspInput(url=camera.url).open(context(tmp_path))
    with pytest.raises(InputError, match="all frames are taken"):
        RtspInput(url=camera.url, width=32, height=24, fps=5).open(context(tmp_path))
    source = settings.open(context(tmp_path))
    frame = read_one(source)
    source.close()
    assert frame.sample.shape == (24, 32, 3)
    assert is_red(frame.sample)


def test_settings_that_do_not_go_together_are_refused(tmp_path: Path) -> None:
    for settings, key in (
        ({"width": 32}, "width"),
        ({"username": "admin"}, "password_file"),
        ({"username": "admin", "password_file": str(tmp_path / "none")}, "password_file"),
    ):
        with pytest.raises(InputError) as raised:
            RtspInput(url="rtsp://camera/1", **settings).open(context(tmp_path))  # type: ignore[arg-type]
        assert raised.value.key == key
