"""Who may write and read which topics: told once, for every broker.

A board is limited to topics that have its own name as their level of the device, whatever it says its name was.
"""

from __future__ import annotations

from typing import NamedTuple

from edgeglm_agent.wire.topics import ROOT

from edgeglm.trust.names import user_of


class Rights(NamedTuple):
    """What follows ``edgeglm/v1/<fleet>/<shard>/<device>/`` in the topics that a role may use."""

    writes: tuple[str, ...]
    reads: tuple[str, ...]


_OF_BOARDS = ("state", "events", "telemetry", "results", "res/+")
# a board reads its own `state`, which tells it of another of its name
DEVICE = Rights(writes=_OF_BOARDS, reads=("state", "ack", "desired", "cmd/+"))
# a collector tries on `probe` whether the broker keeps what waits
COLLECTOR = Rights(writes=("ack", "probe"), reads=(*_OF_BOARDS, "probe"))
OPERATOR = Rights(writes=("cmd/+", "desired"), reads=("state", "res/+"))


def access_list(fleet: str | None) -> str:
    """Return the text of mosquitto's access list, for one fleet or, with None, for all."""
    place = f"{ROOT}/{fleet or '+'}/+"
    lines = [
        "# boards: their certificate's name is the user, %u, and a level of the topic",
        *(f"pattern write {place}/%u/{leaf}" for leaf in DEVICE.writes),
        *(f"pattern read {place}/%u/{leaf}" for leaf in DEVICE.reads),
    ]
    # no board can be called so: a board's name has no colon
    for user, rights in ((user_of("collector", ""), COLLECTOR), (user_of("operator", ""), OPERATOR)):
        lines += [
            "",
            f"user {user}",
            *(f"topic write {place}/+/{leaf}" for leaf in rights.writes),
            *(f"topic read {place}/+/{leaf}" for leaf in rights.reads),
        ]
    return "\n".join([*lines, ""])
