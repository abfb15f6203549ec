"""Which part of a fleet a collector takes: shards divide boards evenly by the SHA-256 of their names."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, NamedTuple

from edgeglm_agent.wire import WireError
from edgeglm_agent.wire.topics import ROOT, check_name

from edgeglm.errors import UserError

if TYPE_CHECKING:
    from edgeglm_agent.wire.topics import Place

LEAVES = ("state", "events", "telemetry", "results", "res/+")
_RANGE = re.compile(r"([0-9a-f]{2})(?:-([0-9a-f]{2}))?\Z")
_ALL = range(256)


class Part(NamedTuple):
    """Shards, and one fleet or all of them."""

    shards: range = _ALL
    fleet: str | None = None

    @property
    def client_id(self) -> str:
        """The name at the broker but for the store's: the same at each start, so that what comes meanwhile is kept."""
        fleet = f"{self.fleet}-" if self.fleet is not None else ""
        return f"edgeglm-collector-{fleet}{self.shards.start:02x}-{self.shards.stop - 1:02x}"

    @property
    def filters(self) -> list[str]:
        """What to subscribe to."""
        shards = ["+"] if self.shards == _ALL else [f"{shard:02x}" for shard in self.shards]
        return [f"{ROOT}/{self.fleet or '+'}/{shard}/+/{leaf}" for shard in shards for leaf in LEAVES]

    def has(self, place: Place) -> bool:
        """Return whether a topic is of this part."""
        return int(place.shard, 16) in self.shards and self.fleet in (None, place.fleet)


def parse_part(shards: str, fleet: str | None) -> Part:
    """Return the part that ``00-7f`` names, both ends included. Raises: UserError."""
    found = _RANGE.match(shards.strip().lower())
    first, last = (int(one, 16) for one in (found[1], found[2] or found[1])) if found else (1, 0)
    if first > last:
        raise UserError(
            f"`{shards}` is no range of shards",
            where="--shards",
            hint="two hex digits from 00 to ff, or a range of them: 00-7f takes one half, 80-ff the other",
            code="fleet-shards",
        )
    if fleet is not None:
        try:
            check_name(fleet, "fleet")
        except WireError as error:
            raise UserError(str(error), where="--fleet", code="fleet-name") from error
    return Part(range(first, last + 1), fleet)
