"""Where on the broker things are: ``edgeglm/v1/<fleet>/<shard>/<device>/<leaf>``.

Each is a topic that a broker can limit to the name in a device's certificate.
"""

from __future__ import annotations

import re
from typing import NamedTuple

from edgeglm_agent.wire.manifest import WireError

ROOT = "edgeglm/v1"
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}\Z")  # of a fleet, a device, a slot
OPS = ("ping", "status", "sample", "set", "restart", "logs")


def shard_of(device: str) -> str:
    """Return the device's shard: two hex digits, the first byte of its name's SHA-256."""
    from hashlib import sha256  # OpenSSL's, 3 MB that a worker does without

    return sha256(device.encode()).hexdigest()[:2]


def check_name(name: str, what: str = "name") -> str:
    """Return the name. Raises: WireError: It cannot be a level of a topic."""
    if not NAME.match(name):
        raise WireError(
            f"`{name}` cannot be a {what}: letters, digits, dot, hyphen and underscore, at most 63, "
            "a letter or a digit first"
        )
    return name


class Topics:
    """The topics of one device."""

    def __init__(self, fleet: str, device: str) -> None:
        """Take both names. Raises: WireError."""
        self.prefix = f"{ROOT}/{check_name(fleet, 'fleet')}/{shard_of(device)}/{check_name(device, 'device')}"
        self.state = f"{self.prefix}/state"  # retained JSON: birth, and last will
        self.desired = f"{self.prefix}/desired"  # retained, signed
        self.events = f"{self.prefix}/events"  # batches of events and gaps
        self.telemetry = f"{self.prefix}/telemetry"  # batches of windows
        self.results = f"{self.prefix}/results"  # batches of results and samples
        self.ack = f"{self.prefix}/ack"  # from the collector
        self.commands = f"{self.prefix}/cmd/+"

    def command(self, op: str) -> str:
        """Return where a command of this kind is heard."""
        return f"{self.prefix}/cmd/{op}"

    def reply(self, request_id: str) -> str:
        """Return where its answer goes."""
        return f"{self.prefix}/res/{request_id}"


class Place(NamedTuple):
    """What a topic names."""

    fleet: str
    shard: str
    device: str
    leaf: str  # state, desired, events, telemetry, results, ack, cmd/<op>, res/<id>


def parse_topic(topic: str) -> Place:
    """Return what a topic names. Raises: WireError: It is none of ours, or its shard is not its device's."""
    parts = topic.split("/", 5)
    if len(parts) != 6 or "/".join(parts[:2]) != ROOT:
        raise WireError(f"`{topic}` is not of the form {ROOT}/<fleet>/<shard>/<device>/...")
    place = Place(check_name(parts[2], "fleet"), parts[3], check_name(parts[4], "device"), parts[5])
    if place.shard != shard_of(place.device):
        raise WireError(f"`{topic}` names shard {place.shard}; {place.device} is of shard {shard_of(place.device)}")
    return place
