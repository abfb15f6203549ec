"""What stands in an address or a pipeline as a password is shown nowhere, and the rest of the text stays."""

from __future__ import annotations

import pytest
from edgeglm_agent import ipc
from edgeglm_agent.passwords import hidden
from edgeglm_agent.settings.broken_toml import toml_problem
from edgeglm_agent.worker.outage import Outage


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("rtsp://kim:s3cret@cam:554/1 failed", "rtsp://kim:***@cam:554/1 failed"),
        ("rtsp://kim:p@ss@cam/1", "rtsp://kim:***@cam/1"),
        ("rtsp://kim:p@ss@cam:554/a?b=c@d", "rtsp://kim:***@cam:554/a?b=c@d"),
        ("rtsp://kim:p/s@cam/1", "rtsp://kim:***@cam/1"),
        ("rtsp://kim:p?s#s@cam/1", "rtsp://kim:***@cam/1"),
        ("rtsp://kim@home:p:w@cam/1", "rtsp://kim@home:***@cam/1"),
        ("rtsp://:s3cret@[::1]:554/1", "rtsp://:***@[::1]:554/1"),
        ("rtsp://s3cret@cam:554/1 failed", "rtsp://***@cam:554/1 failed"),
        ("rtsp://s3@cret@cam/1?a=b@c", "rtsp://***@cam/1?a=b@c"),
        ("http://s3cret@[::1]:80/1", "http://***@[::1]:80/1"),
        ("rtsp://cam/1?password=s3&cret", "rtsp://cam/1?password=***"),
        ("rtsp://cam/1?password=s3&cr&et&channel=1 404", "rtsp://cam/1?password=***&channel=1 404"),
        ("rtsp://cam/1?token=s3cret&&channel[0]=1", "rtsp://cam/1?token=***&channel[0]=1"),
        ("rtsp://cam/1?user=kim&password=s3cret", "rtsp://cam/1?user=kim&password=***"),
        ("rtsp://cam/1?PassWd=s3cret&channel=1", "rtsp://cam/1?PassWd=***&channel=1"),
        ("http://cam/1?access_token=s3c=ret&x=1 404", "http://cam/1?access_token=***&x=1 404"),
        ("http://cam/1?api_key=s3cret", "http://cam/1?api_key=***"),
        ("rtsp://kim:s3@cret@cam/1?pwd=s3@cret", "rtsp://kim:***@cam/1?pwd=***"),
        ("rtspsrc user-pw=s3cret location=x ! y", "rtspsrc user-pw=*** location=x ! y"),
        ("rtspsrc user-pw='s3 cret' location=x", "rtspsrc user-pw=*** location=x"),
        ('rtspsrc user-pw="s3 \\"cret" location=x', "rtspsrc user-pw=*** location=x"),
        ("rtspsrc 'user-pw=s3 cret' location=x", "rtspsrc 'user-pw=***' location=x"),
        ("rtspsrc user-pw=s3\\ cret location=x", "rtspsrc user-pw=*** location=x"),
        ("rtspsrc user-pw=(string)'s3 cret' x", "rtspsrc user-pw=(string)*** x"),
        ("srtsrc passphrase='s3 cret", "srtsrc passphrase=***"),
    ],
)
def test_a_password_is_hidden_and_the_rest_is_not(text: str, shown: str) -> None:
    assert hidden(text) == shown
    assert hidden(shown) == shown


@pytest.mark.parametrize(
    "text",
    [
        "rtsp://cam:554/kim@home",
        "http://[fe80::1]:80/live",
        "http://cam:8080: Connection refused by kim@cam",
        "kim:a@cam",
        "rtsp://cam/kim@home",
        "// said kim@cam",
        "password_file: /etc/edgeglm-agent/cam is not there",
        "passed=3 tokens=5 keys=7",
        "the key is not known",
    ],
)
def test_what_only_looks_alike_stays(text: str) -> None:
    assert hidden(text) == text


@pytest.mark.parametrize(
    "piece", ["//a:", "//a:b@", "x", "password=", "'key=", '"', "key=\\", "//", "//a@", "a@", "pw=&", "&", "(pw=("]
)
def test_a_long_text_takes_no_longer_than_its_length_asks_for(piece: str) -> None:
    hidden(piece * 50_000)  # would go on for hours, if each place were tried with each
    hidden(f"//{piece * 50_000}:x@")


class Heard:
    """The supervisor's end of a worker's line."""

    def __init__(self) -> None:
        self.said: list[str] = []

    def send(self, message: object) -> None:
        assert isinstance(message, ipc.InputGone)
        self.said.append(message.why)

    def happened(self, name: str, severity: str, detail: dict[str, str]) -> None:
        self.said.append(f"{name} {severity} {detail}")


def test_neither_event_nor_status_tells_the_password_that_a_packages_input_tells() -> None:
    heard = Heard()
    outage = Outage(heard)  # type: ignore[arg-type]
    outage.gone("lidar://kim:s3cret@unit?token=s3cret is away", gave=False)
    assert len(heard.said) == 2
    assert not any("s3cret" in said for said in (*heard.said, outage.why))
    assert all("is away" in said for said in heard.said)


def test_a_settings_file_that_is_no_toml_is_mended_without_the_password() -> None:
    problem = toml_problem("agent.toml", "url = rtsp://kim:s3cret@cam/1", "Invalid value (at line 1, column 7)")
    assert 'url = "rtsp://kim:***@cam/1"' in problem.hint
