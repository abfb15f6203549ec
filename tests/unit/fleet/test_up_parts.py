"""What `edgeglm fleet up` repeats of its broker: what one has to know, and no line for each that comes and goes."""

from __future__ import annotations

from pathlib import Path

import pytest

from edgeglm.errors import UserError
from edgeglm.fleet.broker.settings import BrokerSettings
from edgeglm.fleet.up.parts import parts_of

_MOSQUITTO = "2026-11-23T18:38:44: "
_NATS = "[17743] 2026/11/23 18:38:27.947108 "


def replaced(name: str) -> str:
    """Return NATS' line of a client that came while one of its name was there, but for its end."""
    return f'{_NATS}[WRN] 127.0.0.1:5 - mid:42 - "{name}" - Replacing old client "127.0.0.1:6 - mid:41 - \\"{name}\\""'


@pytest.mark.parametrize(
    ("line", "repeated"),
    [
        (f"{_MOSQUITTO}New connection from 127.0.0.1:40000 on port 1883.", False),
        (f"{_MOSQUITTO}Client gate-7 disconnected.", False),
        (f"{_MOSQUITTO}Client edgeglm-collector-00-ff-1f-probe already connected, closing old connection.", False),
        (f"{_MOSQUITTO}Client gate-7 already connected, closing old connection.", True),
        (f"{_MOSQUITTO}Client gate-7 has exceeded timeout, disconnecting.", True),
        (f"{_NATS}[INF] Server is ready", False),
        (f"{_NATS}[INF] ", False),
        (f'{_NATS}[ERR] 127.0.0.1:53352 - mid:25 - "" - unacceptable protocol version of 5', False),
        (f'{_NATS}[ERR] 127.0.0.1:53352 - mid:25 - "gate-7" - Readloop processing time: slow', True),
        (f"{replaced('edgeglm-collector-00-ff-1f-probe')} since both have the same client ID", False),
        (f"{replaced('gate-7')} since both have the same client ID", True),
        ("nats-server is started, process 17743", True),
    ],
)
def test_only_lines_that_tell_of_a_fault_are_repeated(line: str, repeated: bool) -> None:
    (broker, *_) = parts_of(Path("/data"), BrokerSettings(data=Path("/data/broker")), "auto", page_port=8480)
    assert broker.left_out is not None
    assert (broker.left_out.search(line.strip()) is None) is repeated


def test_broker_and_page_cannot_have_one_port() -> None:
    with pytest.raises(UserError, match=r"^--page-port: 8480 is the broker's port") as raised:
        parts_of(Path("/data"), BrokerSettings(data=Path("/data/broker"), port=8480), "auto", page_port=8480)
    assert raised.value.code == "fleet-ports"
